"""A page about one model's errors, or two models' on the same pairs: one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import kerass2s
from kerass2s.analysis import (
    Group,
    Kind,
    Outcome,
    by_length,
    by_rarest,
    by_unknown,
    confusions,
    errors_by_position,
    unknown_pieces,
)
from kerass2s.data import Pair
from kerass2s.errors import DataError, UserError
from kerass2s.files import write_bytes
from kerass2s.significance import RESAMPLES, SEED, Difference, Interval, compare_models, confidence_intervals
from kerass2s.text import SentencePieceTokenizer

__all__ = ["PAGE", "Run", "check_report", "write_report"]

PAGE = "report.html"
FIGURES = {
    "word_error_rate": ("Word error rate", "outputs that equal no accepted target", "%", "lower"),
    "token_error_rate": ("Token error rate", "edits for each token of the closest target", "%", "lower"),
    "bleu": ("BLEU", "of tokens, 0 to 100", "", "higher"),
    "chrf": ("chrF", "of characters, 0 to 100", "", "higher"),
}
RATES = ("word_error_rate", "token_error_rate")
SHOWN = 25
CONFUSIONS = 15
POSITION_SHARE = 0.01
"""Positions that fewer targets reach are not shown: a share of so few says little."""
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Run:
    """What one model said to the pairs of a report.

    Attributes:
        name: of the model, as the page shall call it.
        search: how it was decoded.
        outcomes: in the order of the pairs.
    """

    name: str
    search: str
    outcomes: Sequence[Outcome]

    @property
    def texts(self) -> list[str]:
        """The outputs."""
        return [outcome.text for outcome in self.outcomes]


def check_report(directory: str | os.PathLike[str]) -> None:
    """Refuse, before any work is done, what could not be written in the end.

    Raises:
        UserError: jinja2 is not installed, or a file stands where the directory is to be.
    """
    try:
        import_module("jinja2")
    except ImportError as error:
        raise UserError(f"A report needs: pip install 'kerass2s[report]'. Received: {error}") from error
    if Path(directory).exists() and not Path(directory).is_dir():
        raise UserError(f"A report goes into a directory. Received: the file {str(directory)!r}")


def write_report(
    directory: str | os.PathLike[str],
    runs: Sequence[Run],
    tokenizer: SentencePieceTokenizer,
    *,
    data: str = "",
    seed: int = SEED,
) -> Path:
    """Write the page, and return where it is.

    Args:
        directory: gets `report.html`; made if it is not there.
        runs: one model's, or two models' on the same pairs, the second to be compared with the first.
        tokenizer: of the sources: what a length is counted in, what is rare and what is unknown.
        data: what the pairs are called.
        seed: of the intervals and the test.

    Raises:
        DataError: there are no pairs, no run or more than two, or they are not of the same pairs.
        UserError: see `check_report`.
    """
    check_report(directory)
    pairs = _pairs(runs)
    path = Path(directory) / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, _rendered(_content(runs, pairs, tokenizer, data, seed)).encode("utf-8"))
    return path


def _pairs(runs: Sequence[Run]) -> list[Pair]:
    if len(runs) not in (1, 2):
        raise DataError(f"A report is about one or two models. Received: {len(runs)}")
    asked = [[outcome.pair for outcome in run.outcomes] for run in runs]
    if asked[0] != asked[-1]:
        raise DataError(f"Two models are compared on the same pairs. Received: {len(asked[0])} and {len(asked[-1])}")
    return asked[0]


def _rendered(content: dict[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kerass2s.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    return environment.get_template("page.html.jinja").render(content)


def _figure(value: float, unit: str, sign: str = "") -> str:
    """Write a rate in percent, anything else as it is; `sign="+"` for differences, with a real minus."""
    return format(100 * value if unit else value, f"{sign}.1f").replace("-", "\N{MINUS SIGN}") + (unit and " %")


# === What the page says ===


def _content(
    runs: Sequence[Run], pairs: Sequence[Pair], tokenizer: SentencePieceTokenizer, data: str, seed: int
) -> dict[str, Any]:
    unit = "characters" if tokenizer.kind == "char" else "words" if tokenizer.kind == "word" else "tokens"
    groups = {
        f"By length of the source, in {unit}": by_length(pairs, tokenizer),
        f"By how usual the rarest of the source's {unit} was in training": by_rarest(pairs, tokenizer),
    }
    unknown = unknown_pieces(pairs, tokenizer)
    if unknown:
        groups[f"By {unit} that the model does not know"] = by_unknown(pairs, tokenizer)
    return {
        "runs": runs,
        "facts": {"Pairs": f"{len(pairs):,}", "Data": data or "not named", **_searches(runs)},
        "figures": _figures(runs, pairs, seed),
        "breakdowns": {title: _breakdown(runs, found, seed) for title, found in groups.items() if found},
        "unit": unit,
        "unknown": unknown.most_common(CONFUSIONS),
        "positions": _positions(runs),
        "confusions": [_confused(run) for run in runs],
        "examples": _examples(runs),
        "resamples": RESAMPLES,
        "seed": seed,
        "version": kerass2s.__version__,
        "Kind": Kind,
    }


def _searches(runs: Sequence[Run]) -> dict[str, str]:
    if len(runs) == 1:
        return {"Model": runs[0].name, "Search": runs[0].search}
    return {f"Model {letter}": f"{run.name}, {run.search}" for letter, run in zip("AB", runs, strict=True)}


def _figures(runs: Sequence[Run], pairs: Sequence[Pair], seed: int) -> list[dict[str, Any]]:
    """One row for each figure: each run's interval on one scale and, of two runs, how they differ."""
    intervals = [confidence_intervals(run.texts, pairs, seed=seed, figures=tuple(FIGURES)) for run in runs]
    differences = compare_models(runs[0].texts, runs[1].texts, pairs, seed=seed) if len(runs) == 2 else {}
    return [
        {
            "title": title,
            "about": about,
            "unit": unit,
            "values": (values := [each[name] for each in intervals]),
            "difference": differences.get(name),
            "verdict": _verdict(differences[name], better) if differences else "",
            "scale": max(1.0 if unit else 100.0, *(each.high for each in values)),
        }
        for name, (title, about, unit, better) in FIGURES.items()
    ]


