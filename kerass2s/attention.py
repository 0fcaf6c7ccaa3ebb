"""Attention over the encoder's memory: additive and multiplicative scores, with an explicit mask."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = ["AdditiveAttention", "Attention", "MultiplicativeAttention"]

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
        scores = ops.cast(self.score(query, keys), "float32")
        scores = ops.where(ops.expand_dims(memory_mask, 1), scores, MASKED_SCORE)
        alignment = ops.softmax(scores, axis=-1)
        context = ops.matmul(ops.cast(alignment, memory.dtype), memory)
        return context, alignment


@keras.saving.register_keras_serializable("kerass2s")
class AdditiveAttention(Attention):
    """Additive attention, `v . tanh(W q + K)` with `K = W' memory` (Bahdanau, Cho and Bengio 2015, appendix A.1.2)."""

    def __init__(self, units: int, name: str = "attention", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.units = units
        self.query_projection = keras.layers.Dense(units, name="query")
        self.key_projection = keras.layers.Dense(units, use_bias=False, name="key")
        self.energy = keras.layers.Dense(1, use_bias=False, name="energy")

    def project(self, memory: Any) -> Any:
        """Make the keys, `memory [B, S, M] -> keys [B, S, units]`."""
        return self.key_projection(memory)

    def score(self, query: Any, keys: Any) -> Any:
        """Score, `query [B, T, U], keys [B, S, units] -> [B, T, S]`."""
        hidden = ops.tanh(ops.expand_dims(self.query_projection(query), 2) + ops.expand_dims(keys, 1))
        return ops.squeeze(self.energy(hidden), -1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("kerass2s")
class MultiplicativeAttention(Attention):
    """Multiplicative attention, `q . W memory` (Luong, Pham and Manning 2015, "general").

    `units` must be the size of the query.
    """

    def __init__(self, units: int, name: str = "attention", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.units = units
        self.key_projection = keras.layers.Dense(units, use_bias=False, name="key")

    def project(self, memory: Any) -> Any:
        """Make the keys, `memory [B, S, M] -> keys [B, S, U]`."""
        return self.key_projection(memory)

    def score(self, query: Any, keys: Any) -> Any:
        """Score, `query [B, T, U], keys [B, S, U] -> [B, T, S]`."""
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}
