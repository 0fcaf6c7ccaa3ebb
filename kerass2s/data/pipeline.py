"""The tf.data pipeline: string pairs in, batches out that are tokenised, bucketed by length, padded and shifted.

Everything is done to many pairs at once: a pair alone is an element of the dataset only while it is a string. Pairs
are tokenised in chunks; a pool of chunks is permuted, sorted by bucket and cut into batches; a batch is one gather.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from kerass2s.data.curriculum import Pace
from kerass2s.data.readers import Pair
from kerass2s.errors import ConfigError, DataError
from kerass2s.text import END_ID, PAD_ID, START_ID, SentencePieceTokenizer

_LOGGER = logging.getLogger(__name__)
_CHUNK = 1024

Features = dict[str, tf.Tensor]
Batch = tuple[Features, tf.Tensor, tf.Tensor]
"""What `fit` takes: features, labels, sample_weight."""
Tokenize = Callable[[tf.Tensor, tf.Tensor], tuple[tf.RaggedTensor, tf.RaggedTensor]]
"""Sources [B] and targets [B], strings, to ragged ids [B, None] of each, every row with its END."""
Join = Callable[[tf.RaggedTensor, tf.RaggedTensor], Batch]


# === Batch sizes ===


class Batching(Protocol):
    """How long the pairs of a bucket are, and how many of them make a batch.

    The length of a pair is that of its longer side, its END counted.
    """

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The greatest lengths of all buckets but the last, which takes what is longer."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The size of each bucket's batches, one more than there are boundaries."""


@dataclasses.dataclass(frozen=True)
class BucketByExamples:
    """Batches of `examples` pairs of like length.

    Raises:
        ConfigError: if `examples` is below 1.
    """

    examples: int = 64

    def __post_init__(self) -> None:
        _check_positive("examples", self.examples)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Greatest lengths: 4, 6, 8, 12, 16, 24, ... 512."""
        return _boundaries(512)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The same number of examples in every bucket."""
        return (self.examples,) * (len(self.boundaries) + 1)


