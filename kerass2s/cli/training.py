"""`kerass2s train` and `quickstart`: from a recipe to a preset directory, and the main job."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerass2s.cli.app import examples, hush, quiet_tensorflow, stderr
from kerass2s.cli.models import RecipeName, check_picture_path
from kerass2s.errors import ConfigError, TrainingError, UserError
from kerass2s.recipes.runs import HISTORY, RECIPE, accuracy, best_epoch, history

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from kerass2s.data import Pair
    from kerass2s.ensemble import Ensemble
    from kerass2s.recipes import Recipe
    from kerass2s.seq2seq import Seq2Seq

BACKUP, TOKENIZERS = "backup", ("source.spm", "target.spm")
BAD_BATCH = "bad_batch.npz"
TEACHER = "teacher"
MAY_DIFFER = ("epochs",)
VALIDATED = 2000
DRAWN = 300
ASKED_AT_ONCE = 256


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("quickstart", epilog=examples("quickstart", "quickstart --out my_quickstart"))(quickstart)
    app.command(
        "train",
        epilog=examples(
            "train g2p_luong2015 --out runs/g2p",
            "train g2p_luong2015 --out runs/g2p --plot runs/g2p.png --tensorboard runs/logs",
            "train my_recipe.yaml --out runs/mine --train train.tsv --dev dev.tsv",
            "train g2p_luong2015 --out runs/g2p --set config.units=256 --set epochs=20 --resume",
            "train g2p_luong2015 --out runs/g2p --distribute mirrored",
        ),
    )(train)


def quickstart(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Where everything goes.")] = "quickstart-out",
    minutes: Annotated[float, typer.Option(min=0.01, help="Training time at most.")] = 5.5,
    words: Annotated[int | None, typer.Option(min=50, help="Use only so many words, for a quick look.")] = None,
) -> None:
    """Train on real words, evaluate on held-out ones, export, reload and compare, and draw the plots.

    The words are those of the CMU Pronouncing Dictionary; takes about ten minutes on 2 cores.
    """
    # Operations side by side do more for a model this small than threads within each (docs/performance.md).
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    quiet_tensorflow()
    from kerass2s.quickstart import Options, run

    run(Options(out=Path(out), minutes=minutes, words=words))


def train(
    recipe: RecipeName,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Becomes a preset directory.")],
    train_file: Annotated[str | None, typer.Option("--train", metavar="FILE", help="Training pairs, TSV.")] = None,
    dev_file: Annotated[str | None, typer.Option("--dev", metavar="FILE", help="Validation pairs, TSV.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in DIR stopped.")] = False,
    distribute: Annotated[
        str | None,
        typer.Option("--distribute", metavar="STRATEGY", help="mirrored: all devices here; multi-worker: TF_CONFIG's."),
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="PNG", help="Draw the curves, anew after each epoch.")
    ] = None,
    tensorboard: Annotated[
        str | None, typer.Option("--tensorboard", metavar="DIR", help="Write figures and pictures for TensorBoard.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the best epoch as one JSON object.")] = False,
) -> None:
    """Train a model as a recipe says. DIR becomes a preset of the epoch that did best on the validation pairs.

    After each epoch, and every ten minutes, the state is saved, so that --resume goes on from there as if nothing had
    been; Ctrl-C and SIGTERM save it too, and end the run. A line an epoch goes to history.jsonl.

    With --distribute the batches are cut among several devices, or among the processes that the variable TF_CONFIG
    names, each of which runs this same command on the same files; the numbers are those of one device. The first
    process writes DIR, and all must see it.
    """
    if quiet:
        hush(True)
    check_picture_path(plot)
    from kerass2s import recipes
    from kerass2s.recipes import build
    from kerass2s.recipes.settling import settle

    chosen = recipes.load(recipe, sets or [], train_file, dev_file)
    strategy = quiet_tensorflow(lambda: _strategy(distribute))  # the data bring it
    writes = _writes(strategy)
    pairs, dev = build.load_data(chosen)
    asked, teacher = _ready_to_teach(chosen, pairs, dev, distribute)
    chosen, said = settle(chosen, pairs, len(asked))
    build.check(chosen)
    directory = Path(out)
    if writes:
        _claim(directory, chosen, resume)
    for each in said:
        _say(each)
    if chosen.teacher:
        teacher = teacher or _trained_teacher(chosen.teacher.recipe, directory / TEACHER, quiet)
        pairs = pairs + _taught(teacher, asked, chosen.teacher.search)
    with strategy.scope():
        model = _model(directory, chosen, pairs, writes)
    _announce(directory, model, len(pairs), len(dev))
    written = [_journal(directory), *_pictures(directory, dev, plot, tensorboard)] if writes else []
    with _resumable(directory):
        _fit(directory, chosen, model, pairs, dev, written)
    if not writes:
        return
    best = best_epoch(history(directory))
    if as_json:
        print(json.dumps({"preset": str(directory), "n": min(len(dev), VALIDATED), **best}))
    else:
        print(
            f"{directory}: epoch {best['epoch'] + 1} is best, word error rate "
            f"{1 - accuracy(best):.4f} on {min(len(dev), VALIDATED)} validation pairs"
        )
    _advise(directory)


# === Teacher ===


def _ready_to_teach(
    recipe: Recipe, pairs: list[Pair], dev: list[Pair], distribute: str | None
) -> tuple[list[str], Seq2Seq | Ensemble | None]:
    """Returns what the teacher will be asked, and the teacher if it is a preset, before any work is done."""
    from kerass2s.presets import load_preset
    from kerass2s.recipes import build

    if recipe.teacher is None:
        return [], None
    if distribute:
        raise ConfigError(f"A run with a teacher is of one process on one device. Received: {distribute}")
    teacher = load_preset(recipe.teacher.preset) if recipe.teacher.preset else None
    return build.sources_to_teach(recipe, pairs, dev), teacher


def _trained_teacher(recipe: str, place: Path, quiet: bool) -> Seq2Seq | Ensemble:
    """Trains what the teacher is, or goes on with it, in a process of its own: its seeds are no concern of this one."""
    from kerass2s.presets import load_preset

    more = ["--quiet"] * quiet + ["--resume"] * (place / RECIPE).is_file()
    command = [sys.executable, "-m", "kerass2s", "train", recipe, "--out", str(place), *more]
    # What it prints is no result of this run.
    if (code := subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode) != 0:
        raise TrainingError(
            f"The teacher was not trained; the same command with --resume goes on. Received: exit code {code}"
        )
    return load_preset(place)


def _taught(teacher: Seq2Seq | Ensemble, sources: list[str], search: str) -> list[Pair]:
    """Returns the teacher's outputs as pairs, but for empty ones."""
    from kerass2s.decoding import parse_search
    from kerass2s.training import distill

    _say(f"the teacher is asked for the targets of {len(sources):,} sources")
    return [pair for pair in distill(teacher, sources, parse_search(search), batch_size=ASKED_AT_ONCE) if pair.target]


