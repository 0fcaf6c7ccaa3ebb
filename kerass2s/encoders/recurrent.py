"""The recurrent encoder: LSTM or GRU, one or both directions, stacked, as a Functional keras.Model."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.context import SUMMARIES, choose
from kerass2s.dropout import Dropping
from kerass2s.elements import Elements
from kerass2s.recurrence import CELLS

__all__ = ["RecurrentEncoder", "Reverse"]


@keras.saving.register_keras_serializable("kerass2s")
class Reverse(keras.layers.Layer):
    """Turns the real elements of each row round and leaves the padding where it is: `[7, 8, 9, 0] -> [9, 8, 7, 0]`."""

    def call(self, elements: Any, mask: Any) -> Any:
        """Reverse `elements [B, S, ...]` within each row's length, which `mask [B, S]` tells."""
        mask = ops.cast(mask, "int32")
        length = ops.sum(mask, axis=1, keepdims=True)
        position = ops.cumsum(ops.ones_like(mask), axis=1) - 1
        index = ops.where(position < length, length - 1 - position, position)
        for _ in elements.shape[2:]:
            index = ops.expand_dims(index, -1)
        return ops.take_along_axis(elements, index, axis=1)


class RecurrentEncoder(keras.Model):
    """Reads a source into `memory [B, S, M]`, `memory_mask [B, S]` and `summary [B, M']`.

    M is `units`, or twice that if the top layer reads both ways. Padding is masked: it changes nothing.

    Args:
        elements: what the source is made of: `Tokens`, `OneHotTokens` or `Vectors`.
        cell: "lstm" or "gru".
        units: U of one direction.
        layers: depth of the stack.
        bidirectional: read each layer in both directions and put the two side by side.
        upper_layers: more layers above those, which read forwards only (Wu et al. 2016).
        dropout: rate on the input of each layer, in training only; or a `Dropping`, which says more. Its recurrent
            masks are those of Keras: one for each gate, the same at all steps of a sequence.
        residual: the first layer whose input is added to its output, counted from 0; 0 for none.
        summary: c = f_c({e}): a name of `SUMMARIES`, or "state" (the final states of all layers).
        reverse: read the source from its end (Sutskever, Vinyals and Le 2014). The memory is in the source's order.

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
        upper_layers: int = 0,
        dropout: float | Dropping = 0.0,
        residual: int = 0,
        summary: str = "last",
        reverse: bool = False,
    ) -> None:
        choose("summary", summary, {**SUMMARIES, "state": None})
        make = choose("cell", cell, CELLS)
        # === Layers ===
        embedding = elements.embedding("source")
        dropping = Dropping.of(dropout)
        options = {"return_sequences": True, "return_state": True, "recurrent_dropout": dropping.recurrent}
        stack, dropouts = [], []
        for i in range(layers + upper_layers):
            layer = make(units, **options, name=f"{cell}_{i}")
            both = bidirectional and i < layers
            stack.append(keras.layers.Bidirectional(layer, name=f"bidirectional_{i}") if both else layer)
            dropouts.append(dropping.reader(f"dropout_{i}"))

        # === Functional Model ===
        inputs, source, mask = elements.source()
        encodings, states = embedding(Reverse(name="reverse")(source, mask) if reverse else source), []
        for i, layer in enumerate(stack):
            outputs, *final = layer(dropouts[i](encodings), mask=mask)
            encodings = encodings + outputs if 0 < residual <= i else outputs
            states.extend(final)
        # Masked positions hold a copy of their neighbour; zeros there make every later sum right by itself.
        memory = encodings * ops.expand_dims(ops.cast(mask, encodings.dtype), -1)
        if summary == "state":
            context = ops.concatenate(states, axis=-1) if len(states) > 1 else states[0]
        else:
            context = SUMMARIES[summary](name="summary")(memory, mask)
        super().__init__(
            inputs=inputs,
            outputs={
                "memory": Reverse(name="restore")(memory, mask) if reverse else memory,
                "memory_mask": mask,
                "summary": context,
            },
            name="encoder",
        )
