"""Attention against numbers computed by hand, and its mask."""

from __future__ import annotations

import numpy as np
import pytest

from kerass2s.attention import AdditiveAttention, Attention, DotAttention, LocalAttention, MultiplicativeAttention
from kerass2s.errors import ConfigError

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


def test_dot() -> None:
    attention = DotAttention(2)
    context, alignment = attention(QUERY, attention.project(MEMORY), MEMORY, MASK)
    expected = softmax([0.5, -2.0])
    np.testing.assert_allclose(alignment[0, 0], [*expected, 0], atol=1e-6)
    np.testing.assert_allclose(context[0, 0], expected[0] * MEMORY[0, 0] + expected[1] * MEMORY[0, 1], atol=1e-6)
    assert not attention.weights


def test_dot_needs_a_memory_as_wide_as_the_query() -> None:
    with pytest.raises(ConfigError, match="as wide as the query, 3"):
        DotAttention(3).project(MEMORY)


def test_biases_change_no_alignment() -> None:
    plain, biased = AdditiveAttention(2), AdditiveAttention(2, biases=True)
    for attention in (plain, biased):
        attention(QUERY, attention.project(MEMORY), MEMORY, MASK)
    biased.key_projection.bias.assign([0.3, -0.4])
    biased.energy.bias.assign([5.0])
    plain.query_projection.bias.assign([0.3, -0.4])
    for name in ("query_projection", "key_projection", "energy"):
        getattr(biased, name).kernel.assign(getattr(plain, name).kernel)
    made = [kind(QUERY, kind.project(MEMORY), MEMORY, MASK)[1] for kind in (plain, biased)]
    np.testing.assert_allclose(made[0], made[1], atol=1e-6)
    assert len(biased.weights) == len(plain.weights) + 2


# === Local attention ===


def local(window: int, push: float, length: int = 9) -> tuple[np.ndarray, float, np.ndarray]:
    """Alignments of one query over `length` real positions of 12, the window's centre p_t, and the dot scores."""
    generator = np.random.default_rng(5)
    memory = generator.normal(size=(1, 12, 2)).astype(np.float32)
    attention = LocalAttention(DotAttention(2), 2, window)
    mask = np.arange(12)[None] < length
    attention(QUERY, attention.project(memory), memory, mask)
    attention.position_hidden.kernel.assign([[1.0, 0.0], [0.0, 1.0]])
    attention.position.kernel.assign([[push], [0.0]])
    context, alignment = attention(QUERY, attention.project(memory), memory, mask)
    np.testing.assert_allclose(context[0, 0], np.asarray(alignment)[0, 0] @ memory[0], atol=1e-5)
    center = length / (1 + np.exp(-push * np.tanh(0.5)))
    return np.asarray(alignment)[0, 0], center, memory[0] @ QUERY[0, 0]


@pytest.mark.parametrize(("window", "push"), [(2, 0.3), (3, -1.0), (10, 0.0)])
def test_local_attention_is_the_score_times_a_bell_within_a_window(window: int, push: float) -> None:
    alignment, center, scores = local(window, push)
    position = np.arange(12)
    inside = (np.abs(position - center) <= window) & (position < 9)
    sigma = window / 2
    bell = np.where(inside, np.exp(scores) * np.exp(-((position - center) ** 2) / (2 * sigma**2)), 0)
    np.testing.assert_allclose(alignment, bell / bell.sum(), atol=1e-6)
    assert 0 < inside.sum() < 10


@pytest.mark.parametrize("push", [-200.0, 200.0], ids=["before the first", "behind the last"])
@pytest.mark.parametrize("length", [1, 9])
def test_a_window_always_holds_a_real_position(push: float, length: int) -> None:
    alignment, _, _ = local(1, push, length)
    assert alignment.sum() == pytest.approx(1)
    assert not alignment[length:].any()
    assert alignment.max() > 0.2


def test_local_attention_from_its_config() -> None:
    made = LocalAttention(MultiplicativeAttention(2), 3, 4)
    again = LocalAttention.from_config(made.get_config())
    assert again.get_config() == made.get_config()
    assert isinstance(again.attention, MultiplicativeAttention)


@pytest.mark.parametrize(
    "attention",
    [AdditiveAttention(2), MultiplicativeAttention(2), DotAttention(2), LocalAttention(DotAttention(2), 2, 1)],
    ids=lambda attention: type(attention).__name__,
)
def test_nothing_to_attend_to_is_not_nan(attention: Attention) -> None:
    context, alignment = attention(QUERY, attention.project(MEMORY), MEMORY * 0, MASK & False)
    assert not np.asarray(context).any()
    assert np.isfinite(np.asarray(alignment)).all()
