"""Sequences of real-valued vectors: arrays that are checked, bucketed by length and padded, as text pairs are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerass2s.data.curriculum import Pace
from kerass2s.data.pipeline import Batch, Batching, Features, bucketed, shift, with_end
from kerass2s.data.readers import Pair
from kerass2s.errors import DataError
from kerass2s.text import PAD_ID, SentencePieceTokenizer

__all__ = ["as_vectors", "series_batches", "vector_text_batches"]

First = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""What the decoder is fed first, `source [B, S, N], lengths int32 [B] -> [B, D]`."""


def as_vectors(values: Any, size: int, what: str) -> np.ndarray:
    """Return `values` as float32 [S, size], S steps of vectors.

    Args:
        values: an array of that shape, of any kind of float.
        size: how wide a vector must be.
        what: the name of these values in a message, such as "pair 3, source".

    Raises:
        DataError: it is no such array, or a value in it is not a finite float32.
    """
    array = np.asarray(values) if isinstance(values, np.ndarray | Sequence) and not isinstance(values, str) else None
    if array is None or not np.issubdtype(array.dtype, np.floating):
        kind = repr(values)[:80] if array is None else f"an array of {array.dtype}"
        raise DataError(f"{what}: must be an array of floats, one row of {size} a step. Received: {kind}")
    if array.ndim != 2 or array.shape[1] != size:
        raise DataError(f"{what}: must have the shape [steps, {size}]. Received: shape {list(array.shape)}")
    with np.errstate(over="ignore"):  # what overflows is refused below
        vectors = array.astype(np.float32)
    strange = np.argwhere(~np.isfinite(vectors))
    if len(strange):
        row, column = strange[0]
        raise DataError(f"{what}: row {row} has a value that is no finite float32. Received: {array[row, column]}")
    return vectors


def vector_text_batches(
    pairs: Sequence[Pair | tuple[Any, str]],
    source_size: int,
    target_tokenizer: SentencePieceTokenizer,
    batching: Batching,
    *,
    shuffle_seed: int | None,
    pace: Pace | None = None,
) -> tf.data.Dataset:
    """Batches of (array [S, N], text): `(features, labels, sample_weight)`, padded to the longest of the batch.

    features["source_values"] float32 [B, S, N] is zero beyond features["source_lengths"] int32 [B]; the target is as
    in `kerass2s.data.batches`: features["target_ids"] int32 [B, T] is START and the target, labels int32 [B, T] are
    the target and END, sample_weight float32 [B, T] is 1 where there is a label.

    Args:
        pairs: the arrays, of at least one step, and what they say.
        source_size: N.
        target_tokenizer: for the targets; with sampling, each epoch sees other segmentations.
        batching: `BucketByExamples` or `BucketByTokens`, by the longer side.
        shuffle_seed: each epoch has another order, and every run with this seed the same ones. None keeps the order
            of the pairs within each bucket.
        pace: as in `bucketed`.

    Raises:
        DataError: an array is not what `as_vectors` takes, or has no step; or a target is no text.
    """
    sources = _ragged([_vectors(pair, index, 0, source_size) for index, pair in enumerate(pairs)])
    texts = tf.constant([_text(pair, index) for index, pair in enumerate(pairs)], tf.string)
    chunks = tf.data.Dataset.from_tensors((sources, texts))
    chunks = chunks.map(lambda values, targets: (values, with_end(target_tokenizer.tokenize(targets))))

    def join(values: tf.RaggedTensor, labels: tf.RaggedTensor) -> Batch:
        return shift(_source(values), labels.to_tensor(PAD_ID))

    return bucketed(chunks, batching, join, shuffle_seed=shuffle_seed, pace=pace)


def series_batches(
    pairs: Sequence[tuple[Any, Any]],
    source_size: int,
    target_size: int,
    first: First,
    batching: Batching,
    *,
    shuffle_seed: int | None,
    pace: Pace | None = None,
) -> tf.data.Dataset:
    """Batches of (array [S, N], array [T, D]): `(features, labels, sample_weight)`, padded as `vector_text_batches`.

    labels float32 [B, T, D] are the target, features["target_values"] the same one step later after the first input,
    sample_weight float32 [B, T] is 1 where there is a step. With `first` the last observed value, the source [1, 2]
    and the target [3, 4, 5] give:

        source_values  [1 2]   target_values  [2 3 4]   labels  [3 4 5]   sample_weight  [1 1 1]

    Args:
        pairs: the arrays, of at least one step each.
        source_size: N.
        target_size: D.
        first: graph code for what the decoder is fed first.
        batching: as in `vector_text_batches`.
        shuffle_seed: as in `vector_text_batches`.
        pace: as in `bucketed`.

    Raises:
        DataError: an array is not what `as_vectors` takes, or has no step.
    """
    sides = [
        [_vectors(pair, index, side, size) for index, pair in enumerate(pairs)]
        for side, size in enumerate((source_size, target_size))
    ]

    def join(values: tf.RaggedTensor, targets: tf.RaggedTensor) -> Batch:
        source, labels = _source(values), targets.to_tensor()
        weights = tf.sequence_mask(targets.row_lengths(), dtype=tf.float32)
        begin = first(source["source_values"], source["source_lengths"])
        fed = tf.concat([begin[:, None], labels[:, :-1]], axis=1) * weights[:, :, None]
        return {**source, "target_values": fed}, labels, weights

    chunks = tf.data.Dataset.from_tensors(tuple(map(_ragged, sides)))
    return bucketed(chunks, batching, join, shuffle_seed=shuffle_seed, pace=pace)


# === Pairs ===


def _vectors(pair: Any, index: int, side: int, size: int) -> np.ndarray:
    """One side of a pair as vectors, at least one."""
    what = f"pair {index}, {('source', 'target')[side]}"
    vectors = as_vectors(pair[side], size, what)
    if not len(vectors):
        raise DataError(f"{what}: must have at least one step. Received: shape {list(vectors.shape)}")
    return vectors


def _text(pair: Any, index: int) -> str:
    if not isinstance(pair[1], str):
        raise DataError(f"pair {index}, target: must be a text. Received: {type(pair[1]).__name__}")
    return pair[1]


# === Tensors ===


def _ragged(arrays: list[np.ndarray]) -> tf.RaggedTensor:
    """Arrays [S, N] as one ragged tensor [B, None, N]."""
    lengths = np.array([len(array) for array in arrays], np.int64)
    return tf.RaggedTensor.from_row_lengths(np.concatenate(arrays), lengths)


def _source(values: tf.RaggedTensor) -> Features:
    return {"source_values": values.to_tensor(), "source_lengths": tf.cast(values.row_lengths(), tf.int32)}
