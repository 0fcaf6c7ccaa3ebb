"""The convolutional encoder: gated convolutions over all positions at once, as a Functional keras.Model."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.context import SUMMARIES
from kerass2s.convolution import GatedConvolution, ScaledSum, linear
from kerass2s.elements import Elements
from kerass2s.positions import LearnedPositions

__all__ = ["ConvolutionalEncoder", "ScaleGradient"]


@keras.saving.register_keras_serializable("kerass2s")
class ScaleGradient(keras.layers.Layer):
    """Hands its input on as it is, and only a fraction of the gradient back."""

    def __init__(self, fraction: float, name: str = "scale_gradient", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.fraction = fraction

    def call(self, values: Any) -> Any:
        """Return `values`."""
        held = ops.stop_gradient(values)
        return held + self.fraction * (values - held)  # the difference is exactly zero

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "fraction": self.fraction}


class ConvolutionalEncoder(keras.Model):
    """Reads a source into z, `memory [B, S, E]`, and z + e, `memory_values [B, S, E]` (Gehring et al. 2017).

    e is the embedding of an element with its position, z the output of the stack mapped back to E. The decoder scores
    z and takes z + e (equation 2). As every encoder it also returns `memory_mask [B, S]` and `summary [B, E]`, the mean
    of z.

    Padding is zero before every convolution, as is what lies beyond either end: it changes nothing.

    Args:
        elements: what the source is made of: `Tokens`, `OneHotTokens` or `Vectors`; its vectors are E wide.
        units: U of the convolutions.
        layers: depth of the stack.
        kernel_size: k.
        max_positions: how many positions have a vector of their own; those beyond share the last one's.
        dropout: rate on the embedded source and on the input of each convolution, in training only.
        gradient_scale: the part of the gradient that the stack gets; the embeddings get all of it beside the stack.
            The paper scales it down by the number of attentions (section 3.4).
    """

    def __init__(
        self,
        elements: Elements,
        *,
        units: int,
        layers: int,
        kernel_size: int,
        max_positions: int,
        dropout: float = 0.0,
        gradient_scale: float = 1.0,
    ) -> None:
        # === Layers ===
        embedding = elements.embedding("source")
        positions = LearnedPositions(max_positions, name="source_positions")
        embedding_dropout = keras.layers.Dropout(dropout, name="source_dropout")
        convolutions = [
            GatedConvolution(units, kernel_size, "same", dropout, name=f"encoder_{i}") for i in range(layers)
        ]
        dropouts = [keras.layers.Dropout(dropout, name=f"encoder_{i}_dropout") for i in range(layers)]
        widen = linear(units, dropout, "encoder_input")

        # === Functional Model ===
        inputs, source, mask = elements.source()
        embedded = embedding_dropout(positions(embedding(source)))
        real = ops.expand_dims(ops.cast(mask, embedded.dtype), -1)
        vectors = widen(embedded)
        for i, convolution in enumerate(convolutions):
            convolved = convolution(dropouts[i](vectors) * real)
            vectors = ScaledSum(name=f"encoder_{i}_sum")(convolved, vectors)
        encodings = linear(embedded.shape[-1], 0.0, "encoder_output")(vectors)
        memory = ScaleGradient(gradient_scale)(encodings) * real
        super().__init__(
            inputs=inputs,
            outputs={
                "memory": memory,
                "memory_values": memory + embedded * real,
                "memory_mask": mask,
                "summary": SUMMARIES["mean"](name="summary")(memory, mask),
            },
            name="encoder",
        )
