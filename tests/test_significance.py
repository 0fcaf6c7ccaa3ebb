"""Intervals and paired tests: the figures are `evaluate_texts`' own, and chance behaves as it is known to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kerass2s.data import Pair
from kerass2s.errors import ConfigError, DataError
from kerass2s.evaluation import evaluate_texts
from kerass2s.significance import FIGURES, compare_models, confidence_intervals

PHONES = ["AA", "B", "CH", "D", "EH", "F"]


def drawn(count: int, *shares: float) -> tuple[list[Pair], list[list[str]]]:
    """Draw pairs, and outputs in which so great a share of the pairs has one wrong token."""
    generator = np.random.default_rng(0)
    targets = [list(generator.choice(PHONES, size=generator.integers(2, 8))) for _ in range(count)]
    pairs = [Pair("w", " ".join(target)) for target in targets]
    texts = [
        [" ".join(["X", *target[1:]] if generator.random() < share else target) for target in targets]
        for share in shares
    ]
    return pairs, texts


def test_a_figure_is_that_of_the_evaluation_and_lies_in_its_interval():
    pairs, (texts,) = drawn(60, 0.3)
    pairs[0] = pairs[0]._replace(alternatives=("X " + pairs[0].target, "B"))
    figures = evaluate_texts(texts, pairs)
    found = confidence_intervals(texts, pairs, resamples=200)
    assert tuple(found) == FIGURES
    for name, interval in found.items():
        assert interval.value == pytest.approx(figures[name])
        assert interval.low <= interval.value <= interval.high
    assert found == confidence_intervals(texts, pairs, resamples=200)
    assert found != confidence_intervals(texts, pairs, resamples=200, seed=1)


def test_the_interval_of_a_share_is_as_wide_as_the_binomial_says():
    pairs, (texts,) = drawn(1000, 0.3)
    share, low, high = confidence_intervals(texts, pairs, figures=["word_error_rate"])["word_error_rate"]
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(share * (1 - share) / 1000), rel=0.1)


def test_equal_outputs_differ_by_nothing_and_p_is_1():
    pairs, (texts,) = drawn(40, 0.3)
    for difference in compare_models(texts, texts, pairs, resamples=50).values():
        assert difference == (0, 0, 0, 1)


def test_p_is_the_share_of_swaps_that_make_as_much():
    """Three pairs that B has wrong and A right: of the 8 ways to swap, two differ by all three."""
    pairs = [Pair("w", "a b"), Pair("w", "c d"), Pair("w", "e f"), Pair("w", "g h")]
    found = compare_models([pair.target for pair in pairs], ["x b", "x d", "x f", "g h"], pairs, resamples=1500)
    assert found["word_error_rate"].value == 0.75
    assert found["word_error_rate"].p_value == pytest.approx(2 / 8, abs=0.05)


def test_one_wrong_of_200_is_chance_and_a_quarter_is_not():
    pairs, (good, poor) = drawn(200, 0.1, 0.35)
    nearly = [f"{good[0]} X", *good[1:]]
    assert compare_models(good, nearly, pairs, resamples=200)["token_error_rate"].p_value > 0.2
    found = compare_models(good, poor, pairs, resamples=200)
    assert found["word_error_rate"].p_value < 0.01 < found["word_error_rate"].low
    assert found["bleu"].high < 0


def test_what_cannot_be_resampled_is_refused():
    with pytest.raises(DataError, match="Received: 0 pairs"):
        confidence_intervals([], [])
    with pytest.raises(DataError, match="Received: 1 hypotheses, 2 pairs"):
        compare_models(["a", "b"], ["a"], [Pair("x", "a"), Pair("y", "b")])
    with pytest.raises(ConfigError, match="Received: 0"):
        confidence_intervals(["a"], [Pair("x", "a")], resamples=0)
