"""The decoder with attention inside the recurrence: the previous state asks the memory, the answer feeds the cell."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.attention import Attention
from kerass2s.context import BRIDGES, choose
from kerass2s.decoders.base import Decoder, MaxoutReadout, named_inputs
from kerass2s.elements import Elements
from kerass2s.recurrence import CELLS, STATE_PARTS

__all__ = ["AttentionCell", "AttentionalDecoder"]


@keras.saving.register_keras_serializable("kerass2s")
class AttentionCell(keras.layers.Layer):
    """One step of c_t = attention(d_{t-1}, memory), d_t = cell([y_{t-1}; c_t], d_{t-1}).

    Keras' RNN takes no constants, so keys, memory and mask ride in the state, unchanged.
    """

    def __init__(self, cell: keras.layers.Layer, attention: Attention, memory_size: int, name: str = "attention_cell"):
        super().__init__(name=name)
        self.cell = cell
        self.attention = attention
        own = list(cell.state_size) if isinstance(cell.state_size, list | tuple) else [cell.state_size]
        self.parts = len(own)
        self.state_size = [*own, None, None, None]
        self.output_size = own[0] + memory_size
        self.memory_size = memory_size

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the cell for `[y_{t-1}; c_t]`; the attention is built by whoever made it."""
        self.cell.build((*input_shape[:-1], input_shape[-1] + self.memory_size))
        self.built = True

    def call(self, inputs: Any, states: list[Any], training: bool = False) -> tuple[Any, list[Any]]:
        """Step, `inputs [B, N] -> [d_t; c_t] [B, U + M], states`."""
        output, own, _ = self.attend(inputs, states)
        return output, [*own, *states[self.parts :]]

    def attend(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any], Any]:
        """Step and also return the alignment [B, S]."""
        own, (keys, memory, mask) = list(states[: self.parts]), states[self.parts :]
        context, alignment = self.attention(ops.expand_dims(own[0], 1), keys, memory, mask)
        context = context[:, 0]
        hidden, own = self.cell(ops.concatenate([inputs, context], -1), own)
        return ops.concatenate([hidden, context], -1), own, alignment[:, 0]


@keras.saving.register_keras_serializable("kerass2s")
class _AttentiveStep(keras.layers.Layer):
    """Wraps `AttentionCell.attend`, so that the step graph holds the alignment too."""

    def __init__(self, cell: AttentionCell, name: str = "attentive_step") -> None:
        super().__init__(name=name)
        self.cell = cell

    def build(self, *shapes: Any) -> None:
        """Nothing is left to build: the recurrence built the cell."""
        self.built = True

    def call(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any], Any]:
        """Step, `inputs [B, N] -> output [B, U + M], own states, alignment [B, S]`."""
        return self.cell.attend(inputs, states)


class AttentionalDecoder(Decoder):
    """Attention inside the recurrence, with a maxout readout of (d_t, y_{t-1}, c_t) (Bahdanau, Cho and Bengio 2015).

    Args:
        elements: what the target is made of: `Tokens`, `OneHotTokens` or `Vectors`.
        summary_size: M' of the encoder's summary.
        memory_size: M of the encoder's memory.
        attention: an Attention whose query is d_{t-1}.
        cell: "lstm" or "gru".
        units: U.
        readout_units: width of the maxout readout.
        dropout: rate on the embedding and on the input of the output layer, in training only.
        bridge: "pass", "dense" or "zero".
    """

    def __init__(
        self,
        elements: Elements,
        summary_size: int,
        memory_size: int,
        attention: Attention,
        *,
        cell: str,
        units: int,
        readout_units: int,
        dropout: float = 0.0,
        bridge: str = "dense",
    ) -> None:
        # === Layers ===
        embedding = elements.embedding("target")
        # The layer is made for its cell alone: Keras names the two cells, LSTMCell and GRUCell, in its layers.
        inner = choose("cell", cell, CELLS)(units).cell
        sizes = {f"{part}_0": units for part in STATE_PARTS[cell]}
        attention_cell = AttentionCell(inner, attention, memory_size)
        recurrence = keras.layers.RNN(attention_cell, return_sequences=True, name="recurrence")
        attentive_step = _AttentiveStep(attention_cell)
        to_state = choose("bridge", bridge, BRIDGES)(sizes)
        readout = MaxoutReadout(readout_units)
        embedding_dropout = keras.layers.Dropout(dropout, name="embedding_dropout")
        dropped = keras.layers.Dropout(dropout, name="output_dropout")
        to_logits = keras.layers.Dense(elements.size, dtype="float32", name="logits")

        # === Functional Models ===
        summary = keras.Input((summary_size,), name="summary")
        memory = keras.Input((None, memory_size), name="memory")
        mask = keras.Input((None,), dtype="bool", name="memory_mask")
        state = named_inputs(sizes)
        keys = attention.project(memory)
        keys_input = keras.Input(keys.shape[1:], name="memory_keys")
        remembered = {"memory_keys": keys_input, "memory": memory, "memory_mask": mask}
        first = [*state.values(), keys_input, memory, mask]
        attention(keras.Input((1, units)), keys_input, memory, mask)  # builds its weights before the loop uses them

        target = elements.target(None)
        embedded = embedding_dropout(embedding(target))
        hidden = recurrence(embedded, initial_state=first)
        logits = to_logits(dropped(readout(ops.concatenate([hidden, embedded], -1))))

        one = elements.target()
        embedded = embedding_dropout(embedding(one))
        hidden, following, alignment = attentive_step(embedded, first)
        stepped = to_logits(dropped(readout(ops.concatenate([hidden, embedded], -1))))
        super().__init__(
            start=(
                {"summary": summary, "memory": memory, "memory_mask": mask},
                {**to_state(summary), "memory_keys": keys, "memory": memory, "memory_mask": mask},
            ),
            sequence=({elements.target_name: target, **state, **remembered}, logits),
            step=(
                {elements.target_name: one, **state, **remembered},
                {"prediction": stepped, **dict(zip(sizes, following, strict=True)), "alignment": alignment},
            ),
            target_name=elements.target_name,
            state_names=list(sizes),
            extra_layers=[to_state],
        )
