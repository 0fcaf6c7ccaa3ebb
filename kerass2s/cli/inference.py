"""`kerass2s predict`, `evaluate` and `score`: models and exports at work on files."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerass2s.cli.app import examples, progress, quiet_tensorflow
from kerass2s.cli.searching import LexiconOption, SearchOption, check_search, read_lexicon, searches
from kerass2s.errors import UserError

if TYPE_CHECKING:
    from kerass2s.data import Pair
    from kerass2s.decoding import Hypothesis
    from kerass2s.export import Predictor

CHUNK = 1024
ATTENTION_MAPS = 6

Model = Annotated[str, typer.Argument(help="Preset name, preset directory, SavedModel directory or .onnx file.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Sources decoded at once.")]
Source = Annotated[str | None, typer.Option("--source", metavar="FILE", help="Parallel file of sources.")]
Target = Annotated[str | None, typer.Option("--target", metavar="FILE", help="Parallel file of targets.")]
Pairs = Annotated[str | None, typer.Argument(metavar="[FILE]", help="TSV: source<TAB>target[<TAB>other targets].")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        "predict",
        epilog=examples(
            "predict g2p_en words.txt --search beam:5",
            "predict out/model.onnx - --n-best 3 --scores < words.txt",
            "predict my_model names.txt --search sample:4,seed=7 --n-best 4",
            "predict my_model words.txt --search beam:5 --lexicon allowed.txt",
        )
        + searches(),
    )(predict)
    app.command(
        "evaluate",
        epilog=examples(
            "evaluate my_model test.tsv --json",
            "evaluate out/saved_model/1 --source test.en --target test.de",
        )
        + searches(),
    )(evaluate)
    app.command("score", epilog=examples("score my_model test.tsv"))(score)


# === predict ===


def predict(
    model: Model,
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Sources, one a line; - is stdin.")] = "-",
    search: SearchOption = None,
    lexicon: LexiconOption = None,
    n_best: Annotated[int, typer.Option("--n-best", min=1, help="Outputs a line, tab separated, best first.")] = 1,
    scores: Annotated[bool, typer.Option("--scores", help="Put each output's score in the column after it.")] = False,
    attention: Annotated[
        str | None, typer.Option("--attention", metavar="PNG", help=f"Draw attention of the first {ATTENTION_MAPS}.")
    ] = None,
    batch_size: BatchSize = 64,
) -> None:
    """Predict: a line in, a line out, in order. Only the first column of FILE is read.

    With --n-best N each line has N columns, with --scores each output is followed by its score. Where the search's
    rules allow fewer outputs, what is left is empty, with a score of -inf.
    """
    from kerass2s.data import read_sources

    if not _is_export(model):  # one checks the spec by what it holds
        check_search(search)
    sources = read_sources(file)
    if search is None and n_best > 1 and not _is_export(model):
        search = f"beam:{n_best}"
    predictor = _load(model, search, lexicon)
    if n_best > predictor.width:
        raise UserError(
            f"--n-best {n_best} needs a search of that width, such as --search beam:{n_best} or sample:{n_best}. "
            f"Received: search {predictor.search}, which gives {predictor.width}"
        )
    shown: list[tuple[str, Hypothesis]] = []
    for source, hypotheses in _decode(predictor, sources, batch_size):
        print(_line(_columns(hypotheses, n_best), scores))
        if attention and source.strip() and hypotheses and len(shown) < ATTENTION_MAPS:
            shown.append((source, hypotheses[0]))
    if attention:
        _draw(attention, predictor, shown)


def _decode(predictor: Predictor, sources: Sequence[str], batch_size: int) -> Iterator[tuple[str, list[Hypothesis]]]:
    """Yields each source with its hypotheses, in order, as soon as its chunk is done."""
    with progress("decoding", len(sources)) as advance:
        for begin in range(0, len(sources), CHUNK):
            chunk = sources[begin : begin + CHUNK]
            yield from zip(chunk, predictor.n_best(chunk, batch_size=batch_size), strict=True)
            advance(len(chunk))


def _columns(hypotheses: list[Hypothesis], count: int) -> list[Hypothesis]:
    """Returns `count` hypotheses; those that do not exist say nothing and score -inf."""
    from kerass2s.decoding import Hypothesis

    return [*hypotheses[:count], *[Hypothesis("", -math.inf, [])] * (count - len(hypotheses))]


def _line(hypotheses: Sequence[Hypothesis], scores: bool) -> str:
    columns = [(each.text, f"{each.score:.6f}") if scores else (each.text,) for each in hypotheses]
    return "\t".join(value for column in columns for value in column)


def _draw(path: str, predictor: Predictor, shown: Sequence[tuple[str, Hypothesis]]) -> None:
    """Draws what the model looked at for the first few sources."""
    from kerass2s.plots import attention_map, save_attention

    maps = [attention_map(source, each, predictor.codec) for source, each in shown]
    save_attention(path, maps)


# === evaluate ===


def evaluate(
    model: Model,
    file: Pairs = None,
    search: SearchOption = None,
    lexicon: LexiconOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    source: Source = None,
    target: Target = None,
    batch_size: BatchSize = 64,
) -> None:
    """Evaluate a model on pairs: error rates, BLEU and chrF against any accepted target."""
    if not _is_export(model):  # one checks the spec by what it holds
        check_search(search)
    pairs = _read(file, source, target)
    predictor = _load(model, search, lexicon)
    start = time.perf_counter()
    found = _decode(predictor, [pair.source for pair in pairs], batch_size)
    texts = [_columns(hypotheses, 1)[0].text for _, hypotheses in found]
    seconds = time.perf_counter() - start
    from kerass2s.evaluation import evaluate_texts

    report = {**evaluate_texts(texts, pairs), "seconds": round(seconds, 3), "search": predictor.search}
    print(json.dumps(report) if as_json else _table(report))


def _table(report: dict[str, Any]) -> str:
    return "\n".join(
        f"{key:<18} {round(value, 4) if isinstance(value, float) else value}" for key, value in report.items()
    )


# === score ===


def score(
    model: Annotated[str, typer.Argument(help="Preset name or directory.")],
    file: Pairs = None,
    source: Source = None,
    target: Target = None,
    batch_size: BatchSize = 64,
) -> None:
    """Print the log-probability (nats) of each given target: a line for each pair, a column for each target."""
    if _is_export(model):
        raise UserError(f"An export only searches; score with the preset it was made from. Received: {model}")
    pairs = _read(file, source, target)
    quiet_tensorflow()
    from kerass2s.data import Pair
    from kerass2s.seq2seq import Seq2Seq

    live = Seq2Seq.from_preset(model)
    with progress("scoring", len(pairs)) as advance:
        for begin in range(0, len(pairs), CHUNK):
            chunk = pairs[begin : begin + CHUNK]
            flat = iter(
                live.score_pairs(
                    [Pair(each.source, target) for each in chunk for target in each.targets], batch_size=batch_size
                )
            )
            for pair in chunk:
                print("\t".join(f"{next(flat):.6f}" for _ in pair.targets))
            advance(len(chunk))


# === Shared ===


def _read(file: str | None, source: str | None, target: str | None) -> list[Pair]:
    """Reads FILE, or --source and --target."""
    from kerass2s.data import read_pairs, read_parallel

    if file is not None and source is None and target is None:
        return read_pairs(file)
    if file is None and source is not None and target is not None:
        return read_parallel(source, target)
    given = ", ".join(name for name, value in (("FILE", file), ("--source", source), ("--target", target)) if value)
    raise UserError(f"give FILE, or both --source and --target. Received: {given or 'none of them'}")


def _is_export(model: str) -> bool:
    return model.endswith(".onnx") or (Path(model) / "saved_model.pb").is_file()


def _load(model: str, search: str | None, lexicon: str | None) -> Predictor:
    quiet_tensorflow()
    from kerass2s.export import load_predictor

    predictor = load_predictor(model, search=search)
    return predictor if lexicon is None else predictor.within(read_lexicon(lexicon, predictor.codec))
