"""Error analysis: outputs aligned with their targets edit by edit, what is taken for what, and where errors gather."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from kerass2s.data import Pair
from kerass2s.evaluation import check_counts, closest
from kerass2s.text import SentencePieceTokenizer
from kerass2s.text.special import SPECIAL_IDS

__all__ = [
    "Edit",
    "Group",
    "Kind",
    "Outcome",
    "PositionErrors",
    "align",
    "by_length",
    "by_rarest",
    "by_unknown",
    "confusions",
    "errors_by_position",
    "outcomes",
    "unknown_pieces",
]


class Kind(StrEnum):
    """What stands between a token of the target and one of the output."""

    same = "same"
    substituted = "substituted"
    missing = "missing"
    extra = "extra"


class Edit(NamedTuple):
    """One step of an alignment; `target` is None where a token is extra, `output` where one is missing."""

    kind: Kind
    target: str | None
    output: str | None


@dataclass(frozen=True)
class Outcome:
    """What a model made of a pair.

    Attributes:
        pair: what was asked.
        text: what came out.
        log_probability: of `text`, in nats.
    """

    pair: Pair
    text: str
    log_probability: float

    @cached_property
    def edits(self) -> list[Edit]:
        """The alignment with the closest accepted target."""
        return align(self.text, min(self.pair.targets, key=lambda target: closest(self.text, [target])[0]))

    @cached_property
    def errors(self) -> int:
        """How many steps of the alignment are no `same`; 0 where the output is right."""
        return sum(edit.kind is not Kind.same for edit in self.edits)


def align(output: str, target: str) -> list[Edit]:
    """Align an output with a target by as few edits of tokens as possible (Levenshtein distance).

    Example: `align("K AA T S", "K AE T")` is same K, substituted AE by AA, same T, extra S.
    """
    from rapidfuzz.distance import Levenshtein

    said, wanted = output.split(), target.split()
    edits = []
    for step in Levenshtein.opcodes(wanted, said):
        gone, come = wanted[step.src_start : step.src_end], said[step.dest_start : step.dest_end]
        kind = {"equal": Kind.same, "replace": Kind.substituted, "delete": Kind.missing, "insert": Kind.extra}[step.tag]
        length = max(len(gone), len(come))
        pad = [None] * length
        edits += [Edit(kind, *pair) for pair in zip(gone or pad, come or pad, strict=True)]
    return edits


def outcomes(texts: Sequence[str], pairs: Sequence[Pair], log_probabilities: Sequence[float]) -> list[Outcome]:
    """Put texts, in the order of `pairs`, beside what was asked.

    Raises:
        DataError: there is nothing, or the counts differ.
    """
    check_counts(texts, pairs)
    return [Outcome(pair, text, score) for pair, text, score in zip(pairs, texts, log_probabilities, strict=True)]


def confusions(found: Iterable[Outcome]) -> Counter[tuple[str | None, str | None]]:
    """Count `(target, output)` of every edit, the same ones too; None stands for no token: extra or missing."""
    return Counter((edit.target, edit.output) for outcome in found for edit in outcome.edits)


class PositionErrors(NamedTuple):
    """How often the token at each position t of the target went wrong, each int [T].

    Attributes:
        counts: how many targets have a token there; the last position is one beyond the longest target.
        substituted: how many of them another token came for.
        missing: how many of them nothing came for.
        extra: how many tokens came before it that no target has.
    """

    counts: np.ndarray
    substituted: np.ndarray
    missing: np.ndarray
    extra: np.ndarray


def errors_by_position(found: Iterable[Outcome]) -> PositionErrors:
    """Count the edits by the position of the target that they stand at; an extra token stands before the next one."""
    tallies: dict[Kind, Counter[int]] = {kind: Counter() for kind in Kind}
    longest = 0
    for outcome in found:
        position = 0
        for edit in outcome.edits:
            tallies[edit.kind][position] += 1
            position += edit.target is not None
        longest = max(longest, position)

    def row(*kinds: Kind) -> np.ndarray:
        return np.array([sum(tallies[kind][t] for kind in kinds) for t in range(longest + 1)])

    reached = row(Kind.same, Kind.substituted, Kind.missing)
    return PositionErrors(reached, row(Kind.substituted), row(Kind.missing), row(Kind.extra))


# === Groups of pairs ===


class Group(NamedTuple):
    """Some of the pairs, by their places, and what they have in common."""

    name: str
    places: list[int]


def by_length(pairs: Sequence[Pair], tokenizer: SentencePieceTokenizer, most: int = 8) -> list[Group]:
    """Group pairs by how many tokens their sources have, in at most so many groups of about one size."""
    lengths = [len(tokenizer.split(pair.source)) for pair in pairs]
    return [Group(_span(low, high), places) for low, high, places in _groups(lengths, most)]


def by_rarest(pairs: Sequence[Pair], tokenizer: SentencePieceTokenizer, most: int = 5) -> list[Group]:
    """Group pairs by the rarest token of their sources that the model knows, the rarest group first.

    How usual a token is tells the tokenizer, which counted its training texts (see `SentencePieceTokenizer.scores`).
    Sources without a known token are in no group.
    """
    scores = tokenizer.scores
    rarest = [_rarest(tokenizer.encode(pair.source), scores) for pair in pairs]
    known = [place for place, score in enumerate(rarest) if score is not None]
    found = _groups([rarest[place] for place in known], most)
    name = _merge if tokenizer.kind == "bpe" else _share
    return [Group(name(low, high), [known[place] for place in places]) for low, high, places in found]


def by_unknown(pairs: Sequence[Pair], tokenizer: SentencePieceTokenizer) -> list[Group]:
    """Group pairs by whether their sources hold something that the model does not know; an empty group is left out."""
    known = _vocabulary(tokenizer)
    flags = [not known.issuperset(tokenizer.split(pair.source)) for pair in pairs]
    names = {False: "all known", True: "something unknown"}
    groups = [Group(name, [i for i, one in enumerate(flags) if one is flag]) for flag, name in names.items()]
    return [group for group in groups if group.places]


def unknown_pieces(pairs: Sequence[Pair], tokenizer: SentencePieceTokenizer) -> Counter[str]:
    """Count in how many sources each character (or word, as the tokenizer cuts) stands that the model does not know."""
    known = _vocabulary(tokenizer)
    pieces = (piece for pair in pairs for piece in dict.fromkeys(tokenizer.split(pair.source)))
    return Counter(piece for piece in pieces if piece not in known)


def _vocabulary(tokenizer: SentencePieceTokenizer) -> set[str]:
    return set(tokenizer.pieces[len(SPECIAL_IDS) :])


def _rarest(ids: Sequence[int], scores: Sequence[float]) -> float | None:
    return min((scores[each] for each in ids if each >= len(SPECIAL_IDS)), default=None)


def _groups(values: Sequence[float], most: int) -> list[tuple[float, float, list[int]]]:
    """Cut values into groups of about one size, equal ones together: the least and greatest of each, and its places."""
    if not values:
        return []
    edges = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)[1:], method="higher"))
    numbers = np.searchsorted(edges, values)
    groups = []
    for number in np.unique(numbers):
        places = np.flatnonzero(numbers == number).tolist()
        inside = [values[place] for place in places]
        groups.append((min(inside), max(inside), places))
    return groups


def _span(low: float, high: float) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _share(low: float, high: float) -> str:
    """Name log-shares as people say them: one of so many."""
    few, many = (f"{float(f'{math.exp(-end):.2g}'):,.0f}" for end in (high, low))
    return f"1 of {few}" if few == many else f"1 of {few}–{many}"


def _merge(low: float, high: float) -> str:
    return f"merge {_span(int(-high), int(-low))}"
