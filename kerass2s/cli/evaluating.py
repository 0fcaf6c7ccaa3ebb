"""`kerass2s evaluate`: figures of a model on pairs, a page about its errors, and two models compared."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from kerass2s.cli.app import examples, quiet_tensorflow, stderr
from kerass2s.cli.models import (
    AsJson,
    BatchSize,
    Model,
    Pairs,
    Source,
    Target,
    best_outputs,
    check_picture_path,
    is_export,
    load,
    log_probability,
    read,
    table,
)
from kerass2s.cli.searching import LexiconOption, SearchOption, check_search, searches

if TYPE_CHECKING:
    from kerass2s.analysis import Outcome
    from kerass2s.data import Pair
    from kerass2s.export import Predictor
    from kerass2s.text import SentencePieceTokenizer


class Decoded(NamedTuple):
    """What a model said to the pairs, in how many seconds."""

    model: str
    predictor: Predictor
    outcomes: list[Outcome]
    seconds: float

    @property
    def texts(self) -> list[str]:
        """The outputs."""
        return [outcome.text for outcome in self.outcomes]

    @property
    def tokenizer(self) -> SentencePieceTokenizer:
        """Of the sources."""
        return self.predictor.codec.tokenizers()["source"]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "evaluate",
        epilog=examples(
            "evaluate my_model test.tsv --json",
            "evaluate out/saved_model/1 --source test.en --target test.de",
            "evaluate my_model test.tsv --report out/errors --plot out/errors.png",
            "evaluate my_model test.tsv --against other_model --report out/compared",
            "evaluate my_model test.tsv --risk-coverage risk.png",
        )
        + searches(),
    )(evaluate)


def evaluate(
    model: Model,
    file: Pairs = None,
    search: SearchOption = None,
    lexicon: LexiconOption = None,
    as_json: AsJson = False,
    source: Source = None,
    target: Target = None,
    report: Annotated[
        str | None, typer.Option("--report", metavar="DIR", help="Write a page about the errors, DIR/report.html.")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="OTHER", help="Compare with another model on the same pairs.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="PNG", help="Draw errors by length, by position, and confusions.")
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(
            "--risk-coverage", metavar="PNG", help="Draw what stays wrong when the least likely are left out."
        ),
    ] = None,
    batch_size: BatchSize = 64,
) -> None:
    """Evaluate a model on pairs: error rates, BLEU and chrF against any accepted target.

    With --against each figure of OTHER follows with its difference (OTHER's less MODEL's), the 95 % interval of that,
    and p: how often chance alone makes as much.
    """
    for name in (model, against):
        if name is not None and not is_export(name):  # one checks the spec by what it holds
            check_search(search)
    for picture in (plot, curve):
        check_picture_path(picture)
    _check_report(report)
    pairs = read(file, source, target)
    decoded = [_decoded(name, search, lexicon, pairs, batch_size) for name in (model, against) if name is not None]
    found = _figures(decoded[0], pairs)
    if curve:
        found["risk_coverage_area"] = _draw_risk(curve, decoded[0])
    if plot:
        _draw_errors(plot, decoded)
    if against:
        found["against"] = _compared(*decoded, pairs)
    if report:
        found["report"] = _write_report(report, decoded, file or f"{source} and {target}")
    print(json.dumps(found) if as_json else _text(found))


def _check_report(report: str | None) -> None:
    if report is not None:
        quiet_tensorflow()
        from kerass2s.report import check_report

        check_report(report)


def _decoded(model: str, search: str | None, lexicon: str | None, pairs: Sequence[Pair], batch_size: int) -> Decoded:
    predictor = load(model, search, lexicon)
    from kerass2s.analysis import outcomes

    start = time.perf_counter()
    best = best_outputs(predictor, pairs, batch_size)
    seconds = time.perf_counter() - start
    scores = [log_probability(each) for each in best]
    return Decoded(model, predictor, outcomes([each.text for each in best], pairs, scores), seconds)


def _figures(decoded: Decoded, pairs: Sequence[Pair]) -> dict[str, Any]:
    from kerass2s.evaluation import evaluate_texts

    figures = evaluate_texts(decoded.texts, pairs)
    return {**figures, "seconds": round(decoded.seconds, 3), "search": decoded.predictor.search}


def _draw_risk(path: str, decoded: Decoded) -> float:
    """Draws risk over coverage, the likeliest outputs kept first, and returns the area under the curve."""
    from kerass2s.confidence import risk_coverage
    from kerass2s.plots import save_risk_coverage

    scores = [outcome.log_probability for outcome in decoded.outcomes]
    found = risk_coverage(scores, [outcome.errors == 0 for outcome in decoded.outcomes])
    save_risk_coverage(path, {"by log-probability": found})
    return found.area


def _draw_errors(path: str, decoded: Sequence[Decoded]) -> None:
    from kerass2s.plots import save_errors

    save_errors(
        path, dict(zip(_names(decoded), (each.outcomes for each in decoded), strict=True)), decoded[0].tokenizer
    )


def _compared(ours: Decoded, theirs: Decoded, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Returns the other model's figures, and of each how it differs."""
    from kerass2s.significance import compare_models

    differences = compare_models(ours.texts, theirs.texts, pairs)
    return {
        "model": theirs.model,
        **_figures(theirs, pairs),
        "differences": {name: each._asdict() for name, each in differences.items()},
    }


def _write_report(directory: str, decoded: Sequence[Decoded], data: str) -> str:
    from kerass2s.report import Run, write_report

    names = _names(decoded)
    runs = [Run(name, each.predictor.search, each.outcomes) for name, each in zip(names, decoded, strict=True)]
    path = write_report(directory, runs, decoded[0].tokenizer, data=data)
    stderr().print(f"report: {path}", soft_wrap=True)
    return str(path)


def _names(decoded: Sequence[Decoded]) -> list[str]:
    """Returns the models' names as they were given, without a trailing slash; the second differs from the first."""
    names = [str(Path(each.model)) for each in decoded]
    return names if len(set(names)) == len(names) else [names[0], f"{names[1]} (again)"]


def _text(found: dict[str, Any]) -> str:
    """Lays the figures out for people; those of the other model follow, each with its difference."""
    other = found.pop("against", None)
    lines = [table(found)]
    if other is not None:
        differences = other.pop("differences")
        lines.append(f"\nagainst            {other.pop('model')}")
        for line in table(other).splitlines():
            said = differences.get(line.split()[0])
            lines.append(line + (_difference(said) if said else ""))
    return "\n".join(lines)


def _difference(said: dict[str, float]) -> str:
    return f"   {said['value']:+.4f} [{said['low']:+.4f}, {said['high']:+.4f}], p = {said['p_value']:.3f}"
