"""A stack of LSTM or GRU layers that runs over a whole sequence or one step at a time, with the same weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.context import choose
from kerass2s.dropout import SEED, Dropping, HeldGRUCell, HeldLSTMCell, drop
from kerass2s.fused import GRU, LSTM

__all__ = ["CELLS", "RecurrentStack"]

CELLS: dict[str, type[keras.layers.Layer]] = {"lstm": LSTM, "gru": GRU}
HELD_CELLS: dict[str, type[keras.layers.Layer]] = {"lstm": HeldLSTMCell, "gru": HeldGRUCell}
STATE_PARTS = {"lstm": ("h", "c"), "gru": ("h",)}


class RecurrentStack:
    """Stacked recurrent layers of a decoder, with dropout between them.

    `sizes` names every state tensor ("h_0", "c_0", "h_1", …) and gives its width U, all batch first; `top` names the
    last layer's h. Where the dropout holds masks for a sequence, `dropout_seed` stands among the states it is given.

    Args:
        cell: "lstm" or "gru".
        units: U.
        layers: how many.
        dropout: rate on the input of each layer, in training only; or a `Dropping`, which says more.
        residual: the first layer whose input is added to its output, counted from 0; 0 for none, since the lowest
            layer's input is of another size.
        below: how many layers another stack has below this one; the count goes on from there.
    """

    def __init__(
        self,
        cell: str,
        units: int,
        layers: int = 1,
        dropout: float | Dropping = 0.0,
        residual: int = 0,
        below: int = 0,
    ) -> None:
        make = choose("cell", cell, CELLS)
        self.dropping = Dropping.of(dropout)
        self.units = units
        self.parts = STATE_PARTS[cell]
        self.residual = residual
        self.numbers = range(below, below + layers)
        options = [{"return_sequences": True, "name": f"{cell}_{i}"} for i in self.numbers]
        if self.dropping.recurrent:
            held = (HELD_CELLS[cell](units, self.dropping.recurrent) for _ in self.numbers)
            self.layers = [keras.layers.RNN(one, **each) for one, each in zip(held, options, strict=True)]
        else:
            self.layers = [make(units, **each) for each in options]
        for layer in self.layers:
            layer.cell.name = f"{layer.name}_cell"  # the step's graph holds the cells, and its names must differ
        self.dropouts = [self.dropping.layer(f"{cell}_{i}_dropout") for i in self.numbers]
        self.sizes = {f"{part}_{i}": units for i in self.numbers for part in self.parts}
        self.top = f"h_{self.numbers[-1]}"

    def sequence(self, inputs: Any, state: dict[str, Any], along: Any = None) -> Any:
        """Run over time, `inputs [B, T, N] -> outputs [B, T, U]`, from the given first state.

        `along [B, T, M]`, if any, stands beside the input of every layer.
        """
        for i, layer, dropout in zip(self.numbers, self.layers, self.dropouts, strict=True):
            first = [state[name] for name in self._names(i)]
            outputs = layer(drop(dropout, _beside(inputs, along), state), initial_state=first)
            inputs = inputs + outputs if 0 < self.residual <= i else outputs
        return inputs

    def step(self, inputs: Any, state: dict[str, Any], along: Any = None) -> tuple[Any, dict[str, Any]]:
        """Run one position, `inputs [B, N], along [B, M] -> output [B, U], next state`; the cells are the layers'."""
        following = {}
        for i, layer, dropout in zip(self.numbers, self.layers, self.dropouts, strict=True):
            names = self._names(i)
            outputs, new = layer.cell(drop(dropout, _beside(inputs, along), state), [state[name] for name in names])
            following.update(zip(names, new, strict=True))
            inputs = inputs + outputs if 0 < self.residual <= i else outputs
        following.pop(SEED, None)
        return inputs, following

    def _names(self, i: int) -> list[str]:
        """Name what a layer's cell carries; one that holds a mask carries the seed behind its state."""
        return [f"{part}_{i}" for part in self.parts] + [SEED] * bool(self.dropping.recurrent)


def _beside(inputs: Any, along: Any) -> Any:
    return inputs if along is None else ops.concatenate([inputs, along], axis=-1)