# === Several devices ===


def _strategy(name: str | None) -> tf.distribute.Strategy:
    from kerass2s.training.distribution import strategy_named

    return strategy_named(name)


def _writes(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether this process writes files; others of the same run say nothing either."""
    from kerass2s.training.distribution import Workers

    chief = Workers(strategy).chief
    if not chief:
        hush(True)
    return chief


# === What is said ===


def _announce(directory: Path, model: Seq2Seq, pairs: int, dev: int) -> None:
    """Says what begins, and where everything goes."""
    _say(f"{model.architecture}, {model.count_params():,} parameters; {pairs:,} training and {dev:,} validation pairs")
    _say(
        f"everything goes into {directory}: the preset of the best epoch, {RECIPE}, {HISTORY}, and {BACKUP}/ to resume"
    )


def _advise(directory: Path) -> None:
    """Says what can be done next."""
    _say("next:")
    for line in (
        f"evaluate {directory} FILE --report {directory}/report",
        f"predict {directory} -",
        f"export {directory} {directory}/model.onnx --format onnx",
    ):
        _say(f"  kerass2s {line}")


@contextmanager
def _resumable(directory: Path) -> Iterator[None]:
    """Tells who interrupts a run how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        _say(f"to go on after the last whole epoch: the same command with --resume (--out {directory})")
        raise


def _say(line: str) -> None:
    stderr().print(line, markup=False, soft_wrap=True)


def _pictures(
    directory: Path, dev: list[Pair], plot: str | None, tensorboard: str | None
) -> list[keras.callbacks.Callback]:
    """Returns what draws the training while it runs."""
    import keras

    found = []
    if plot:
        from kerass2s.plots import save_training

        redraw = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: save_training(plot, history(directory))
        )
        found.append(redraw)
    if tensorboard:
        from kerass2s.plots import TensorBoardPictures

        found.append(TensorBoardPictures(tensorboard, dev[:DRAWN]))
        found.append(keras.callbacks.TensorBoard(tensorboard))
        _say(f"to see it: tensorboard --logdir {tensorboard}")
    return found


# === Directory ===


def _claim(directory: Path, recipe: Recipe, resume: bool) -> None:
    """Writes the recipe into the directory, which must be free, or with --resume hold the same one."""
    import yaml

    from kerass2s import recipes
    from kerass2s.files import write_bytes

    file = directory / RECIPE
    if resume:
        _same(file, recipe)
    elif directory.exists() and any(directory.iterdir()):
        raise UserError(f"--out must be a new or empty directory, or give --resume to go on. Received: {directory}")
    directory.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(recipes.to_dict(recipe), sort_keys=False, allow_unicode=True)
    write_bytes(file, text.encode("utf-8"))


