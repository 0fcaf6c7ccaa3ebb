"""Real-valued ends: vectors to text (speech to words), and vectors to vectors (a series and how it goes on)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kerass2s.codec.text import TextTargets, counted, need_tokenizer
from kerass2s.context import choose
from kerass2s.data import Batching, BucketByExamples
from kerass2s.data.curriculum import Pace
from kerass2s.data.padding import padded
from kerass2s.data.vectors import as_vectors, series_batches, vector_text_batches
from kerass2s.decoding import Rollout
from kerass2s.errors import ConfigError
from kerass2s.text import SentencePieceTokenizer

__all__ = ["SeriesCodec", "VectorTextCodec"]


class VectorSources:
    """The source half of every codec whose sources are arrays [S, N]: their request is the source itself."""

    source_name: ClassVar[str] = "source_values"
    source_size: int

    @property
    def source_spec(self) -> dict[str, tf.TensorSpec]:
        """The padded source and its lengths."""
        return {
            "source_values": tf.TensorSpec([None, None, self.source_size], tf.float32, name="source_values"),
            "source_lengths": tf.TensorSpec([None], tf.int32, name="source_lengths"),
        }

    @property
    def request_spec(self) -> dict[str, tf.TensorSpec]:
        """The same: the source itself is asked about."""
        return self.source_spec

    # === Requests ===

    def check(self, sources: Any, first: int = 0) -> None:
        """Refuse what is not a list of arrays [S, N]; S may be 0. `first` is the number of its first one.

        Raises:
            DataError: one of them is no such array, or a value in it is not finite.
        """
        for index, source in enumerate(sources, first):
            as_vectors(source, self.source_size, f"source {index}")

    def rows(self, sources: Sequence[Any]) -> list[np.ndarray]:
        """Make the encoder's row of each source, float32 [S, N]."""
        return [as_vectors(source, self.source_size, f"source {index}") for index, source in enumerate(sources)]

    def request(self, sources: Sequence[Any]) -> dict[str, tf.Tensor]:
        """Make a request of some arrays: they are padded with zeros to the longest."""
        values, lengths = padded(self.rows(sources))
        return {"source_values": tf.constant(values), "source_lengths": tf.constant(lengths)}

    def example(self, generator: np.random.Generator, length: int) -> np.ndarray:
        """Make a random array of `length` steps."""
        return generator.normal(size=[length, self.source_size]).astype(np.float32)

    def strange(self) -> list[np.ndarray]:
        """Make the array without a step, and arrays of zeros and of values far beyond the usual."""
        nothing = np.zeros([0, self.source_size], np.float32)
        return [nothing, np.zeros([3, self.source_size], np.float32), np.full([2, self.source_size], -1e3, np.float32)]

    # === Graph ===

    def source(self, request: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the padded source float32 [B, S, N] and its lengths int32 [B] of a request."""
        return request["source_values"], request["source_lengths"]

    def encoder_inputs(self, source: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Make the encoder's inputs; what stands beyond a row's length is ignored, whatever it is.

        A source without a step is read as one step of zeros: there must be something to attend to.
        """
        real = tf.range(tf.shape(source)[1])[None, :] < lengths[:, None]
        return {"source_values": tf.where(real[:, :, None], source, 0.0), "source_lengths": tf.maximum(lengths, 1)}


def _is_pairs(data: Any) -> bool:
    """Tell whether `data` is a list of pairs; anything else is left to Keras.

    Raises:
        ConfigError: the list is empty.
    """
    if isinstance(data, Sequence) and not data:
        raise ConfigError(f"There is nothing to train or evaluate on. Received: {data!r}")
    return isinstance(data, Sequence) and isinstance(data[0], tuple | list) and len(data[0]) >= 2


class VectorTextCodec(VectorSources, TextTargets):
    """Arrays [S, N] to text, such as the frames of an utterance to its words.

    Args:
        architecture: for messages.
        size: N.
        target_tokenizer: target text to ids and back; its subword sampling, if any, is used in training alone.
        window: how many steps of the source one position of the encoder's memory joins.

    Raises:
        ConfigError: the tokenizer is missing.
    """

    def __init__(self, architecture: str, size: int, target_tokenizer: Any, window: int = 1) -> None:
        self._training = need_tokenizer(architecture, "target", target_tokenizer)
        self.target_tokenizer = self._training.with_sampling(None)
        self.source_size = size
        self.window = window

    def tokenizers(self) -> dict[str, SentencePieceTokenizer]:
        """The one tokenizer, under "target"."""
        return {"target": self.target_tokenizer}

    def batches(self, data: Any, batching: Batching | None, seed: int | None, pace: Pace | None = None) -> Any:
        """Turn pairs of an array and a text into batches, shuffled if there is a seed; leave anything else to Keras.

        Raises:
            ConfigError: there are no pairs.
            DataError: an array is not as `kerass2s.data.vectors.as_vectors` takes it, or a target no text.
        """
        if not _is_pairs(data):
            return data
        tokenizer = self.target_tokenizer if seed is None else self._training
        batching = batching or BucketByExamples()
        return counted(vector_text_batches(data, self.source_size, tokenizer, batching, shuffle_seed=seed, pace=pace))

    def source_pieces(self, source: Any) -> list[str]:
        """Name each position of the memory by the steps it joins: "0", or "0-7" where there are several."""
        begins = range(0, len(source), self.window)
        ends = [min(begin + self.window, len(source)) - 1 for begin in begins]
        return [f"{begin}-{end}" if end > begin else str(begin) for begin, end in zip(begins, ends, strict=True)]


class SeriesCodec(VectorSources):
    """Arrays [S, N] to arrays [T, D], such as a series to how it goes on.

    Args:
        source_size: N.
        target_size: D.
        first: what the decoder is fed before its first output: "last", the first D features of the last observed
            vector, or "zeros".

    Raises:
        ConfigError: an unknown `first`, or "last" where D is greater than N.
    """

    window: int = 1

    def __init__(self, source_size: int, target_size: int, first: str = "last") -> None:
        self._first = choose("first", first, {"last": _last, "zeros": _zeros})
        if first == "last" and target_size > source_size:
            raise ConfigError(
                f"first 'last' needs a source_size of at least the target_size; or use 'zeros'. "
                f"Received: source_size {source_size}, target_size {target_size}"
            )
        self.source_size = source_size
        self.target_size = target_size

    def tokenizers(self) -> dict[str, SentencePieceTokenizer]:
        """There are none."""
        return {}

    # === Training ===

    def batches(self, data: Any, batching: Batching | None, seed: int | None, pace: Pace | None = None) -> Any:
        """Turn pairs of arrays into batches, shuffled if there is a seed; leave anything else to Keras.

        Raises:
            ConfigError: there are no pairs.
            DataError: an array is not as `kerass2s.data.vectors.as_vectors` takes it.
        """
        if not _is_pairs(data):
            return data
        sizes, batching = (self.source_size, self.target_size), batching or BucketByExamples()
        return counted(series_batches(data, *sizes, self.first, batching, shuffle_seed=seed, pace=pace))

    def loss(self) -> keras.losses.Loss:
        """Make the loss of `compile` where none is given: the mean squared error of a step, padding left out."""
        return keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")

    def metrics(self) -> list[keras.metrics.Metric]:
        """Make the metrics of `compile` where none are given: the mean absolute error, padding left out."""
        return [keras.metrics.MeanAbsoluteError(name="mean_absolute_error")]

    # === Requests ===

    def need_tokens(self, what: str) -> None:
        """Refuse what only a model of tokens can do.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"The targets are vectors, which have no hypotheses and no scores: generate. Received: {what}"
        )

    def search(self) -> Rollout:
        """Make the search where none is given."""
        return Rollout()

    def settings(self, search: Any) -> dict[str, np.ndarray]:
        """Return the horizon, which an export takes as an input.

        Raises:
            ConfigError: `search` predicts tokens.
        """
        if not isinstance(search, Rollout):
            raise ConfigError(
                f"The targets are vectors: the one search is rollout, such as rollout:24. Received: {search}"
            )
        return {"horizon": np.array(search.horizon, np.int32)}

    def best(self, answer: dict[str, np.ndarray], source: Any) -> np.ndarray:
        """Return the predicted values [T, D]."""
        return answer["target_values"]

    # === Graph ===

    def first(self, source: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return what the decoder is fed before its first output, [B, D]."""
        return self._first(source, lengths, self.target_size)

    def answers(self, found: dict[str, tf.Tensor], request: dict[str, tf.Tensor], search: Any) -> dict[str, tf.Tensor]:
        """Return what was found as it is."""
        return found


def _last(source: tf.Tensor, lengths: tf.Tensor, size: int) -> tf.Tensor:
    """The first `size` features of each row's last real vector, `[B, S, N] -> [B, size]`; zeros where there is none."""
    here = tf.range(tf.shape(source)[1])[None, :] == lengths[:, None] - 1
    return tf.reduce_sum(tf.where(here[:, :, None], source[:, :, :size], 0.0), axis=1)


def _zeros(source: tf.Tensor, lengths: tf.Tensor, size: int) -> tf.Tensor:
    return tf.zeros([tf.shape(source)[0], size])
