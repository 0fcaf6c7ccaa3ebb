"""Pairs with real-valued sides: what a batch holds, the order that a seed decides, and the arrays that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kerass2s.data import BucketByExamples, BucketByTokens
from kerass2s.data.vectors import as_vectors, series_batches, vector_text_batches
from kerass2s.errors import DataError
from kerass2s.text import END_ID, PAD_ID, START_ID, SentencePieceTokenizer

LETTERS = SentencePieceTokenizer.train(["a", "ab"], kind="char")
A, B = LETTERS.encode("a") + LETTERS.encode("b")


def column(*values: float) -> np.ndarray:
    """One feature a step."""
    return np.array(values, np.float32)[:, None]


def last(source: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    return tf.gather(source, lengths - 1, batch_dims=1)


def series(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of different lengths, each of whose arrays holds its number."""
    draw = np.random.default_rng(0)
    return [
        (np.full([s, 1], i, "f"), np.full([t, 1], i, "f")) for i, (s, t) in enumerate(draw.integers(1, 20, [count, 2]))
    ]


def read(pairs: list[Any], batching: Any = None, seed: int | None = None) -> list[Any]:
    return list(
        series_batches(pairs, 1, 1, last, batching or BucketByExamples(4), shuffle_seed=seed).as_numpy_iterator()
    )


def order(found: list[Any]) -> list[int]:
    """The numbers of the pairs, batch by batch."""
    return [int(value) for _, labels, _ in found for value in labels[:, 0, 0]]


def test_a_batch_of_series() -> None:
    ((features, labels, weights),) = read([(column(1, 2), column(3, 4, 5)), (column(7), column(8))])
    assert features["source_values"][:, :, 0].tolist() == [[1, 2], [7, 0]]
    assert features["source_lengths"].tolist() == [2, 1]
    assert features["target_values"][:, :, 0].tolist() == [[2, 3, 4], [7, 0, 0]]
    assert labels[:, :, 0].tolist() == [[3, 4, 5], [8, 0, 0]]
    assert weights.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert {values.dtype for values in (features["source_values"], labels, weights)} == {np.dtype("float32")}
    assert features["source_lengths"].dtype == np.int32


def test_a_batch_of_vectors_and_texts() -> None:
    pairs = [(np.ones([2, 3]), "ab"), (np.ones([1, 3], np.float16), "b")]
    ((features, labels, weights),) = vector_text_batches(pairs, 3, LETTERS, BucketByExamples(2), shuffle_seed=None)
    assert features["source_values"].numpy().tolist() == [[[1] * 3, [1] * 3], [[1] * 3, [0] * 3]]
    assert features["source_lengths"].numpy().tolist() == [2, 1]
    assert features["target_ids"].numpy().tolist() == [[START_ID, A, B], [START_ID, B, PAD_ID]]
    assert labels.numpy().tolist() == [[A, B, END_ID], [B, END_ID, PAD_ID]]
    assert weights.numpy().tolist() == [[1, 1, 1], [1, 1, 0]]


def test_every_pair_comes_once_and_the_seed_decides_the_order() -> None:
    pairs = series(60)
    dataset = [series_batches(pairs, 1, 1, last, BucketByExamples(8), shuffle_seed=3) for _ in range(2)]
    first, second = ([order(list(each.as_numpy_iterator())) for _ in range(2)] for each in dataset)
    assert first == second
    assert first[0] != first[1]
    assert sorted(first[0]) == sorted(first[1]) == list(range(60))
    assert order(read(pairs, BucketByExamples(8), seed=4)) != first[0]


def test_lengths_of_a_batch_are_alike_and_tokens_bound_it() -> None:
    for features, labels, weights in read(series(60), BucketByTokens(40), seed=1):
        lengths = np.maximum(features["source_lengths"], weights.sum(axis=1))
        assert lengths.max() <= max(1.5 * lengths.min(), 4)
        assert len(labels) * lengths.max() <= 40


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.zeros([3]), "shape [steps, 2]. Received: shape [3]"),
        (np.zeros([3, 1]), "shape [steps, 2]. Received: shape [3, 1]"),
        (np.zeros([1, 3, 2]), "Received: shape [1, 3, 2]"),
        (np.zeros([3, 2], int), "array of floats, one row of 2 a step. Received: an array of int64"),
        ("cat", "Received: 'cat'"),
        (None, "Received: None"),
        ([[0.0, 0.0], [np.nan, 0.0]], "row 1 has a value that is no finite float32. Received: nan"),
        ([[0.0, 0.0], [0.0, 0.0], [0.0, -np.inf]], "row 2 has a value that is no finite float32. Received: -inf"),
        ([[1e300, 0.0]], "row 0 has a value that is no finite float32. Received: 1e+300"),
    ],
)
def test_arrays_that_are_refused(values: Any, what: str) -> None:
    with pytest.raises(DataError) as caught:
        as_vectors(values, 2, "pair 7, source")
    assert str(caught.value).startswith("pair 7, source: ")
    assert what in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_pair_and_the_side_are_named() -> None:
    good = (column(1), column(1))
    with pytest.raises(DataError, match=r"pair 1, target: row 0 has .* Received: nan"):
        read([good, (column(1), column(np.nan))])
    with pytest.raises(DataError, match=r"pair 2, source: must have at least one step. Received: shape \[0, 1\]"):
        read([good, good, (np.zeros([0, 1]), column(1))])
    with pytest.raises(DataError, match=r"pair 0, target: must be a text. Received: ndarray"):
        vector_text_batches([good], 1, LETTERS, BucketByExamples(2), shuffle_seed=None)


def test_lists_and_other_floats_are_taken() -> None:
    for values in ([[1.0, 2.0]], np.array([[1, 2]], np.float64), np.array([[1, 2]], np.float16)):
        vectors = as_vectors(values, 2, "source")
        assert vectors.dtype == np.float32 and vectors.tolist() == [[1, 2]]
