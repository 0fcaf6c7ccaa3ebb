"""Random numbers by counting, and the fingerprints of sources, against plain whole numbers and against chance."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from chance import chi_square, limit_of
from hypothesis import given, settings
from hypothesis import strategies as st

from kerass2s.decoding.noise import PRIME, _mix, fingerprint, uniform

PI = "3.141592653589793238462643383279502884197"
COUNTERS = st.integers(-(2**31), 2**31 - 1)


def mix(x: int) -> int:
    """Four rounds of (x + constant) ** 5, the constants the digits of pi after its point, nine at a time."""
    for place in range(4):
        x = pow(x + int(PI[2 + 9 * place : 11 + 9 * place]), 5, 2**31 - 1)
    return x


def drawn(*counters: int) -> float:
    """The number of these counters."""
    mixed = 0
    for counter in counters:
        mixed = mix((mixed + counter) % (2**31 - 1))
    return (mixed // 256 + 0.5) / 2**23


@settings(max_examples=50)
@given(st.lists(COUNTERS, min_size=1, max_size=4))
def test_numbers_are_those_of_plain_arithmetic(counters: list[int]):
    assert float(uniform(*map(tf.constant, counters))) == drawn(*counters)


def test_a_number_by_hand():
    first = (((141592653**5 + 589793238) ** 5 + 462643383) ** 5 + 279502884) ** 5 % 2147483647
    assert first == 913663824
    assert float(uniform(tf.constant(0))) == (913663824 // 256 + 0.5) / 2**23
    assert float(uniform(tf.constant(PRIME))) == float(uniform(tf.constant(0)))


def test_counters_broadcast_and_their_order_counts():
    numbers = uniform(tf.constant(3), tf.constant([[1], [2]]), tf.constant([1, 2, 5])).numpy()
    assert numbers.dtype == np.float32
    assert numbers.tolist() == [[drawn(3, a, b) for b in (1, 2, 5)] for a in (1, 2)]
    assert len(set(numbers.ravel().tolist())) == 6


def test_the_ends_are_open():
    # The largest and the smallest that a mixed number can give, whatever the counters are.
    for mixed in (0, PRIME - 1):
        assert 0 < np.float32(np.float32(mixed // 2**8) + np.float32(0.5)) * np.float32(2.0**-23) < 1
    numbers = uniform(tf.range(200_000)).numpy()
    assert 0 < numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1


def test_mixing_loses_nothing():
    assert len(np.unique(_mix(tf.range(100_000, dtype=tf.int64) * 21_001))) == 100_000


@pytest.mark.parametrize("place", range(4), ids=["seed", "source", "sample", "position"])
def test_each_counter_alone_gives_even_and_independent_numbers(place: int):
    count = 64_000
    counters = [tf.constant(each) for each in (7, 123_456_789, 3, 11)]
    counters[place] = tf.range(count)
    numbers = uniform(*counters).numpy()
    bins = (numbers * 16).astype(int)
    assert chi_square(np.bincount(bins, minlength=16), np.full(16, 1 / 16)) < limit_of(15)
    for lag in (1, 2, 16):  # neighbours in a 16 by 16 square
        pairs = bins[:-lag] * 16 + bins[lag:]
        pairs = pairs[:: lag + 1]
        assert chi_square(np.bincount(pairs, minlength=256), np.full(256, 1 / 256)) < limit_of(255)
    assert abs(np.mean(numbers) - 0.5) < 4 / np.sqrt(12 * count)


def test_the_same_place_of_two_seeds_samples_or_positions_is_independent():
    counters = [tf.range(64_000), tf.constant(5), tf.constant(0), tf.constant(0)]
    first = (uniform(*counters).numpy() * 16).astype(int)
    for place in (1, 2, 3):
        others = [each + 1 if each_place == place else each for each_place, each in enumerate(counters)]
        pairs = first * 16 + (uniform(*others).numpy() * 16).astype(int)
        assert chi_square(np.bincount(pairs, minlength=256), np.full(256, 1 / 256)) < limit_of(255)


def fingerprint_of(ids: list[int]) -> int:
    """The fingerprint of ids in plain Python."""
    return mix(sum(token * mix(place + 1) for place, token in enumerate(ids)) % (2**31 - 1))


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 70_000), max_size=6), min_size=1, max_size=4), st.integers(0, 3))
def test_a_fingerprint_does_not_change_with_padding_or_the_batch(sources: list[list[int]], more: int):
    longest = max(map(len, sources)) + more
    padded = np.array([source + [9] * (longest - len(source)) for source in sources], np.int32)
    found = fingerprint(tf.constant(padded, tf.int32, [len(sources), longest]), tf.constant([*map(len, sources)]))
    assert found.dtype == tf.int64
    assert found.numpy().tolist() == [fingerprint_of(source) for source in sources]


def test_order_and_each_element_count():
    sources = [[4, 5, 6], [5, 4, 6], [6, 5, 4], [4, 6, 5], [4, 5, 5], [4, 5, 0], [0, 4, 5], [5, 5, 5]]
    assert len(set(fingerprint(tf.constant(sources), tf.fill([8], 3)).numpy().tolist())) == 8


def test_many_sources_hardly_ever_share_a_fingerprint():
    sources = np.random.default_rng(0).integers(1, 1000, size=(5000, 8))
    assert len(np.unique(fingerprint(tf.constant(sources), tf.fill([5000], 8)))) == 5000


def test_vectors_have_fingerprints():
    values = np.random.default_rng(1).normal(size=(6, 5, 3)).astype(np.float32)
    lengths = tf.constant([5, 4, 3, 2, 1, 5])
    found = fingerprint(tf.constant(values), lengths)
    assert len(set(found.numpy().tolist())) == 6
    padded = np.pad(values, [(0, 0), (0, 2), (0, 0)], constant_values=7.5)
    np.testing.assert_array_equal(fingerprint(tf.constant(padded), lengths), found)
    np.testing.assert_array_equal(fingerprint(tf.constant(values[3:4, :2]), lengths[3:4]), found[3:4])
    for axis in (1, 2):  # elements in another order, and features in another order
        assert not np.any(fingerprint(tf.constant(np.flip(values, axis)), tf.fill([6], 5)) == found)
    # In steps of 1 / 4096: what is less is nothing, what is more is something.
    steps = tf.constant(np.floor(values * 4096) / 4096)
    np.testing.assert_array_equal(fingerprint(steps, lengths), found)
    np.testing.assert_array_equal(fingerprint(steps + 1 / 8192, lengths), found)
    assert not np.any(fingerprint(steps + 1 / 2048, lengths) == found)