@dataclasses.dataclass(frozen=True)
class BucketByTokens:
    """Batches whose padded sides hold at most `tokens` ids each; a pair longer than that comes alone.

    Raises:
        ConfigError: if `tokens` is below 1.
    """

    tokens: int = 4096

    def __post_init__(self) -> None:
        _check_positive("tokens", self.tokens)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Greatest lengths: 4, 6, 8, 12, 16, 24, ... up to `tokens`."""
        return _boundaries(self.tokens)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """`tokens` divided by each boundary, and 1 for what is longer than all."""
        return (*(self.tokens // boundary for boundary in self.boundaries), 1)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"A batch needs {name} of at least 1. Received: {name}={value!r}")


def _boundaries(longest: int) -> tuple[int, ...]:
    """Two steps to a doubling, so that a bucket's shortest pair is at least two thirds of its longest.

    >>> _boundaries(30)
    (4, 6, 8, 12, 16, 24, 30)
    """
    steps = itertools.chain.from_iterable((4 << power, 6 << power) for power in itertools.count())
    return (*itertools.takewhile(lambda step: step < longest, steps), longest)


# === Datasets ===


def to_dataset(pairs: Sequence[Pair | tuple[str, str]]) -> tf.data.Dataset:
    """A dataset of (source, target) string scalars; other accepted targets are left out.

    Raises:
        DataError: if a text holds a lone surrogate, which no UTF-8 can carry.
    """
    try:
        columns = [[pair[side].encode("utf-8") for pair in pairs] for side in (0, 1)]
    except UnicodeEncodeError as error:
        raise DataError(f"A text must be valid Unicode, without lone surrogates. Received: {error.object!r}") from error
    return tf.data.Dataset.from_tensor_slices(tuple(tf.constant(column, tf.string) for column in columns))


def batches(
    dataset_of_string_pairs: tf.data.Dataset,
    source_tokenizer: SentencePieceTokenizer,
    target_tokenizer: SentencePieceTokenizer,
    batching: Batching,
    *,
    shuffle_seed: int | None,
    shuffle_buffer: int = 100_000,
    cache: bool = True,
    max_length: int | None = None,
    tokenize: Tokenize | None = None,
    pace: Pace | None = None,
) -> tf.data.Dataset:
    """Batches for `fit` and `evaluate`: `(features, labels, sample_weight)`, padded to the longest of the batch.

    features["source_ids"] int32 [B, S] is the source and END, features["target_ids"] int32 [B, T] is START and the
    target, labels int32 [B, T] are the target and END, sample_weight float32 [B, T] is 1 where there is a label.
    With ids a=4, b=5 the pairs ("ab", "b") and ("a", "ba") give:

        source_ids  [[4 5 3]   target_ids  [[2 5 0]   labels  [[5 3 0]   sample_weight  [[1 1 0]
                     [4 3 0]]               [2 5 4]]           [5 4 3]]                  [1 1 1]]

    Args:
        dataset_of_string_pairs: (source, target) string scalars, as `to_dataset` makes them.
        source_tokenizer: for the sources; with sampling, each epoch sees other segmentations.
        target_tokenizer: for the targets, likewise.
        batching: `BucketByExamples` or `BucketByTokens`.
        shuffle_seed: each epoch has another order of pairs and of batches, which this seed and the epoch's number
            decide (and `tf.random.set_seed`, if there is one). None gives one bucket after the other, each in the order
            of the pairs.
        shuffle_buffer: how many pairs are shuffled and bucketed together, rounded up to whole chunks of 1024.
        cache: keep the ids (with sampling: the strings) in memory after the first epoch.
        max_length: drop pairs with a side of more ids than this, END counted, and log how many; the dataset must then
            be finite, for it is counted first. None drops none.
        tokenize: makes the ids of a chunk of pairs, where those of one side depend on the other. None: each tokenizer
            makes those of its side.
        pace: where training stands; None for the first epoch in the first iteration. See `bucketed`.

    Raises:
        ConfigError: if `shuffle_buffer` or `max_length` is below 1.
    """
    _check_positive("shuffle_buffer", shuffle_buffer)
    sampled = source_tokenizer.sampling is not None or target_tokenizer.sampling is not None
    chunks = dataset_of_string_pairs.batch(_CHUNK)
    chunks = chunks.cache() if cache and sampled else chunks
    tokenize = tokenize or _Tokenize(source_tokenizer, target_tokenizer)
    chunks = chunks.map(tokenize, tf.data.AUTOTUNE, deterministic=True)
    chunks = chunks.cache() if cache and not sampled else chunks
    chunks = chunks if max_length is None else _drop_longer(chunks, max_length)
    size = -(-shuffle_buffer // _CHUNK)
    return bucketed(chunks, batching, _join_ids, shuffle_seed=shuffle_seed, pool=size, pace=pace)


def bucketed(
    chunks: tf.data.Dataset,
    batching: Batching,
    join: Join,
    *,
    shuffle_seed: int | None,
    pool: int = 1,
    pace: Pace | None = None,
) -> tf.data.Dataset:
    """Batches of pairs of like length, from chunks of pairs as they come out of memory.

    Args:
        chunks: ragged sources [N, None, ...] and labels [N, None, ...].
        batching: `BucketByExamples` or `BucketByTokens`.
        join: makes a batch of the sources and the labels that were chosen for it.
        shuffle_seed: as in `batches`.
        pool: how many chunks are shuffled and bucketed together.
        pace: where training stands, which each iteration asks anew: it has the order of that epoch. With a curriculum
            it says which pairs are drawn from at which step; the shortest are sought in each pool, and the batches are
            then as many as one pass over all pairs makes.
    """
    pools = _Pools(chunks, pool, shuffle_seed)
    cut = _Cut(batching, join, shuffle=shuffle_seed is not None)
    epoch = _asked(pace.epoch if pace and pace.epoch else itertools.count().__next__)
    whole = epoch.flat_map(lambda number: pools(number, 0).flat_map(cut)).prefetch(tf.data.AUTOTUNE)
    if pace is None or pace.curriculum is None:
        return whole
    size = count(whole)
    paced = _paced(pools, epoch, cut, pace).flat_map(cut).take(size)
    return paced.apply(tf.data.experimental.assert_cardinality(size)).prefetch(tf.data.AUTOTUNE)


def _asked(number: Callable[[], int]) -> tf.data.Dataset:
    """One element, int64 [], which is asked for when an iteration begins.

    And in Python: the count of updates may lie on a device that tf.data cannot reach.
    """
    return tf.data.Dataset.from_tensors(0).map(
        lambda _: tf.ensure_shape(tf.numpy_function(lambda: np.int64(number()), [], tf.int64), [])
    )


def count(batched: tf.data.Dataset) -> int:
    """How many batches there are, counted one by one."""
    return int(batched.reduce(np.int64(0), lambda number, *_: number + 1))


# === Chunks ===


@dataclasses.dataclass(frozen=True)
class _Tokenize:
    """Strings [B], [B] to ragged ids [B, None], [B, None], each row with its END."""

    source_tokenizer: SentencePieceTokenizer
    target_tokenizer: SentencePieceTokenizer

    def __call__(self, sources: tf.Tensor, targets: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        return with_end(self.source_tokenizer.tokenize(sources)), with_end(self.target_tokenizer.tokenize(targets))


def with_end(ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """Ends each row with END, ids int32 [B, None] -> [B, None]."""
    return tf.concat([ids, tf.fill([ids.nrows(), 1], END_ID)], axis=1)


def _lengths(sources: tf.RaggedTensor, labels: tf.RaggedTensor) -> tf.Tensor:
    """The length of each pair, int64 [B]: that of its longer side."""
    return tf.maximum(sources.row_lengths(), labels.row_lengths())


def _drop_longer(chunks: tf.data.Dataset, max_length: int) -> tf.data.Dataset:
    """Leaves out the pairs with a side over `max_length`, and logs how many those are."""
    _check_positive("max_length", max_length)

    def add(dropped: tf.Tensor, chunk: tuple[tf.RaggedTensor, tf.RaggedTensor]) -> tf.Tensor:
        return dropped + tf.math.count_nonzero(_lengths(*chunk) > max_length)

    def keep(sources: tf.RaggedTensor, labels: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        fits = _lengths(sources, labels) <= max_length
        return tf.ragged.boolean_mask(sources, fits), tf.ragged.boolean_mask(labels, fits)

    dropped = int(chunks.reduce(tf.constant(0, tf.int64), add))
    if dropped:
        _LOGGER.warning("Dropped %d pairs with a side longer than %d ids.", dropped, max_length)
    return chunks.map(keep, tf.data.AUTOTUNE, deterministic=True)


# === Pools and batches ===


@dataclasses.dataclass(frozen=True)
class _Pools:
    """Chunks joined by `size`, at random if there is a seed, to (sources [N, None], labels [N, None], seed [])."""

    chunks: tf.data.Dataset
    size: int
    seed: int | None

    def __call__(self, epoch: tf.Tensor, turn: tf.Tensor | int) -> tf.data.Dataset:
        """One pass, whose order the seed and two numbers decide: the epoch, and which pass of it this is."""
        chunks, seeds = self.chunks, tf.data.Dataset.from_tensors(tf.constant(0, tf.int64)).repeat()
        if self.seed is not None:
            key = tf.random.fold_in(tf.random.fold_in([self.seed, 0], epoch), turn)
            chunks = _shuffled(chunks, self.size, tf.random.stateless_uniform([2], key, None, None, tf.int64))
            seeds = tf.data.Dataset.counter().map(lambda number: _drawn(tf.random.fold_in(key, number)))
        pools = chunks.batch(self.size).map(lambda sources, labels: (sources.merge_dims(0, 1), labels.merge_dims(0, 1)))
        return tf.data.Dataset.zip(pools, seeds).map(lambda pool, pool_seed: (*pool, pool_seed)).prefetch(1)


def _drawn(key: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([], key, None, None, tf.int64)


def _shuffled(chunks: tf.data.Dataset, size: int, seeds: tf.Tensor) -> tf.data.Dataset:
    """Chunks through a buffer of `size`, in the order of seeds int64 [2] that are computed in the graph.

    `Dataset.shuffle` has no place for both, and fails on one if `tf.random.set_seed` was given 0.
    """
    ragged = [None, None]  # each side is one variant to tf.data
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(chunks),
        buffer_size=size,
        seed=seeds[0],
        seed2=seeds[1],
        output_types=[tf.variant for _ in ragged],
        output_shapes=ragged,
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(shuffled, chunks.element_spec)


def _paced(pools: _Pools, epoch: tf.data.Dataset, cut: _Cut, pace: Pace) -> tf.data.Dataset:
    """Passes over the pools without end, each pool left with the pairs that the step it begins at may draw from."""

    def allow(step: tf.Tensor, pool: tuple[tf.RaggedTensor, tf.RaggedTensor, tf.Tensor]) -> tuple[tf.Tensor, tuple]:
        sources, labels, seed = pool
        rows = pace.curriculum.allowed(_lengths(sources, labels), step)
        sources, labels = tf.gather(sources, rows), tf.gather(labels, rows)
        return step + cut.count(sources, labels), (sources, labels, seed)

    def passes(number: tf.Tensor, step: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.counter().flat_map(lambda turn: pools(number, turn)).scan(step, allow)

    return tf.data.Dataset.zip(epoch, _asked(pace.begin)).flat_map(passes)


@dataclasses.dataclass(frozen=True)
class _Cut:
    """A pool to its batches: pairs of one bucket together, in batches of the bucket's size."""

    batching: Batching
    join: Join
    shuffle: bool

    def __call__(self, sources: tf.RaggedTensor, labels: tf.RaggedTensor, seed: tf.Tensor) -> tf.data.Dataset:
        buckets = self._buckets(sources, labels)
        rows = self._order(tf.size(buckets), seed, 0)
        rows = tf.gather(rows, tf.argsort(tf.gather(buckets, rows), stable=True))
        starts, limits = self._cuts(buckets)
        order = self._order(tf.size(starts), seed, 1)
        cuts = tf.data.Dataset.from_tensor_slices((tf.gather(starts, order), tf.gather(limits, order)))

        def batch(start: tf.Tensor, limit: tf.Tensor) -> Batch:
            chosen = rows[start:limit]
            return self.join(tf.gather(sources, chosen), tf.gather(labels, chosen))

        return cuts.map(batch, tf.data.AUTOTUNE, deterministic=True)

    def count(self, sources: tf.RaggedTensor, labels: tf.RaggedTensor) -> tf.Tensor:
        """How many batches a pool makes, int64 []."""
        starts, _ = self._cuts(self._buckets(sources, labels))
        return tf.size(starts, tf.int64)

    def _buckets(self, sources: tf.RaggedTensor, labels: tf.RaggedTensor) -> tf.Tensor:
        """The bucket of each pair, int32 [N]."""
        return tf.searchsorted(tf.constant(self.batching.boundaries, tf.int64), _lengths(sources, labels))

    def _order(self, size: tf.Tensor, seed: tf.Tensor, salt: int) -> tf.Tensor:
        """The numbers below `size`, shuffled if asked."""
        numbers = tf.range(size)
        return tf.random.experimental.stateless_shuffle(numbers, [seed, salt]) if self.shuffle else numbers

    def _cuts(self, buckets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Where each batch starts and ends among the pairs sorted by bucket, both int32 [batches].

        Batches of 2 from buckets of 3 and 1 pairs start at 0, 2, 3 and end at 2, 3, 4.
        """
        sizes = tf.constant(self.batching.batch_sizes)
        counts = tf.math.bincount(buckets, minlength=len(sizes))
        ends = tf.cumsum(counts)
        starts = tf.ragged.range(ends - counts, ends, sizes)
        bucket = starts.value_rowids()
        limits = tf.minimum(starts.flat_values + tf.gather(sizes, bucket), tf.gather(ends, bucket))
        return starts.flat_values, limits


def _join_ids(sources: tf.RaggedTensor, labels: tf.RaggedTensor) -> Batch:
    return shift({"source_ids": sources.to_tensor(PAD_ID)}, labels.to_tensor(PAD_ID))


def shift(source: Features, labels: tf.Tensor) -> Batch:
    """Adds the decoder's input to the encoder's: the labels one step later after START, PAD in the place of END."""
    before = tf.pad(labels[:, :-1], [[0, 0], [1, 0]], constant_values=START_ID)
    target_ids = tf.where(before == END_ID, PAD_ID, before)
    return {**source, "target_ids": target_ids}, labels, tf.cast(labels != PAD_ID, tf.float32)