def _verdict(difference: Difference, better: str) -> str:
    """Say in a word who is better, where chance seldom makes such a difference."""
    if difference.p_value >= SIGNIFICANT:
        return "no difference shown"
    return "B is better" if (difference.value > 0) == (better == "higher") else "A is better"


def _scale(intervals: Sequence[Interval]) -> float:
    """The end of an axis from 0 that holds all intervals."""
    return max(each.high for each in intervals) or 1.0


def _breakdown(runs: Sequence[Run], groups: Sequence[Group], seed: int) -> dict[str, Any]:
    """Each group's rates with their intervals, each run's, and the scale of each rate over all groups."""
    rows = []
    for group in groups:
        found = []
        for run in runs:
            part = [run.outcomes[place] for place in group.places]
            texts, pairs = [outcome.text for outcome in part], [outcome.pair for outcome in part]
            found.append(confidence_intervals(texts, pairs, seed=seed, figures=RATES))
        rows.append({"name": group.name, "pairs": len(group.places), "rates": found})
    scales = {rate: _scale([each[rate] for row in rows for each in row["rates"]]) for rate in RATES}
    return {"rows": rows, "scales": scales, "titles": {rate: FIGURES[rate][0] for rate in RATES}}


def _positions(runs: Sequence[Run]) -> dict[str, Any]:
    """For each position of a target the share of each kind of error, of each run, and the greatest of them."""
    measured = [errors_by_position(run.outcomes) for run in runs]
    reached = measured[0].counts
    shown = max(1, int((reached >= POSITION_SHARE * reached[0]).sum()))
    bars = [
        [
            {"substituted": each.substituted[t] / n, "missing": each.missing[t] / n, "extra": each.extra[t] / n}
            for each in measured
        ]
        for t, n in enumerate(reached[:shown].clip(1))
    ]
    top = max((sum(kinds.values()) for runs_at in bars for kinds in runs_at), default=0.0) or 1.0
    return {"bars": bars, "counts": reached[:shown].tolist(), "top": top}


def _confused(run: Run) -> dict[str, Any]:
    """What was most often taken for what, left out and put in, each with how often and how often there was a chance."""
    found = confusions(run.outcomes)
    wanted: Counter[str | None] = Counter()
    for (target, _), count in found.items():
        wanted[target] += count

    def most(fits: Callable[[str | None, str | None], bool]) -> list[tuple[str | None, str | None, int, int]]:
        kept = Counter({pair: count for pair, count in found.items() if fits(*pair)}).most_common(CONFUSIONS)
        return [(target, output, count, wanted[target]) for (target, output), count in kept]

    return {
        "name": run.name,
        "substituted": most(lambda target, output: None not in (target, output) and target != output),
        "missing": most(lambda target, output: output is None),
        "extra": most(lambda target, output: target is None),
    }


def _examples(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Lists of places, each with a title: what to look at first."""
    if len(runs) == 1:
        return [
            _listed("Worst: most edits", "Of equally many, the surest first.", runs, _worst(runs[0])),
            _listed("Surest of what is wrong", "The model thought these the likeliest.", runs, _surest(runs[0])),
        ]
    right = [[outcome.errors == 0 for outcome in run.outcomes] for run in runs]
    lost = [i for i, (a, b) in enumerate(zip(*right, strict=True)) if a and not b]
    won = [i for i, (a, b) in enumerate(zip(*right, strict=True)) if b and not a]
    return [
        _listed("Right with A, wrong with B", f"{len(lost):,} in all.", runs, lost),
        _listed("Wrong with A, right with B", f"{len(won):,} in all.", runs, won),
        _listed("Worst of A", "The most edits first.", runs, _worst(runs[0])),
        _listed("Worst of B", "The most edits first.", runs, _worst(runs[1])),
    ]


def _listed(title: str, about: str, runs: Sequence[Run], places: Sequence[int]) -> dict[str, Any]:
    rows = [[run.outcomes[place] for run in runs] for place in places[:SHOWN]]
    return {"title": title, "about": about, "rows": rows}


def _worst(run: Run) -> list[int]:
    wrong = [place for place, outcome in enumerate(run.outcomes) if outcome.errors]
    return sorted(wrong, key=lambda place: (-run.outcomes[place].errors, -run.outcomes[place].log_probability))


def _surest(run: Run) -> list[int]:
    wrong = [place for place, outcome in enumerate(run.outcomes) if outcome.errors]
    return sorted(wrong, key=lambda place: -run.outcomes[place].log_probability)
