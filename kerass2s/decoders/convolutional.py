"""The convolutional decoder: gated convolutions over what was said, and attention over the memory in every layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.attention import DotAttention
from kerass2s.convolution import GatedConvolution, ScaledSum, linear
from kerass2s.decoders.base import ParallelDecoder
from kerass2s.elements import Elements
from kerass2s.positions import LearnedPositions

__all__ = ["ConvolutionalDecoder", "RescaledDotAttention"]


@keras.saving.register_keras_serializable("kerass2s")
class RescaledDotAttention(DotAttention):
    """Dot-product attention (Gehring et al. 2017, equation 1) whose answer is multiplied by sqrt(m).

    m is the number of real positions: the mean of m vectors has a variance m times smaller than theirs, and m sqrt(1/m)
    undoes that (section 3.4).
    """

    def call(self, query: Any, keys: Any, memory: Any, memory_mask: Any) -> tuple[Any, Any]:
        """Weigh the memory, `query [B, T, E] -> context [B, T, E], alignment [B, T, S]`."""
        context, alignment = super().call(query, keys, memory, memory_mask)
        real = ops.sum(ops.cast(memory_mask, context.dtype), axis=1)
        return context * ops.sqrt(real)[:, None, None], alignment


@keras.saving.register_keras_serializable("kerass2s")
class _FirstState(keras.layers.Layer):
    """Before the first position: `position int32 [B]` is 0, and each layer has seen k − 1 zeros, [B, k − 1, U]."""

    def __init__(self, layers: int, past: int, units: int, name: str = "first_state") -> None:
        super().__init__(name=name)
        self.layers, self.past, self.units = layers, past, units

    def call(self, memory: Any) -> dict[str, Any]:
        """Make the state; `memory [B, S, M]` gives the batch size only."""
        batch = ops.shape(memory)[0]
        zeros = ops.zeros((batch, self.past, self.units), memory.dtype)
        return {"position": ops.zeros((batch,), "int32"), **{f"inputs_{i}": zeros for i in range(self.layers)}}


@keras.saving.register_keras_serializable("kerass2s")
class _Latest(keras.layers.Layer):
    """The window [N, t + T, U] without its first T positions, which no later convolution sees: [N, t, U]."""

    def call(self, window: Any, new: Any) -> Any:
        """Drop as many positions as `new [N, T, U]` has."""
        return window[:, ops.shape(new)[1] :]


class ConvolutionalDecoder(ParallelDecoder):
    """Gated causal convolutions with attention in every layer (Gehring et al. 2017).

    Sequence and step are the same formula, over T positions and over one. The state is the position, int32 [N], and
    the last k − 1 inputs of each convolution, `inputs_i` [N, k − 1, U]. The memory is z, and z + e.

    The alignment [N, S] is the mean of all layers' attentions.

    Args:
        elements: what the target is made of: `Tokens`, `OneHotTokens` or `Vectors`; its vectors are as wide as the
            memory, E.
        memory_size: E of the encoder's memory.
        units: U of the convolutions.
        layers: depth of the stack.
        kernel_size: k, how many positions back each convolution sees, its own included.
        max_positions: how many positions have a vector of their own; those beyond share the last one's.
        dropout: rate on the embedded target, on the input of each convolution and on that of the output layer, in
            training only.
    """

    def __init__(
        self,
        elements: Elements,
        memory_size: int,
        *,
        units: int,
        layers: int,
        kernel_size: int,
        max_positions: int,
        dropout: float = 0.0,
    ) -> None:
        # === Layers ===
        embedding = elements.embedding("target")
        positions = LearnedPositions(max_positions, name="target_positions")
        embedding_dropout = keras.layers.Dropout(dropout, name="target_dropout")
        widen = linear(units, dropout, "decoder_input")
        stack = [_DecoderLayer(units, memory_size, kernel_size, dropout, f"decoder_{i}") for i in range(layers)]
        narrow = linear(memory_size, 0.0, "decoder_output")
        dropped = keras.layers.Dropout(dropout, name="output_dropout")
        to_logits = keras.layers.Dense(elements.size, dtype="float32", name="logits")

        # === Functional Models ===
        memory = keras.Input((None, memory_size), name="memory")
        values = keras.Input((None, memory_size), name="memory_values")
        mask = keras.Input((None,), dtype="bool", name="memory_mask")
        remembered = {"memory": memory, "memory_values": values, "memory_mask": mask}
        state = {"position": keras.Input((), dtype="int32", name="position")}
        for i in range(layers):
            state[f"inputs_{i}"] = keras.Input((kernel_size - 1, units), name=f"inputs_{i}")

        def run(target: Any) -> tuple[Any, dict[str, Any], Any]:
            embedded = embedding_dropout(positions(embedding(target), state["position"]))
            vectors, following, alignments = widen(embedded), {"position": state["position"] + 1}, []
            for i, layer in enumerate(stack):
                vectors, following[f"inputs_{i}"], alignment = layer(
                    vectors, state[f"inputs_{i}"], embedded, list(remembered.values())
                )
                alignments.append(alignment)
            mean = keras.layers.Average()(alignments) if layers > 1 else alignments[0]
            return to_logits(dropped(narrow(vectors))), following, mean

        super().__init__(
            elements,
            (remembered, {**_FirstState(layers, kernel_size - 1, units)(memory), **remembered}),
            state,
            remembered,
            run,
        )


class _DecoderLayer:
    """h = v(conv(x)); d = W h + b + g asks the memory for c; x + (h + c), each sum scaled (sections 3.2 to 3.4)."""

    def __init__(self, units: int, memory_size: int, kernel_size: int, dropout: float, name: str) -> None:
        self.dropout = keras.layers.Dropout(dropout, name=f"{name}_dropout")
        self.convolution = GatedConvolution(units, kernel_size, "valid", dropout, name=name)
        self.latest = _Latest(name=f"{name}_latest")
        self.query = linear(memory_size, 0.0, f"{name}_query")
        self.answer = linear(units, 0.0, f"{name}_answer")
        self.attention = RescaledDotAttention(memory_size, name=f"{name}_attention")
        self.attended_sum = ScaledSum(name=f"{name}_attended_sum")
        self.residual_sum = ScaledSum(name=f"{name}_residual_sum")

    def __call__(self, vectors: Any, past: Any, embedded: Any, memory: list[Any]) -> tuple[Any, Any, Any]:
        """Run T positions after those that `past` holds.

        Args:
            vectors: x, [N, T, U].
            past: the inputs before them, [N, k - 1, U].
            embedded: g, the embedding of the previous output at each position, [N, T, E].
            memory: z [N, S, E], z + e [N, S, E] and the mask [N, S].

        Returns:
            Vectors [N, T, U], the latest k - 1 inputs [N, k - 1, U], and the alignment [N, T, S].
        """
        new = self.dropout(vectors)
        window = ops.concatenate([past, new], axis=1)
        hidden = self.convolution(window)
        context, alignment = self.attention(self.query(hidden) + embedded, *memory)
        attended = self.attended_sum(hidden, self.answer(context))
        return self.residual_sum(attended, vectors), self.latest(window, new), alignment
