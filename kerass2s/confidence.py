"""Confidence: how likely an output is right, fitted on held-out pairs, and what leaving doubtful ones out gains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kerass2s.errors import ConfigError, DataError

__all__ = ["Calibration", "RiskCoverage", "expected_calibration_error", "reliability", "risk_coverage"]

SURE = 1e-4
"""How far above 0 the rounding of a sum may put a log-probability."""
LOWEST, HIGHEST = 1e-6, 1e6
"""Between which numbers 1 / T is looked for."""


@dataclass(frozen=True)
class Calibration:
    """Confidence in an output y of a source x: exp(log p(y | x) / T), in [0, 1].

    `log p(y | x)` is the sum over the tokens, END included: `sum(hypothesis.token_scores)`, the score itself where the
    search ranks by nothing else. Uncalibrated, T = 1, it says how probable the model thinks this very text; T makes of
    it how often such a text is right. T above 1 raises confidence: the model spreads its belief over texts of which one
    is right all the same (or several are). T below 1 lowers it.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2, has the same idea for a
    classifier: one number, fitted by the likelihood of held-out data, that changes no order. There it divides logits of
    which a softmax is taken, so that T above 1 lowers confidence; here the other texts are too many to be summed over,
    and the output's own log-probability is divided.

    Args:
        temperature: T.

    Raises:
        ConfigError: T is not a number above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check T."""
        number = isinstance(self.temperature, float | int) and not isinstance(self.temperature, bool)
        if not number or not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature must be a number above 0. Received: {self.temperature!r}")

    @classmethod
    def fit(cls, scores: Sequence[float], correct: Sequence[bool]) -> Calibration:
        """Find the T that makes what was right and what was wrong likeliest.

        With confidence c_i = exp(s_i / T), this maximises sum over the right of log c_i + sum over the wrong of
        log(1 - c_i). In 1 / T that is concave, so there is one best T, and its derivative is halved down to it.

        Args:
            scores: [N] log-probabilities of outputs for pairs that the model was not trained on.
            correct: [N] which of them are right.

        Raises:
            DataError: nothing is right, or nothing is wrong: then no T is best, as more data would show.
        """
        costs, right = -_log_probabilities(scores), _flags(scores, correct)
        if not right.any() or right.all():
            raise DataError(
                "A temperature is fitted to right and to wrong outputs: give more pairs. "
                f"Received: {int(right.sum())} right of {len(right)}"
            )
        low, high = LOWEST, HIGHEST
        for _ in range(100):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if _slope(costs, right, middle) > 0 else (low, middle)
        return cls(1 / low)

    def confidence(self, scores: Sequence[float]) -> np.ndarray:
        """Return the confidence [N] in outputs with these scores [N]: the higher the score, the higher it is.

        Raises:
            DataError: a score is no log-probability.
        """
        return np.exp(_log_probabilities(scores) / self.temperature)


def _slope(costs: np.ndarray, right: np.ndarray, inverse: float) -> float:
    """Return the derivative of the log-likelihood by 1 / T, for costs -s [N]."""
    # x / expm1(x u) is 1 / u at x = 0, which the smallest cost gives.
    wrong = np.maximum(costs[~right], 1e-12)
    exponents = np.minimum(wrong * inverse, 700.0)  # beyond it exp overflows, and the term is 0 anyway
    return float(np.sum(wrong / np.expm1(exponents)) - np.sum(costs[right]))


def _log_probabilities(scores: Sequence[float]) -> np.ndarray:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or np.isnan(values).any() or (values > SURE).any():
        raise DataError(f"Scores must be log-probabilities, at most 0. Received: {values.tolist()[:5]}")
    return np.minimum(values, 0.0)


def _flags(values: Sequence[float], correct: Sequence[bool]) -> np.ndarray:
    flags = np.asarray(correct, bool)
    if not len(flags) or len(flags) != len(values):
        raise DataError(f"Each output is right or wrong. Received: {len(values)} outputs, {len(flags)} answers")
    return flags


# === How good a confidence is ===


def reliability(
    confidences: Sequence[float], correct: Sequence[bool], bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean confidence, the share that is right and the number of outputs of each bin, `[bins]` each.

    The bins have equal width, and their upper edge belongs to them; the first two are nan where a bin is empty.

    Raises:
        DataError: there is nothing, or the counts differ.
        ConfigError: there is no bin.
    """
    right, values = _flags(confidences, correct), np.asarray(confidences, np.float64)
    if bins < 1:
        raise ConfigError(f"bins must be at least 1. Received: {bins!r}")
    places = np.clip(np.ceil(values * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(places, weights, bins) / counts for weights in (values, right)]
    return means[0], means[1], counts


def expected_calibration_error(confidences: Sequence[float], correct: Sequence[bool], bins: int = 15) -> float:
    """Return how far confidence is from the share that is right, on the mean of the outputs; 0 is best.

    ECE = sum_b n_b / N |share right in bin b - mean confidence in bin b| (Guo et al. 2017, equation 3).

    Raises:
        DataError: there is nothing, or the counts differ.
    """
    confidence, share, counts = reliability(confidences, correct, bins)
    some = counts > 0
    return float(np.sum(counts[some] * np.abs(share[some] - confidence[some])) / counts.sum())


class RiskCoverage(NamedTuple):
    """What remains wrong when outputs below a confidence go to a person; one entry for each confidence there is.

    Attributes:
        thresholds: [D] falling; outputs at least so confident are kept.
        coverage: [D] the share of outputs that is kept.
        risk: [D] the share of the kept that is wrong.
    """

    thresholds: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray

    @property
    def area(self) -> float:
        """The mean risk over all coverages: 0 is best, and the share of wrong outputs is what chance gives."""
        return float(np.sum(np.diff(self.coverage, prepend=0.0) * self.risk))

    def threshold(self, risk: float) -> float:
        """Return the confidence that keeps the most outputs of which at most the share `risk` is wrong.

        It holds for the outputs that were measured. Geifman and El-Yaniv 2017, section 3, bound it for new ones.

        Raises:
            DataError: even the most confident outputs are wrong more often.
        """
        kept = np.flatnonzero(self.risk <= risk)
        if not len(kept):
            raise DataError(f"No confidence has so little risk; the least is {self.risk.min():.4f}. Received: {risk!r}")
        return float(self.thresholds[kept[-1]])


def risk_coverage(confidences: Sequence[float], correct: Sequence[bool]) -> RiskCoverage:
    """Measure the share of wrong outputs among the most confident, for each number of them.

    Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks", arXiv:1705.08500, equations 1 and 2.
    Equally confident outputs are kept or left out together. Scores do as well: only the order counts.

    Example: confidences .9, .8, .6, .5, of which the second is wrong, have coverage 1/4, 2/4, 3/4, 1 and risk 0, 1/2,
    1/3, 1/4; the area is their mean, 13/48.

    Raises:
        DataError: there is nothing, or the counts differ.
    """
    right, values = _flags(confidences, correct), np.asarray(confidences, np.float64)
    order = np.argsort(-values, kind="stable")
    values, wrong = values[order], np.cumsum(~right[order])
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    return RiskCoverage(values[last], (last + 1) / len(values), wrong[last] / (last + 1))
