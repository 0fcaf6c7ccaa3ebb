"""Attention against numbers computed by hand, and its mask."""

from __future__ import annotations

import numpy as np
import pytest

from kerass2s.attention import AdditiveAttention, MultiplicativeAttention

MEMORY = np.array([[[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]]], np.float32)
MASK = np.array([[True, True, False]])
QUERY = np.array([[[0.5, -1.0]]], np.float32)


def softmax(scores: list[float]) -> np.ndarray:
    """The distribution of the scores."""
    powers = np.exp(scores)
    return powers / powers.sum()


def test_multiplicative() -> None:
    attention = MultiplicativeAttention(2)
    attention.project(MEMORY)
    attention.key_projection.kernel.assign([[1.0, 2.0], [3.0, 4.0]])
    keys = attention.project(MEMORY)
    context, alignment = attention(QUERY, keys, MEMORY, MASK)
    # keys: [1, 2] and [6, 8]; scores: 0.5 - 2 and 3 - 8.
    expected = softmax([-1.5, -5.0])
    np.testing.assert_allclose(alignment[0, 0], [*expected, 0], atol=1e-6)
    np.testing.assert_allclose(context[0, 0], expected[0] * MEMORY[0, 0] + expected[1] * MEMORY[0, 1], atol=1e-6)


def test_additive() -> None:
    attention = AdditiveAttention(2)
    attention(QUERY, attention.project(MEMORY), MEMORY, MASK)
    attention.query_projection.kernel.assign([[1.0, 0.0], [0.0, 1.0]])
    attention.query_projection.bias.assign([0.1, 0.2])
    attention.key_projection.kernel.assign([[1.0, 0.0], [0.0, 1.0]])
    attention.energy.kernel.assign([[2.0], [-1.0]])
    _, alignment = attention(QUERY, attention.project(MEMORY), MEMORY, MASK)
    hidden = np.tanh(QUERY[0] + [0.1, 0.2] + MEMORY[0, :2])
    np.testing.assert_allclose(alignment[0, 0], [*softmax(list(hidden @ [2.0, -1.0])), 0], atol=1e-6)


@pytest.mark.parametrize("kind", [AdditiveAttention, MultiplicativeAttention])
def test_nothing_to_attend_to_is_not_nan(kind: type) -> None:
    attention = kind(2)
    context, alignment = attention(QUERY, attention.project(MEMORY), MEMORY * 0, MASK & False)
    assert not np.asarray(context).any()
    assert np.isfinite(np.asarray(alignment)).all()
