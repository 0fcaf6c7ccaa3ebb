"""The transformer encoder: layers of self-attention and feed-forward networks, as a Functional keras.Model."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.context import SUMMARIES
from kerass2s.elements import Elements
from kerass2s.transformer import Entrance, MultiHeadAttention, Residual, feed_forward, final_norm

__all__ = ["TransformerEncoder"]


class _EncoderLayer:
    """Self-attention, then a feed-forward network, each in its residual (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, units: int, heads: int, feed_forward_units: int, dropout: float, norm: str, name: str) -> None:
        self.attention = MultiHeadAttention(units, heads, name=f"{name}_self_attention")
        self.feed_forward = feed_forward(units, feed_forward_units, f"{name}_feed_forward")
        self.attended = Residual(norm, dropout, f"{name}_self_attention")
        self.fed_forward = Residual(norm, dropout, f"{name}_feed_forward")

    def __call__(self, vectors: Any, mask: Any) -> Any:
        """Run, `vectors [B, S, U], mask [B, 1, S] -> [B, S, U]`."""
        attended = self.attended(vectors, lambda seen: self.attention(seen, *self.attention.project(seen), mask)[0])
        return self.fed_forward(attended, self.feed_forward)


class TransformerEncoder(keras.Model):
    """Reads a source into `memory [B, S, U]`, `memory_mask [B, S]` and `summary [B, U]`, the mean of the memory.

    Padding is masked: it changes nothing. Sources may have any length.

    Args:
        elements: what the source is made of: `Tokens`, `OneHotTokens` or `Vectors`.
        units: U, the paper's d_model.
        heads: h; it divides U.
        feed_forward_units: the paper's d_ff.
        layers: N.
        dropout: rate on the embedded source and on the output of each sub-layer, in training only.
        norm: "post", as in the paper, or "pre".

    Raises:
        ConfigError: an unknown norm, or heads that do not divide the units.
    """

    def __init__(
        self,
        elements: Elements,
        *,
        units: int,
        heads: int,
        feed_forward_units: int,
        layers: int,
        dropout: float = 0.0,
        norm: str = "post",
    ) -> None:
        # === Layers ===
        enter = Entrance(elements, "source", units, dropout)
        sizes = (units, heads, feed_forward_units, dropout, norm)
        stack = [_EncoderLayer(*sizes, f"encoder_{i}") for i in range(layers)]
        last = final_norm(norm)

        # === Functional Model ===
        inputs, source, mask = elements.source()
        vectors = enter(source)
        for layer in stack:
            vectors = layer(vectors, ops.expand_dims(mask, 1))
        vectors = last(vectors)
        memory = vectors * ops.expand_dims(ops.cast(mask, vectors.dtype), -1)
        super().__init__(
            inputs=inputs,
            outputs={"memory": memory, "memory_mask": mask, "summary": SUMMARIES["mean"](name="summary")(memory, mask)},
            name="encoder",
        )
