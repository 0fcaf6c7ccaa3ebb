"""What convolutional stacks are made of: gated convolutions, and sums that keep the variance."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = ["GatedConvolution", "ScaledSum", "linear"]


@keras.saving.register_keras_serializable("kerass2s")
class GatedConvolution(keras.layers.Layer):
    """v([A; B]) = A * sigmoid(B) of a convolution [A; B] (Gehring et al. 2017, section 3.2; gated linear units).

    Args:
        units: U; the convolution makes twice as many.
        kernel_size: k, how many neighbours each position sees.
        padding: "same", or "valid": `[N, T + k − 1, I] -> [N, T, U]`.
        dropout: the rate that its input was dropped at; the weights start larger for it (section 3.5).
        name: of the layer.
        **options: as of every Keras layer.
    """

    def __init__(
        self, units: int, kernel_size: int, padding: str, dropout: float = 0.0, name: str = "gated", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.units, self.kernel_size, self.padding, self.dropout = units, kernel_size, padding, dropout
        # A quarter of the variance passes the gate: N(0, sqrt(4p / n)) makes up for it, p what the dropout leaves.
        normal = keras.initializers.VarianceScaling(4 * (1 - dropout), "fan_in", "untruncated_normal")
        self.convolution = keras.layers.Conv1D(
            2 * units, kernel_size, padding=padding, kernel_initializer=normal, name="convolution"
        )

    def build(self, vectors_shape: tuple[int | None, ...]) -> None:
        """Build the convolution."""
        self.convolution.build(vectors_shape)

    def call(self, vectors: Any) -> Any:
        """Convolve and gate, `[N, T, I] -> [N, T, U]`."""
        return ops.glu(self.convolution(vectors), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {
            "units": self.units,
            "kernel_size": self.kernel_size,
            "padding": self.padding,
            "dropout": self.dropout,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerass2s")
class ScaledSum(keras.layers.Layer):
    """(a + b) * sqrt(0.5), whose variance is that of a and b (Gehring et al. 2017, section 3.4)."""

    def call(self, first: Any, second: Any) -> Any:
        """Add two tensors of the same shape."""
        return (first + second) * 0.5**0.5


def linear(units: int, dropout: float, name: str) -> keras.layers.Dense:
    """Make a linear map whose weights start at N(0, sqrt(p / n)), p what the dropout before it leaves (section 3.5)."""
    normal = keras.initializers.VarianceScaling(1 - dropout, "fan_in", "untruncated_normal")
    return keras.layers.Dense(units, kernel_initializer=normal, name=name)
