"""Loss and metrics against numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kerass2s.errors import ConfigError
from kerass2s.training import Perplexity, SequenceAccuracy, TokenAccuracy, TokenCrossentropy

# Two rows over 4 classes; the second row has one real token.
LABELS = np.array([[1, 2], [3, 0]], np.int32)
PROBABILITIES = np.array(
    [[[0.1, 0.7, 0.1, 0.1], [0.4, 0.2, 0.2, 0.2]], [[0.1, 0.1, 0.3, 0.5], [0.97, 0.01, 0.01, 0.01]]]
)
LOGITS = np.log(PROBABILITIES).astype(np.float32) + 3.0
WEIGHTS = np.array([[1, 1], [1, 0]], np.float32)
TOKENS = [-math.log(0.7), -math.log(0.2), -math.log(0.5)]


def test_loss_is_the_true_mean_per_token() -> None:
    loss = TokenCrossentropy()(LABELS, LOGITS, sample_weight=WEIGHTS)
    assert float(loss) == pytest.approx(sum(TOKENS) / 3, abs=1e-6)


def test_label_smoothing() -> None:
    uniform = [-np.log(PROBABILITIES[row, position]).mean() for row, position in ((0, 0), (0, 1), (1, 0))]
    expected = sum(0.9 * token + 0.1 * flat for token, flat in zip(TOKENS, uniform, strict=True)) / 3
    loss = TokenCrossentropy(label_smoothing=0.1)(LABELS, LOGITS, sample_weight=WEIGHTS)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_label_smoothing_leaves_out_what_is_ruled_out() -> None:
    wide = np.concatenate([LOGITS, np.full([2, 2, 3], -1e9, np.float32)], -1)
    smoothed = TokenCrossentropy(label_smoothing=0.1)
    assert float(smoothed(LABELS, wide, sample_weight=WEIGHTS)) == pytest.approx(
        float(smoothed(LABELS, LOGITS, sample_weight=WEIGHTS)), abs=1e-6
    )


@pytest.mark.parametrize("value", [-0.1, 1.0, 2.0])
def test_label_smoothing_out_of_range(value: float) -> None:
    with pytest.raises(ConfigError, match="Received"):
        TokenCrossentropy(label_smoothing=value)


def test_metrics() -> None:
    token, sequence, perplexity = TokenAccuracy(), SequenceAccuracy(), Perplexity()
    for metric in (token, sequence, perplexity):
        metric.update_state(LABELS[:1], LOGITS[:1], WEIGHTS[:1])
        metric.update_state(LABELS[1:], LOGITS[1:], WEIGHTS[1:])
    assert float(token.result()) == pytest.approx(2 / 3)
    assert float(sequence.result()) == pytest.approx(1 / 2)
    assert float(perplexity.result()) == pytest.approx(math.exp(sum(TOKENS) / 3), rel=1e-6)
