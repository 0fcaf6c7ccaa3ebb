"""Where each element stands in its sequence, added to its vector: sinusoids, or a learned table."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = ["LearnedPositions", "SinusoidalPositions", "sinusoids"]

LONGEST_WAVE = 10000.0


def sinusoids(positions: Any, units: int) -> Any:
    """Return the sinusoids of positions, `[T] -> [T, U]` (Vaswani et al. 2017, section 3.5).

    PE(p, 2i) = sin(p / 10000^(2i / U)) and PE(p, 2i + 1) = cos(p / 10000^(2i / U)).
    """
    feature = np.arange(units)
    rates = (LONGEST_WAVE ** (-(feature // 2 * 2) / units)).astype("float32")
    angles = ops.expand_dims(ops.cast(positions, "float32"), 1) * rates
    return ops.where(feature % 2 == 0, ops.sin(angles), ops.cos(angles))


@keras.saving.register_keras_serializable("kerass2s")
class SinusoidalPositions(keras.layers.Layer):
    """Adds the sinusoid of each position, `[N, T, U] -> [N, T, U]`, for sequences of any length; nothing is learned."""

    def call(self, vectors: Any, past: Any = None) -> Any:
        """Add positions 0, 1, … T − 1; after a cache `past [N, t, …]` they are t, t + 1, … t + T − 1."""
        positions = ops.arange(ops.shape(vectors)[1])
        if past is not None:
            positions = positions + ops.shape(past)[1]
        return vectors + ops.cast(sinusoids(positions, vectors.shape[-1]), vectors.dtype)


@keras.saving.register_keras_serializable("kerass2s")
class LearnedPositions(keras.layers.Layer):
    """Adds a learned vector for each position, `[N, T, E] -> [N, T, E]` (Gehring et al. 2017, section 3.1).

    A table ends somewhere and sequences may not: all positions from the last row on share that row.

    Args:
        max_positions: rows of the table.
        name: of the layer.
        **options: as of every Keras layer.
    """

    def __init__(self, max_positions: int, name: str = "positions", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.max_positions = max_positions

    def build(self, vectors_shape: tuple[int | None, ...], first_shape: Any = None) -> None:
        """Make the table [max_positions, E]."""
        normal = keras.initializers.RandomNormal(stddev=0.1)
        self.table = self.add_weight((self.max_positions, vectors_shape[-1]), initializer=normal, name="table")

    def call(self, vectors: Any, first: Any = None) -> Any:
        """Add positions 0, 1, … T − 1, or those that begin at `first int32 [N]` in each row."""
        positions = ops.expand_dims(ops.arange(ops.shape(vectors)[1]), 0)
        if first is not None:
            positions = positions + ops.expand_dims(first, 1)
        return vectors + ops.take(self.table, ops.minimum(positions, self.max_positions - 1), axis=0)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "max_positions": self.max_positions}
