"""What one element of a sequence is, a token or a vector: how it enters a network, how wide a prediction of it is."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.text import PAD_ID, UNKNOWN_ID

__all__ = ["Elements", "OneHotTokens", "OpenTokens", "Tokens", "Vectors"]


class Tokens:
    """Token ids, each looked up in a learned table (V vocabulary, E embedding).

    Args:
        vocabulary_size: V.
        embedding_size: E.
    """

    source_name, target_name = "source_ids", "target_ids"

    def __init__(self, vocabulary_size: int, embedding_size: int) -> None:
        self.size = vocabulary_size
        self.embedding_size = embedding_size

    def source(self) -> tuple[dict[str, Any], Any, Any]:
        """Make an encoder's inputs: `{"source_ids" [B, S]}`, the elements [B, S] and their mask [B, S]."""
        ids = keras.Input((None,), dtype="int32", name=self.source_name)
        return {self.source_name: ids}, ids, ops.not_equal(ids, PAD_ID)

    def target(self, *time: None) -> Any:
        """Make a decoder's input: `target(None)` is a sequence [B, T], `target()` one step [B]."""
        return keras.Input(time, dtype="int32", name=self.target_name)

    def embedding(self, side: str) -> keras.layers.Layer:
        """Make the layer from elements [...] to vectors [..., E], named `source_embedding` or `target_embedding`."""
        return keras.layers.Embedding(self.size, self.embedding_size, name=f"{side}_embedding")


class OpenTokens(Tokens):
    """Token ids of an open vocabulary: those of V and more stand for tokens without a row in the table, all unknown.

    Args:
        vocabulary_size: V.
        embedding_size: E.
    """

    def embedding(self, side: str) -> keras.layers.Layer:
        """Make the layer from ids [...] to vectors [..., E]."""
        return OpenEmbedding(self.size, self.embedding_size, name=f"{side}_embedding")


@keras.saving.register_keras_serializable("kerass2s")
class OpenEmbedding(keras.layers.Embedding):
    """A learned table, `ids [...] -> [..., E]`, with the row of the unknown for ids beyond it."""

    def call(self, ids: Any) -> Any:
        """Look ids up."""
        return super().call(ops.where(ids < self.input_dim, ids, UNKNOWN_ID))


class OneHotTokens(Tokens):
    """Token ids, each as the V-wide vector that is 1 at the id and 0 elsewhere; nothing is learned.

    Args:
        vocabulary_size: V.
    """

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__(vocabulary_size, vocabulary_size)

    def embedding(self, side: str) -> keras.layers.Layer:
        """Make the layer from ids [...] to one-hot vectors [..., V]."""
        return OneHot(self.size, name=f"{side}_embedding")


@keras.saving.register_keras_serializable("kerass2s")
class OneHot(keras.layers.Layer):
    """One-hot vectors, `ids [...] -> [..., depth]`."""

    def __init__(self, depth: int, **options: Any) -> None:
        super().__init__(**options)
        self.depth = depth

    def call(self, ids: Any) -> Any:
        """Turn ids into one-hot vectors."""
        return ops.one_hot(ids, self.depth, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "depth": self.depth}


class Vectors:
    """Real-valued vectors x_t in R^N. No value marks padding, so a source comes with its lengths.

    Args:
        size: N.
    """

    source_name, target_name = "source_values", "target_values"

    def __init__(self, size: int) -> None:
        self.size = size

    def source(self) -> tuple[dict[str, Any], Any, Any]:
        """Make an encoder's inputs: `{"source_values" [B, S, N], "source_lengths" [B]}`, elements, mask [B, S].

        The elements [B, S, N] are zero beyond their row's length, whatever stood there.
        """
        values = keras.Input((None, self.size), name=self.source_name)
        lengths = keras.Input((), dtype="int32", name="source_lengths")
        # A cumulative sum of ones: `ops.arange` needs a length that is known when the graph is made.
        position = ops.cumsum(ops.ones_like(values[:, :, 0], dtype="int32"), axis=1)
        mask = ops.less_equal(position, ops.expand_dims(lengths, 1))
        elements = ops.where(ops.expand_dims(mask, -1), values, ops.zeros_like(values))
        return {self.source_name: values, "source_lengths": lengths}, elements, mask

    def target(self, *time: None) -> Any:
        """Make a decoder's input: `target(None)` is a sequence [B, T, N], `target()` one step [B, N]."""
        return keras.Input((*time, self.size), name=self.target_name)

    def embedding(self, side: str) -> keras.layers.Layer:
        """Make the layer that hands the vectors on as they are."""
        return keras.layers.Identity(name=f"{side}_embedding")


Elements = Tokens | Vectors
