"""The transformer decoder: masked self-attention over what was said, attention over the memory, feed-forward."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.decoders.base import ParallelDecoder, to_predictions
from kerass2s.elements import Elements
from kerass2s.transformer import CausalMask, Entrance, MultiHeadAttention, Residual, feed_forward, final_norm

__all__ = ["TransformerDecoder"]


@keras.saving.register_keras_serializable("kerass2s")
class EmptyCache(keras.layers.Layer):
    """A cache of no positions, `[B, S, U] -> [B, 0, U]`, of a length that only a run knows.

    OpenVINO takes a length that the graph knows for one that never grows.
    """

    def call(self, keys: Any) -> Any:
        """Keep none of the positions."""
        return keys[:, : ops.minimum(ops.shape(keys)[1], 0)]


class _DecoderLayer:
    """Self-attention, attention over the memory and a feed-forward network, each in its residual (section 3.1)."""

    def __init__(self, units: int, heads: int, feed_forward_units: int, dropout: float, norm: str, name: str) -> None:
        self.self_attention = MultiHeadAttention(units, heads, name=f"{name}_self_attention")
        self.memory_attention = MultiHeadAttention(units, heads, name=f"{name}_memory_attention")
        self.feed_forward = feed_forward(units, feed_forward_units, f"{name}_feed_forward")
        self.residuals = [
            Residual(norm, dropout, f"{name}_{part}") for part in ("self_attention", "memory_attention", "feed_forward")
        ]

    def __call__(self, vectors: Any, past: tuple[Any, Any], causal: Any, memory: tuple[Any, Any], mask: Any) -> Any:
        """Run T positions after the t that the cache knows.

        Args:
            vectors: [N, T, U].
            past: keys and values of the positions so far, [N, t, U] each.
            causal: [1, T, t + T].
            memory: keys and values of the memory, [N, S, U] each.
            mask: [N, 1, S].

        Returns:
            Vectors [N, T, U], the longer (keys, values) [N, t + T, U], and the alignment [N, T, S].
        """
        known, alignments = [], []

        def attend_to_self(seen: Any) -> Any:
            for old, new in zip(past, self.self_attention.project(seen), strict=True):
                # An input is float32 whatever is computed in, and a loop wants the cache to keep its type.
                known.append(ops.concatenate([ops.cast(old, new.dtype), new], axis=1))
            return self.self_attention(seen, *known, causal)[0]

        def attend_to_memory(seen: Any) -> Any:
            answer, alignment = self.memory_attention(seen, *memory, mask)
            alignments.append(alignment)
            return answer

        for residual, sublayer in zip(
            self.residuals, (attend_to_self, attend_to_memory, self.feed_forward), strict=True
        ):
            vectors = residual(vectors, sublayer)
        return vectors, known, alignments[0]


class TransformerDecoder(ParallelDecoder):
    """A stack of self-attention, attention over the memory and feed-forward networks (Vaswani et al. 2017).

    Sequence and step are the same formula, over T positions and over one. The state is a cache of each layer's keys
    and values, `keys_i` and `values_i` [N, t, U], which grows by one along t at each step; its length is the position.
    Keys and values of the memory depend on the memory alone: the start makes them, once.

    The alignment [N, S] is the mean over the heads of the last layer's attention over the memory.

    Args:
        elements: what the target is made of: `Tokens`, `OneHotTokens` or `Vectors`.
        memory_size: M of the encoder's memory.
        units: U, the paper's d_model.
        heads: h; it divides U.
        feed_forward_units: the paper's d_ff.
        layers: N.
        dropout: rate on the embedded target and on the output of each sub-layer, in training only.
        norm: "post", as in the paper, or "pre".
        tie_embeddings: predict by the target's embedding, as the paper does; the target must be `Tokens` of width U.

    Raises:
        ConfigError: an unknown norm, heads that do not divide the units, or nothing to tie.
    """

    def __init__(
        self,
        elements: Elements,
        memory_size: int,
        *,
        units: int,
        heads: int,
        feed_forward_units: int,
        layers: int,
        dropout: float = 0.0,
        norm: str = "post",
        tie_embeddings: bool = True,
    ) -> None:
        # === Layers ===
        enter = Entrance(elements, "target", units, dropout)
        causal = CausalMask(name="causal_mask")
        empty_cache = EmptyCache(name="empty_cache")
        sizes = (units, heads, feed_forward_units, dropout, norm)
        stack = [_DecoderLayer(*sizes, f"decoder_{i}") for i in range(layers)]
        last = final_norm(norm)
        to_logits = to_predictions(elements.size, enter.embedding if tie_embeddings else None, use_bias=False)

        # === Functional Models ===
        memory = keras.Input((None, memory_size), name="memory")
        mask = keras.Input((None,), dtype="bool", name="memory_mask")
        state, remembered, started, kept = {}, {"memory_mask": mask}, {}, {"memory_mask": mask}
        for i, layer in enumerate(stack):
            for name, made in zip(("keys", "values"), layer.memory_attention.project(memory), strict=True):
                state[f"{name}_{i}"] = keras.Input((None, units), name=f"{name}_{i}")
                remembered[f"memory_{name}_{i}"] = keras.Input((None, units), name=f"memory_{name}_{i}")
                started[f"{name}_{i}"] = empty_cache(made)
                kept[f"memory_{name}_{i}"] = made

        def run(target: Any) -> tuple[Any, dict[str, Any], Any]:
            vectors = enter(target, state["keys_0"])
            may_see, grown, alignment = causal(vectors, state["keys_0"]), {}, None
            for i, layer in enumerate(stack):
                past, source = (
                    (inputs[f"{prefix}keys_{i}"], inputs[f"{prefix}values_{i}"])
                    for inputs, prefix in ((state, ""), (remembered, "memory_"))
                )
                vectors, known, alignment = layer(vectors, past, may_see, source, ops.expand_dims(mask, 1))
                grown[f"keys_{i}"], grown[f"values_{i}"] = known
            return to_logits(last(vectors)), grown, alignment

        super().__init__(
            elements, ({"memory": memory, "memory_mask": mask}, {**started, **kept}), state, remembered, run
        )
