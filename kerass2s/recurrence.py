"""A stack of LSTM or GRU layers that runs over a whole sequence or one step at a time, with the same weights."""

from __future__ import annotations

from typing import Any

import keras

from kerass2s.context import choose

__all__ = ["CELLS", "RecurrentStack"]

CELLS: dict[str, type[keras.layers.Layer]] = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
STATE_PARTS = {"lstm": ("h", "c"), "gru": ("h",)}


class RecurrentStack:
    """Stacked recurrent layers of a decoder; residual connections from the second layer on, dropout between layers.

    `sizes` names every state tensor ("h_0", "c_0", "h_1", …) and gives its width U, all batch first.
    """

    def __init__(self, cell: str, units: int, layers: int, dropout: float, residual: bool) -> None:
        make = choose("cell", cell, CELLS)
        self.parts = STATE_PARTS[cell]
        self.residual = residual
        self.layers = [make(units, return_sequences=True, name=f"{cell}_{i}") for i in range(layers)]
        for layer in self.layers:
            layer.cell.name = f"{layer.name}_cell"  # the step's graph holds the cells, and its names must differ
        self.dropouts = [keras.layers.Dropout(dropout, name=f"{cell}_{i}_dropout") for i in range(layers)]
        self.sizes = {f"{part}_{i}": units for i in range(layers) for part in self.parts}

    def sequence(self, inputs: Any, state: dict[str, Any]) -> Any:
        """Run over time, `inputs [B, T, N] -> outputs [B, T, U]`, from the given first state."""
        for i, layer in enumerate(self.layers):
            first = [state[f"{part}_{i}"] for part in self.parts]
            outputs = layer(self.dropouts[i](inputs), initial_state=first)
            inputs = inputs + outputs if self.residual and i > 0 else outputs
        return inputs

    def step(self, inputs: Any, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Run one position, `inputs [B, N] -> output [B, U], next state`; the cells are the layers' own."""
        following = {}
        for i, layer in enumerate(self.layers):
            names = [f"{part}_{i}" for part in self.parts]
            outputs, new = layer.cell(self.dropouts[i](inputs), [state[name] for name in names])
            following.update(zip(names, new, strict=True))
            inputs = inputs + outputs if self.residual and i > 0 else outputs
        return inputs, following
