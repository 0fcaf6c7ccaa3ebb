"""Significance: how far figures of a test set are to be trusted, alone and when two models are compared on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kerass2s.data import Pair
from kerass2s.errors import ConfigError
from kerass2s.evaluation import check_counts, closest, reference_streams

__all__ = ["FIGURES", "LEVEL", "Difference", "Interval", "compare_models", "confidence_intervals"]

FIGURES = ("sequence_accuracy", "word_error_rate", "token_error_rate", "bleu", "chrf")
LEVEL = 0.95
RESAMPLES = 1000
SEED = 2004
ROUNDING = 1e-9
"""What differs by less is as great."""


class Interval(NamedTuple):
    """A figure, and between which two it lies in 95 of 100 test sets like this one."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much greater a figure of the second model is, its interval, and how often chance alone makes as much.

    Attributes:
        value: the second model's figure less the first's.
        low: of the 95 % interval by paired bootstrap.
        high: likewise.
        p_value: by approximate randomisation, in (0, 1]; below 0.05 the difference is usually called significant.
    """

    value: float
    low: float
    high: float
    p_value: float


def confidence_intervals(
    hypotheses: Sequence[str],
    pairs: Sequence[Pair],
    resamples: int = RESAMPLES,
    seed: int = SEED,
    figures: Sequence[str] = FIGURES,
) -> dict[str, Interval]:
    """Return each figure of `evaluate_texts` with its interval, by the percentile bootstrap.

    A test set is a draw of all the pairs there are, and another draw would give another figure. So N pairs are drawn
    from the N at hand, with replacement, `resamples` times, and each figure is computed anew (Koehn 2004, "Statistical
    Significance Tests for Machine Translation Evaluation", section 3); the interval leaves out 2.5 % at both ends. It
    says nothing of another seed of the training, which often matters more.

    Args:
        hypotheses: the produced texts, in the order of `pairs`.
        pairs: what was asked.
        resamples: how many test sets are drawn.
        seed: the same seed gives the same intervals.
        figures: which of `FIGURES`.

    Raises:
        DataError: there is nothing to compare, or the counts differ.
        ConfigError: `resamples` is below 1.
    """
    found = {}
    for name, figure in _figures(hypotheses, pairs, figures).items():
        low, high = _ends(figure.score(_drawn(figure.parts, resamples, seed)))
        found[name] = Interval(figure.value, low, high)
    return found


def compare_models(
    first: Sequence[str], second: Sequence[str], pairs: Sequence[Pair], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Difference]:
    """Compare two models' outputs for the same pairs, figure by figure.

    The interval draws pairs anew and computes both figures of each draw (paired bootstrap, Koehn 2004, section 4): the
    two models err on the same hard pairs, and their difference is surer than either figure. The p value swaps the two
    outputs of each pair with probability 1/2 and counts how often the difference is as great as the one seen
    (approximate randomisation, Noreen 1989; Riezler and Maxwell 2005, "On Some Pitfalls in Automatic Evaluation and
    Significance Testing for MT", section 3): p = (count + 1) / (resamples + 1).

    Raises:
        DataError: there is nothing to compare, or the counts differ.
        ConfigError: `resamples` is below 1.
    """
    ours, theirs = _figures(first, pairs, FIGURES), _figures(second, pairs, FIGURES)
    return {name: _difference(ours[name], theirs[name], resamples, seed) for name in ours}


def _difference(a: _Figure, b: _Figure, resamples: int, seed: int) -> Difference:
    value = b.value - a.value
    low, high = _ends(b.score(_drawn(b.parts, resamples, seed)) - a.score(_drawn(a.parts, resamples, seed)))
    moved = _swapped(b.parts - a.parts, resamples, seed)
    chance = b.score(b.total - moved) - a.score(a.total + moved)
    count = np.count_nonzero(np.abs(chance) >= abs(value) - ROUNDING)
    return Difference(value, low, high, float((count + 1) / (resamples + 1)))


# === Figures as sums over pairs ===


@dataclass(frozen=True)
class _Figure:
    """A figure of a whole test set that is a function of sums over its pairs.

    Attributes:
        parts: float64 [N, P], what each pair brings.
        score: from sums [R, P] of R test sets to figures [R].
    """

    parts: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]

    @property
    def total(self) -> np.ndarray:
        """The sums [1, P] of the test set itself."""
        return self.parts.sum(axis=0, keepdims=True)

    @property
    def value(self) -> float:
        """The figure of the test set itself."""
        return float(self.score(self.total)[0])


def _figures(hypotheses: Sequence[str], pairs: Sequence[Pair], names: Sequence[str]) -> dict[str, _Figure]:
    """Take some figures of `evaluate_texts` apart, by name."""
    from sacrebleu.metrics import BLEU, CHRF

    check_counts(hypotheses, pairs)
    edits = np.array([closest(text, pair.targets) for text, pair in zip(hypotheses, pairs, strict=True)], np.float64)
    right = np.stack([edits[:, 0] == 0, np.ones(len(pairs))], axis=1)
    makers = {
        "sequence_accuracy": lambda: _Figure(right, lambda sums: sums[:, 0] / sums[:, 1]),
        "word_error_rate": lambda: _Figure(right, lambda sums: 1.0 - sums[:, 0] / sums[:, 1]),
        "token_error_rate": lambda: _Figure(edits, lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1)),
        "bleu": lambda: _of_sacrebleu(BLEU(), hypotheses, pairs),
        "chrf": lambda: _of_sacrebleu(CHRF(), hypotheses, pairs),
    }
    return {name: makers[name]() for name in names}


def _of_sacrebleu(metric: Any, hypotheses: Sequence[str], pairs: Sequence[Pair]) -> _Figure:
    """Take BLEU or chrF apart the way sacrebleu's own resampling does."""
    parts = metric._extract_corpus_statistics(list(hypotheses), reference_streams(pairs))
    return _Figure(
        np.array(parts, np.float64),
        lambda sums: np.array(
            [metric._compute_score_from_stats(row).score for row in sums.round().astype(int).tolist()]
        ),
    )


# === Draws ===


def _drawn(parts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Sum parts [N, P] over each of R test sets of N pairs, drawn with replacement: [R, P]; a seed, the same draws."""
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1. Received: {resamples!r}")
    generator, count = np.random.default_rng(seed), len(parts)
    drawn = (np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(resamples))
    return np.stack([counts @ parts for counts in drawn])


def _swapped(parts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Sum parts [N, P] over each of R sets that a pair is in with probability 1/2: [R, P]."""
    generator = np.random.default_rng(seed)
    return np.stack([generator.integers(2, size=len(parts)) @ parts for _ in range(resamples)])


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
