"""Attention over the encoder's memory, with an explicit mask: three scores, over all of it or over a window."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerass2s.errors import ConfigError

__all__ = ["SCORES", "AdditiveAttention", "Attention", "DotAttention", "LocalAttention", "MultiplicativeAttention"]

MASKED_SCORE = -1e9


class Attention(keras.layers.Layer):
    """Base of the attentions: subclasses say how keys are made and how a query scores them.

    The keys depend on the memory alone, so they are made once for a sequence (`project`) and not once a step.
    """

    def project(self, memory: Any) -> Any:
        """Make the keys, `memory [B, S, M] -> keys [B, S, A]`."""
        return memory

    def score(self, query: Any, keys: Any) -> Any:
        """Score each key for each query, `query [B, T, U], keys [B, S, A] -> scores [B, T, S]`."""
        raise TypeError(f"An Attention must say how a query scores the keys. Received: {type(self).__name__}")

    def call(self, query: Any, keys: Any, memory: Any, memory_mask: Any) -> tuple[Any, Any]:
        """Weigh the memory, `query [B, T, U] -> context [B, T, M], alignment [B, T, S]`.

        `memory_mask [B, S]` is true at real positions; the alignment is zero elsewhere and sums to one.
        """
        return weigh(ops.cast(self.score(query, keys), "float32"), ops.expand_dims(memory_mask, 1), memory)


def weigh(scores: Any, mask: Any, memory: Any) -> tuple[Any, Any]:
    """Take the softmax of `scores float32 [B, T, S]` where `mask [B, 1 or T, S]`, and the mean of the memory by it.

    Returns:
        context [B, T, M], alignment [B, T, S].
    """
    # Keras' own softmax warns where there is one position only, which is no mistake here.
    alignment = tf.nn.softmax(ops.where(mask, scores, MASKED_SCORE))
    return ops.matmul(ops.cast(alignment, memory.dtype), memory), alignment


@keras.saving.register_keras_serializable("kerass2s")
class AdditiveAttention(Attention):
    """Additive attention, `v . tanh(W q + K)` with `K = W' memory` (Bahdanau, Cho and Bengio 2015, appendix A.1.2).

    It is also "concat", `v . tanh(W [h_t; h_s])`, of Luong, Pham and Manning 2015, equation 8: W of the two side by
    side is the sum of two maps.

    Args:
        units: A, the width of the hidden layer.
        biases: add one to each of `K` and the score too, as PyTorch's tutorial does. They change nothing that W's
            bias cannot: the first adds to it, and the softmax does not see the second.
    """

    def __init__(self, units: int, biases: bool = False, name: str = "attention", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.units = units
        self.biases = biases
        self.query_projection = keras.layers.Dense(units, name="query")
        self.key_projection = keras.layers.Dense(units, use_bias=biases, name="key")
        self.energy = keras.layers.Dense(1, use_bias=biases, name="energy")

    def project(self, memory: Any) -> Any:
        """Make the keys, `memory [B, S, M] -> keys [B, S, units]`."""
        return self.key_projection(memory)

    def score(self, query: Any, keys: Any) -> Any:
        """Score, `query [B, T, U], keys [B, S, units] -> [B, T, S]`."""
        hidden = ops.tanh(ops.expand_dims(self.query_projection(query), 2) + ops.expand_dims(keys, 1))
        return ops.squeeze(self.energy(hidden), -1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units, "biases": self.biases}


@keras.saving.register_keras_serializable("kerass2s")
class DotAttention(Attention):
    """Dot-product attention, `q . memory` (Luong, Pham and Manning 2015, equation 8, "dot"); nothing is learned.

    `units` must be the size of the query and of the memory.
    """

    def __init__(self, units: int, name: str = "attention", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.units = units

    def project(self, memory: Any) -> Any:
        """Take the memory as its own keys.

        Raises:
            ConfigError: the memory is not as wide as the query.
        """
        if memory.shape[-1] != self.units:
            raise ConfigError(
                f"attention 'dot' needs a memory as wide as the query, {self.units}: an encoder that reads one way "
                f"only, or attention 'general'. Received: {memory.shape[-1]}"
            )
        return memory

    def score(self, query: Any, keys: Any) -> Any:
        """Score, `query [B, T, U], keys [B, S, U] -> [B, T, S]`."""
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("kerass2s")
class MultiplicativeAttention(DotAttention):
    """Multiplicative attention, `q . W memory` (Luong, Pham and Manning 2015, equation 8, "general").

    `units` must be the size of the query.
    """

    def __init__(self, units: int, name: str = "attention", **options: Any) -> None:
        super().__init__(units, name=name, **options)
        self.key_projection = keras.layers.Dense(units, use_bias=False, name="key")

    def project(self, memory: Any) -> Any:
        """Make the keys, `memory [B, S, M] -> keys [B, S, U]`."""
        return self.key_projection(memory)


SCORES: dict[str, type[Attention]] = {
    "dot": DotAttention,
    "general": MultiplicativeAttention,
    "concat": AdditiveAttention,
}
"""The scores of Luong, Pham and Manning 2015, equation 8, by their names there."""


@keras.saving.register_keras_serializable("kerass2s")
class LocalAttention(Attention):
    """Attention to a window around a position that the query predicts (Luong, Pham and Manning 2015, "local-p").

        p_t = S * sigmoid(v_p . tanh(W_p h_t))                                     equation 9
        a_t(s) ~ align(h_t, h_s) * exp(-(s - p_t)^2 / (2 sigma^2)), sigma = D/2    equation 10

    S is the real length of the row and s counts its positions from 0; |s - p_t| <= D, so with D >= 1 some real
    position is always inside. The paper leaves the product as it is, and its weights sum to less than one; here they
    are divided by their sum, so that an alignment stays a distribution and the context a mean of the memory. The
    square is then simply taken from the score before the softmax.

    Args:
        attention: what scores the positions.
        units: width of the hidden layer of p_t.
        window: D.
    """

    def __init__(
        self, attention: Attention, units: int, window: int, name: str = "local_attention", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.attention = attention
        self.units = units
        self.window = window
        self.position_hidden = keras.layers.Dense(units, activation="tanh", use_bias=False, name="position_hidden")
        self.position = keras.layers.Dense(1, use_bias=False, dtype="float32", name="position")

    def build(self, *shapes: Any) -> None:
        """Do nothing: the parts are built when they are first called."""
        self.built = True

    def project(self, memory: Any) -> Any:
        """Make the keys as `attention` does."""
        return self.attention.project(memory)

    def call(self, query: Any, keys: Any, memory: Any, memory_mask: Any) -> tuple[Any, Any]:
        """Weigh the memory near p_t, `query [B, T, U] -> context [B, T, M], alignment [B, T, S]`."""
        count = ops.expand_dims(ops.cumsum(ops.cast(memory_mask, "float32"), axis=1), 1)  # [B, 1, S]: 1, 2, …, S, S
        center = count[:, :, -1:] * ops.sigmoid(self.position(self.position_hidden(query)))  # [B, T, 1]
        distance = count - 1 - center
        scores = ops.cast(self.attention.score(query, keys), "float32")
        scores = scores - ops.square(distance) / (2 * (self.window / 2) ** 2)
        inside = ops.less_equal(ops.absolute(distance), self.window)
        return weigh(scores, ops.logical_and(ops.expand_dims(memory_mask, 1), inside), memory)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        attention = keras.saving.serialize_keras_object(self.attention)
        return {**super().get_config(), "attention": attention, "units": self.units, "window": self.window}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LocalAttention:
        """Make one again from `get_config`."""
        return cls(keras.saving.deserialize_keras_object(config.pop("attention")), **config)