def _same(file: Path, recipe: Recipe) -> None:
    from kerass2s import recipes

    if not file.is_file():
        raise UserError(f"--resume needs the directory of an earlier run. Received: {file.parent}, without {RECIPE}")
    before, now = recipes.to_dict(recipes.load(file)), recipes.to_dict(recipe)
    changed = [key for key in now if now[key] != before[key] and key not in MAY_DIFFER]
    if changed:
        raise ConfigError(
            f"--resume needs the recipe that the run began with (only {', '.join(MAY_DIFFER)} may "
            f"change). Received: another {', '.join(changed)}"
        )


# === Training ===


def _model(directory: Path, recipe: Recipe, pairs: list[Pair], writes: bool) -> Seq2Seq:
    """Builds the model; a resumed run keeps its tokenizers."""
    from kerass2s.recipes import build
    from kerass2s.text import SentencePieceTokenizer

    files = [directory / BACKUP / name for name in TOKENIZERS]
    if all(file.is_file() for file in files):
        tokenizers = tuple(SentencePieceTokenizer.load(file) for file in files)
    else:
        tokenizers = build.train_tokenizers(recipe, pairs)
        if writes:
            (directory / BACKUP).mkdir(exist_ok=True)
            for tokenizer, file in zip(tokenizers, files, strict=True):
                tokenizer.save(file)
    return build.build_model(recipe, *tokenizers)


def _fit(
    directory: Path,
    recipe: Recipe,
    model: Seq2Seq,
    pairs: list[Pair],
    dev: list[Pair],
    written: list[keras.callbacks.Callback],
) -> None:
    from kerass2s.cli.watching import Watch
    from kerass2s.decoding import parse_search
    from kerass2s.recipes import build
    from kerass2s.training import Checkpoints, FiniteLoss, FreeRunningValidation, Interrupted

    checked = validated(dev)
    stopping = build.stopping_callbacks(recipe)
    checkpoints = Checkpoints(directory / BACKUP / "state", stopping)
    standing = checkpoints.restore(model)
    if written:
        _forget(directory, standing.epoch if standing else 0)
    if checkpoints.stopped():
        return
    console = stderr()
    measured = [
        FreeRunningValidation(checked, parse_search(recipe.search)),
        *written,
        *stopping,
    ]
    watch = Watch(console, recipe.epochs)
    try:
        with checkpoints.heeding_signals():
            model.fit(
                [pair[:2] for pair in pairs],
                validation_data=[pair[:2] for pair in checked],
                batching=build.batching(recipe),
                epochs=recipe.epochs,
                seed=recipe.seed,
                curriculum=build.curriculum(recipe),
                standing=standing,
                verbose=0,
                callbacks=[
                    watch,
                    *build.decay_callbacks(recipe),
                    FiniteLoss(directory / BAD_BATCH),
                    *build.averaged(recipe, measured),
                    checkpoints,
                ],
            )
    except Interrupted as interrupted:
        console.print(f"{interrupted}; the state is saved, and --resume goes on from there")
        raise typer.Exit(128 + interrupted.signal) from interrupted
    finally:
        watch.close()


def validated(dev: list[Pair]) -> list[Pair]:
    """Returns what each epoch is validated on: all, or a draw that is always the same, as files are often sorted."""
    return dev if len(dev) <= VALIDATED else random.Random(VALIDATED).sample(dev, VALIDATED)


def _forget(directory: Path, epoch: int) -> None:
    """Leaves out of the history what the checkpoint knows nothing of: the run comes by those epochs again."""
    from kerass2s.files import write_bytes

    kept = [json.dumps(entry) + "\n" for entry in history(directory) if entry["epoch"] < epoch]
    write_bytes(directory / HISTORY, "".join(kept).encode("utf-8"))


def _journal(directory: Path) -> keras.callbacks.Callback:
    """Returns what writes a line an epoch, keeps the best epoch as the preset, and shows both on stderr."""
    import keras

    console = stderr()

    class Journal(keras.callbacks.Callback):
        def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
            self.best = max((accuracy(entry) for entry in history(directory)), default=-1.0)

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            self.begun = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            entry = {"epoch": epoch, **{key: float(value) for key, value in (logs or {}).items()}}
            entry["seconds"] = round(time.monotonic() - self.begun, 1)
            better = accuracy(entry) >= self.best  # of equals the later, which the decay has brought nearer its goal
            try:
                with (directory / HISTORY).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
                if better:
                    self.best = accuracy(entry)
                    self.model.save_to_preset(directory)
            except OSError as error:
                reason = error.strerror or str(error)
                raise TrainingError(f"{directory}: cannot be written to: {reason}. Received: {directory}") from error
            console.print(
                f"epoch {epoch + 1}: loss {entry['loss']:.4f}, validation loss {entry['val_loss']:.4f}, "
                f"word error rate {1 - accuracy(entry):.4f}{', saved' if better else ''}"
            )

    return Journal()
