"""What the commands share that take MODEL and FILE: their arguments, loading, decoding, and figures as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerass2s.cli.app import progress, quiet_tensorflow
from kerass2s.cli.searching import read_lexicon
from kerass2s.errors import UserError

if TYPE_CHECKING:
    from kerass2s.data import Pair
    from kerass2s.decoding import Hypothesis
    from kerass2s.export import Predictor

WINDOW = 1024


def preset_names(incomplete: str) -> list[str]:
    """Completes a preset's name in a shell; files it completes by itself."""
    from kerass2s import bundled

    return [name for name in bundled.names() if name.startswith(incomplete)]


def recipe_names(incomplete: str) -> list[str]:
    """Completes a recipe's name in a shell; files it completes by itself."""
    from kerass2s import recipes

    return [name for name in recipes.names() if name.startswith(incomplete)]


Model = Annotated[
    str,
    typer.Argument(
        help="Preset name, preset directory, SavedModel directory or .onnx file.", autocompletion=preset_names
    ),
]
Preset = Annotated[str, typer.Argument(metavar="MODEL", help="Preset name or directory.", autocompletion=preset_names)]
RecipeName = Annotated[str, typer.Argument(help="A bundled recipe's name or a YAML file.", autocompletion=recipe_names)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Sources decoded at once.")]
Source = Annotated[str | None, typer.Option("--source", metavar="FILE", help="Parallel file of sources.")]
Target = Annotated[str | None, typer.Option("--target", metavar="FILE", help="Parallel file of targets.")]
Pairs = Annotated[str | None, typer.Argument(metavar="[FILE]", help="TSV: source<TAB>target[<TAB>other targets].")]


def best_outputs(predictor: Predictor, pairs: Sequence[Pair], batch_size: int) -> list[Hypothesis]:
    """Decodes the sources of pairs and returns the best output of each, in order."""
    sources = (pair.source for pair in pairs)
    return [columns(found, 1)[0] for _, found in decode(predictor, sources, len(pairs), batch_size)]


def table(report: dict[str, Any]) -> str:
    """Lays figures out for people, one a line."""
    return "\n".join(
        f"{key:<18} {round(value, 4) if isinstance(value, float) else value}" for key, value in report.items()
    )


def read(file: str | None, source: str | None, target: str | None) -> list[Pair]:
    """Reads FILE, or --source and --target."""
    from kerass2s.data import read_pairs, read_parallel

    if file is not None and source is None and target is None:
        return read_pairs(file)
    if file is None and source is not None and target is not None:
        return read_parallel(source, target)
    given = ", ".join(name for name, value in (("FILE", file), ("--source", source), ("--target", target)) if value)
    raise UserError(f"give FILE, or both --source and --target. Received: {given or 'none of them'}")


def check_picture_path(path: str | None) -> None:
    """Refuses what could not be drawn before the work that would be lost."""
    if path is not None:
        from kerass2s.plots import check_picture

        check_picture(path)


def is_export(model: str) -> bool:
    """Tells an export, which holds its search, from a preset."""
    return model.endswith(".onnx") or (Path(model) / "saved_model.pb").is_file()


def load(model: str, search: str | None, lexicon: str | None) -> Predictor:
    """Loads whatever MODEL names, with --search and --lexicon."""
    quiet_tensorflow()
    from kerass2s.export import load_predictor

    predictor = load_predictor(model, search=search)
    return predictor if lexicon is None else predictor.within(read_lexicon(lexicon, predictor.codec))


def decode(
    predictor: Predictor, sources: Iterable[str], total: int | None, batch_size: int, window: int = WINDOW
) -> Iterator[tuple[str, list[Hypothesis]]]:
    """Yields each source with its hypotheses, in order, as soon as its window is done."""
    asked, kept = tee(sources)
    with progress("decoding", total) as advance:
        for found in zip(kept, predictor.n_best(asked, batch_size=batch_size, window=window), strict=True):
            yield found
            advance(1)


def columns(hypotheses: list[Hypothesis], count: int) -> list[Hypothesis]:
    """Returns `count` hypotheses; those that do not exist say nothing and score -inf."""
    from kerass2s.decoding import Hypothesis

    return [*hypotheses[:count], *[Hypothesis("", -math.inf, [], token_scores=[-math.inf])] * (count - len(hypotheses))]


def log_probability(hypothesis: Hypothesis) -> float:
    """Returns what the model thinks of an output, whatever a length penalty or another ranking made of its score."""
    return sum(hypothesis.token_scores)
