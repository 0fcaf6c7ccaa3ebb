"""The recurrent encoder: LSTM or GRU, one or both directions, stacked, as a Functional keras.Model."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.context import SUMMARIES, choose
from kerass2s.elements import Elements
from kerass2s.recurrence import CELLS
from kerass2s.text import PAD_ID

__all__ = ["RecurrentEncoder", "ReverseSource"]


@keras.saving.register_keras_serializable("kerass2s")
class ReverseSource(keras.layers.Layer):
    """Turns the real ids of each row round and leaves the padding where it is: `[7, 8, 9, 0] -> [9, 8, 7, 0]`."""

    def call(self, source_ids: Any) -> Any:
        """Reverse `source_ids [B, S]` within each row's length."""
        mask = ops.cast(ops.not_equal(source_ids, PAD_ID), "int32")
        length = ops.sum(mask, axis=1, keepdims=True)
        position = ops.cumsum(ops.ones_like(source_ids), axis=1) - 1
        return ops.take_along_axis(source_ids, ops.where(position < length, length - 1 - position, position), axis=1)


class RecurrentEncoder(keras.Model):
    """Reads a source into `memory [B, S, M]`, `memory_mask [B, S]` and `summary [B, M']`.

    M is `units`, or twice that with both directions. Padding is masked: it changes nothing.

    Args:
        elements: what the source is made of: `Tokens`, `OneHotTokens` or `Vectors`.
        cell: "lstm" or "gru".
        units: U of one direction.
        layers: depth of the stack.
        bidirectional: read each layer in both directions and put the two side by side.
        dropout: rate on the input of each layer, in training only.
        residual: add each layer's input to its output, from the second layer on.
        summary: c = f_c({e}): "last", "mean", "max", "both_ends", or "state" (the final states of all layers).
        reverse: read a source of tokens from its end (Sutskever, Vinyals and Le 2014).

    Raises:
        ConfigError: an unknown cell or summary.
    """

    def __init__(
        self,
        elements: Elements,
        *,
        cell: str,
        units: int,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
        summary: str = "last",
        reverse: bool = False,
    ) -> None:
        choose("summary", summary, {**SUMMARIES, "state": None})
        make = choose("cell", cell, CELLS)
        # === Layers ===
        embedding = elements.embedding("source")
        stack, dropouts = [], []
        for i in range(layers):
            layer = make(units, return_sequences=True, return_state=True, name=f"{cell}_{i}")
            stack.append(keras.layers.Bidirectional(layer, name=f"bidirectional_{i}") if bidirectional else layer)
            dropouts.append(keras.layers.Dropout(dropout, name=f"dropout_{i}"))

        # === Functional Model ===
        inputs, source, mask = elements.source()
        encodings, states = embedding(ReverseSource(name="reverse")(source) if reverse else source), []
        for i, layer in enumerate(stack):
            outputs, *final = layer(dropouts[i](encodings), mask=mask)
            encodings = encodings + outputs if residual and i > 0 else outputs
            states.extend(final)
        # Masked positions hold a copy of their neighbour; zeros there make every later sum right by itself.
        memory = encodings * ops.expand_dims(ops.cast(mask, encodings.dtype), -1)
        if summary == "state":
            context = ops.concatenate(states, axis=-1) if len(states) > 1 else states[0]
        else:
            context = SUMMARIES[summary](name="summary")(memory, mask)
        super().__init__(
            inputs=inputs,
            outputs={"memory": memory, "memory_mask": mask, "summary": context},
            name="encoder",
        )
