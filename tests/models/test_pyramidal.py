"""The pyramid on a hand-made input: which steps are joined, what is padded, and what its layers are."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kerass2s.elements import Vectors
from kerass2s.encoders import PyramidalEncoder
from kerass2s.encoders.pyramidal import JoinPairs

FIVE = np.arange(1, 11, dtype=np.float32).reshape(1, 5, 2)


def test_five_steps_become_three_pairs() -> None:
    pairs, mask = JoinPairs()(FIVE, np.ones([1, 5], bool))
    assert np.asarray(pairs)[0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 0]]
    assert np.asarray(mask)[0].tolist() == [True] * 3


@pytest.mark.parametrize(("length", "real"), [(5, 3), (4, 2), (3, 2), (2, 1), (1, 1), (0, 0)])
def test_padding_is_zero_and_a_pair_is_real_if_its_first_step_is(length: int, real: int) -> None:
    pairs, mask = JoinPairs()(FIVE, np.arange(5)[None] < length)
    expected = FIVE.copy()
    expected[:, length:] = 0
    whole, _ = JoinPairs()(expected, np.ones([1, 5], bool))
    np.testing.assert_array_equal(pairs, whole)
    assert np.asarray(mask)[0].tolist() == [i < real for i in range(3)]


def test_an_even_number_of_steps_has_no_lone_one() -> None:
    pairs, mask = JoinPairs()(FIVE[:, :4], np.ones([1, 4], bool))
    assert np.asarray(pairs)[0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert mask.shape == (1, 2)


def test_it_equals_the_layers_by_hand() -> None:
    """Equation 5 on five steps: 5, then 3, then 2 positions, without a mask since nothing is padded."""
    encoder = PyramidalEncoder(Vectors(2), units=3, layers=2)
    found = encoder({"source_values": FIVE, "source_lengths": np.array([5], np.int32)})
    bottom, middle, top = (encoder.get_layer(f"bidirectional_{i}") for i in range(3))
    below = np.asarray(bottom(FIVE))
    below = np.concatenate([below, np.zeros([1, 1, 6], "f")], axis=1).reshape(1, 3, 12)
    below = np.asarray(middle(below))
    below = np.concatenate([below, np.zeros([1, 1, 6], "f")], axis=1).reshape(1, 2, 12)
    expected = np.asarray(top(below))
    np.testing.assert_allclose(found["memory"], expected, atol=1e-6)
    np.testing.assert_allclose(found["summary"], expected[:, -1], atol=1e-6)
    assert np.asarray(found["memory_mask"]).tolist() == [[True, True]]


@pytest.mark.parametrize("length", range(1, 10))
def test_padding_changes_nothing_on_any_level(length: int) -> None:
    encoder = PyramidalEncoder(Vectors(2), units=3, layers=3)
    values = np.random.default_rng(0).normal(size=[1, length, 2]).astype(np.float32)
    alone = encoder({"source_values": values, "source_lengths": np.array([length], np.int32)})
    noise = np.concatenate([values, np.full([1, 17 - length, 2], 1e6, "f")], axis=1)
    padded = encoder({"source_values": noise, "source_lengths": np.array([length], np.int32)})
    positions = -(-length // 8)
    assert alone["memory"].shape == (1, positions, 6)
    assert padded["memory"].shape == (1, 3, 6)
    np.testing.assert_allclose(padded["memory"][:, :positions], alone["memory"], atol=1e-6)
    np.testing.assert_allclose(padded["summary"], alone["summary"], atol=1e-6)
    assert not np.asarray(padded["memory"])[:, positions:].any()
    assert np.asarray(padded["memory_mask"]).tolist() == [[i < positions for i in range(3)]]


def test_its_recurrent_layers_stand_at_the_top() -> None:
    encoder = PyramidalEncoder(Vectors(2), units=3, layers=2)
    assert sum(isinstance(layer, keras.layers.Bidirectional) for layer in encoder.layers) == 3
