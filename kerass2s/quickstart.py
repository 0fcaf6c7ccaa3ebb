"""The main job: train on real words, evaluate on words never seen, export, reload each export, compare, and draw."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from kerass2s import cmudict, datasets, recipes
from kerass2s.data import Pair
from kerass2s.decoding import GreedySearch, Hypothesis, search_spec
from kerass2s.errors import ExportError, UserError
from kerass2s.evaluation import evaluate_texts
from kerass2s.export import write_manifest
from kerass2s.export.comparison import TOLERANCE
from kerass2s.export.fresh import FreshProcess
from kerass2s.export.precision import FULL
from kerass2s.export.verify import Probe
from kerass2s.plots import attention_map, save_attention, save_losses
from kerass2s.recipes import Recipe, build
from kerass2s.release import Card, write_exports
from kerass2s.seq2seq import Seq2Seq

__all__ = ["Options", "TimedTraining", "run"]

NAME = "g2p_quickstart"
SEARCH = GreedySearch(max_length=40)
DEV, TEST, COMPARED, BATCH = 1000, 2000, 1000, 100
SHOWN, DRAWN = 8, 6
WARM_UP = 0.02
FLOOR = 1e-3
SAMPLED = f"The figures are for {DEV:,} of dev and {TEST:,} of test, drawn by hash."


@dataclass(frozen=True)
class Options:
    """What can be chosen: where the results go, how long `fit` may take, and how many words to use (None: all)."""

    out: Path
    minutes: float = 5.5
    words: int | None = None


def run(options: Options) -> dict[str, Any]:
    """Does the main job; returns the figures of the test words.

    Raises:
        UserError: The output directory cannot be used, or holds something else.
        ExportError: An export does not give what the live model gives.
    """
    say, log = Console(soft_wrap=True, highlight=False), Console(stderr=True, highlight=False)
    _claim(options.out)
    recipe = recipes.load("quickstart")
    parts = _data(options.words)
    say.print(
        f"Data: CMU Pronouncing Dictionary, split {datasets.about('cmudict').split}.\n"
        f"Train {len(parts['train'])} words, dev {len(parts['dev'])}, test {len(parts['test'])}. "
        f"Dev was used to choose the settings, test is reported once."
    )

    model, training = _train(recipe, parts, options.minutes, log)
    log.print("evaluating on dev and test words")
    figures = {part: _evaluate(model, _sample(parts[part], size)) for part, size in (("dev", DEV), ("test", TEST))}
    say.print(_figures_table(figures, training))

    log.print("exporting")
    directory = options.out / NAME
    _export(model, recipe, directory, figures, training)
    words = [pair.source for pair in _sample(parts["test"], COMPARED)]
    live = model.n_best(words, SEARCH)
    log.print("reloading each export in a fresh process")
    say.print(_comparison_table(words, live, _compare(model, directory, words, live)))

    shown = _sample(parts["test"], SHOWN)
    say.print(_predictions_table(shown, [hypotheses[0] for hypotheses in live]))
    _draw(options.out, model, list(zip(words, live, strict=True))[:DRAWN], training)
    say.print(f"Wrote {directory}, {options.out / 'attention.png'} and {options.out / 'loss.png'}.")
    return figures["test"]


def _claim(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"--out must be a directory. Received: {out}")
    out.mkdir(parents=True, exist_ok=True)


# === Data ===


def _data(words: int | None) -> dict[str, list[Pair]]:
    """Returns the split; with a limit, so many training words and a tenth as many held-out ones, picked by hash."""
    parts = cmudict.load_split()
    if words is None:
        return parts
    shares = {"train": words, "dev": max(words // 10, 20), "test": max(words // 10, 20)}
    return {part: _sample(parts[part], size) for part, size in shares.items()}


def _sample(pairs: Sequence[Pair], size: int) -> list[Pair]:
    """Returns `size` pairs that depend on nothing but the words: those with the smallest hashes, in that order."""
    return sorted(pairs, key=lambda pair: hashlib.sha256(f"sample {pair.source}".encode()).digest())[:size]


# === Training ===


class TimedTraining(keras.callbacks.Callback):
    """Stops `fit` when its time is up; the learning rate follows the clock, so a slow machine ends annealed too.

    Args:
        recipe: its learning rate is the highest one, after a short warm-up; its decay leads down from there.
        minutes: the time from the beginning of `fit`, tracing and validation included.
        log: where the bar of progress goes.
    """

    def __init__(self, recipe: Recipe, minutes: float, log: Console) -> None:
        super().__init__()
        self.recipe = recipe
        self.budget = minutes * 60
        self.batches = 0
        self.seconds = 0.0
        self.epochs = 0.0
        self.losses: dict[str, list[tuple[float, float]]] = {"train": [], "dev": []}
        columns = (TextColumn("training"), BarColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=log, transient=True, disable=not log.is_terminal)
        self._task = self._bar.add_task("", total=self.budget)
        self._log = log

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._start = time.monotonic()
        self._bar.start()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the learning rate for the time that it is."""
        if batch % 10 == 0:
            self.model.optimizer.learning_rate.assign(self.recipe.learning_rate * self._factor(self._progress()))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops when the time is up."""
        self.batches += 1
        if self._progress() >= 1.0:
            self.model.stop_training = True
        if batch % 10 == 0:
            self._bar.update(
                self._task,
                completed=self._progress() * self.budget,
                description=f"batch {self.batches}, loss {float((logs or {}).get('loss', 0)):.3f}",
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps and shows the losses."""
        logs = logs or {}
        minutes = self._progress() * self.budget / 60
        self.losses["train"].append((minutes, float(logs["loss"])))
        self.losses["dev"].append((minutes, float(logs["val_loss"])))
        self._log.print(f"  {minutes:4.1f} min, epoch {epoch + 1}: loss {logs['loss']:.3f}, dev {logs['val_loss']:.3f}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stops the clock."""
        self.seconds = time.monotonic() - self._start
        self._bar.stop()

    def _progress(self) -> float:
        return (time.monotonic() - self._start) / self.budget

    def _factor(self, progress: float) -> float:
        warm = min(1.0, 0.05 + progress / WARM_UP)
        return warm * max(build.decayed(self.recipe.decay, progress), FLOOR)


def _train(
    recipe: Recipe, parts: Mapping[str, list[Pair]], minutes: float, log: Console
) -> tuple[Seq2Seq, TimedTraining]:
    """Trains by the clock; a word with n pronunciations gives n training pairs."""
    pairs = cmudict.one_target_each(parts["train"])
    model = build.build_model(recipe, *build.train_tokenizers(recipe, pairs))
    log.print(f"training {model.architecture}, {model.count_params():,} parameters, for {minutes:g} minutes")
    timed = TimedTraining(recipe, minutes, log)
    model.fit(
        [pair[:2] for pair in pairs],
        validation_data=[pair[:2] for pair in _sample(parts["dev"], DEV)],
        batching=build.batching(recipe),
        epochs=recipe.epochs,
        seed=recipe.seed,
        verbose=0,
        callbacks=[timed],
    )
    return model, timed


# === Evaluation ===


def _evaluate(model: Seq2Seq, pairs: list[Pair]) -> dict[str, Any]:
    return evaluate_texts(model.generate([pair.source for pair in pairs], SEARCH, batch_size=256), pairs)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _figures_table(figures: Mapping[str, dict[str, Any]], training: TimedTraining) -> Table:
    table = Table(title=f"Words never seen in training, after {training.seconds / 60:.1f} minutes of it")
    for column in ("part", "words", "word error rate", "phone error rate"):
        table.add_column(column, justify="right")
    for part, each in figures.items():
        table.add_row(part, str(each["n"]), _percent(each["word_error_rate"]), _percent(each["token_error_rate"]))
    return table


def _predictions_table(pairs: Sequence[Pair], hypotheses: Sequence[Hypothesis]) -> Table:
    table = Table(title="Test words")
    for column in ("word", "prediction", "dictionary"):
        table.add_column(column)
    for pair, hypothesis in zip(pairs, hypotheses, strict=False):
        right = hypothesis.text in pair.targets
        table.add_row(pair.source, f"{'✓' if right else '✗'} {hypothesis.text}", " | ".join(pair.targets))
    return table


# === Exports ===


def _export(
    model: Seq2Seq, recipe: Recipe, directory: Path, figures: Mapping[str, dict[str, Any]], training: TimedTraining
) -> None:
    """Writes NAME/ as the README describes it: preset, SavedModel, both ONNX files, card and manifest."""
    write_exports(model, directory, SEARCH)
    about = replace(datasets.about("cmudict"), right=f"{datasets.about('cmudict').right} {SAMPLED}")
    timed = (
        f"Trained for {training.seconds / 60:.1f} minutes ({training.batches} batches): training is by the clock, so "
        f"the figures move with the machine."
    )
    Card(NAME, about, figures, search_spec(SEARCH), FULL, recipe, "kerass2s quickstart", timed).write(directory, model)
    write_manifest(directory)


def _compare(
    model: Seq2Seq, directory: Path, words: Sequence[str], live: Sequence[Sequence[Hypothesis]]
) -> dict[str, tuple[int, float]]:
    """Runs the words through each export in a fresh process.

    Returns:
        For each export the count of identical strings and the largest difference of scores.

    Raises:
        ExportError: A string differs, or a score by more than the tolerance.
    """
    batches = [list(words[i : i + BATCH]) for i in range(0, len(words), BATCH)]
    ids = [{"ids": Probe.of(f"words {i}", batch, model.codec, {}).inputs} for i, batch in enumerate(batches)]
    strings = [{"text": {"text": model.codec.request(batch)["text"].numpy()}} for batch in batches]
    found = {}
    for name, asked in (("saved_model/1", ids), ("model.onnx", ids), ("model.text.onnx", strings)):
        texts, scores = [], []
        with FreshProcess() as process:
            answers = [next(iter(answer.outputs.values())) for answer in process.replay(directory / name, asked)]
        for answer in answers:
            if "best_text" in answer:
                texts += answer["best_text"].tolist()
            else:
                texts += [model.target_tokenizer.decode(row) for row in answer["target_ids"][:, 0].tolist()]
            scores += answer["scores"][:, 0].tolist()
        same = sum(text == row[0].text for text, row in zip(texts, live, strict=True))
        worst = float(np.abs(np.array(scores) - [row[0].score for row in live]).max(initial=0.0))
        if same != len(words) or worst > TOLERANCE:
            raise ExportError(
                f"{directory / name} does not give what the live model gives. Received: {same} of "
                f"{len(words)} strings equal, scores differ by up to {worst:.1e}"
            )
        found[name] = (same, worst)
    return found


def _comparison_table(
    words: Sequence[str], live: Sequence[Sequence[Hypothesis]], found: Mapping[str, tuple[int, float]]
) -> Table:
    table = Table(title=f"{len(words)} test words: each export, in a fresh process, against the live model")
    for column in ("export", "identical strings", "largest score difference"):
        table.add_column(column, justify="right")
    for name, (same, worst) in found.items():
        table.add_row(name, f"{same} of {len(live)}", f"{worst:.1e}")
    return table


# === Plots ===


def _draw(
    out: Path, model: Seq2Seq, shown: Sequence[tuple[str, Sequence[Hypothesis]]], training: TimedTraining
) -> None:
    maps = [attention_map(word, row[0], model.codec) for word, row in shown]
    save_attention(out / "attention.png", maps)
    save_losses(out / "loss.png", training.losses, x_label="minutes of training")
