"""Diagrams drawn from the code: a model's layers and what flows between them, as Mermaid text that GitHub renders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras

from kerass2s.seq2seq import Seq2Seq

__all__ = ["mermaid"]

# Layers that change nothing when a model is used; the picture is clearer without them.
HIDDEN = (keras.layers.Dropout, keras.layers.Identity)


def mermaid(model: Seq2Seq) -> str:
    """Draw encoder and decoder (teacher forced) as one Mermaid flowchart.

    Boxes are layers with their class, round boxes are inputs and the output; an arrow is a tensor. Operations without
    a name of their own (a sum, a concatenation) are left out, and their arrows joined.
    """
    chart = _Chart()
    chart.begin("encoder")
    context = chart.trace(model.encoder, {})
    chart.begin("decoder")
    start = chart.trace(model.decoder._graphs.start, context)
    last = chart.trace(model.decoder, start)
    chart.finish("prediction", set().union(*last.values()))
    return str(chart)


class _Chart:
    """The lines of a flowchart, and a short id for each layer, the same wherever that layer is met."""

    def __init__(self) -> None:
        self._lines = ["flowchart TD"]
        self._boxes: dict[int, str] = {}
        self._edges: dict[tuple[str, str], None] = {}
        self._open = False

    def __str__(self) -> str:
        return "\n".join([*self._lines, *(f"    {one} --> {other}" for one, other in self._edges)]) + "\n"

    def begin(self, name: str) -> None:
        """Start the box of one half of the model."""
        self._close()
        self._lines.append(f"    subgraph {name}")
        self._open = True

    def finish(self, name: str, sources: Iterable[str]) -> None:
        """End with the output."""
        self._close()
        self._lines.append(f"    {name}([{name}])")
        self._edges.update({(source, name): None for source in sorted(sources)})

    def _close(self) -> None:
        if self._open:
            self._lines.append("    end")
        self._open = False

    def trace(self, graph: keras.Model, given: dict[str, set[str]]) -> dict[str, set[str]]:
        """Draw a Functional graph.

        Args:
            graph: inputs and outputs are dicts or single tensors.
            given: the boxes that an input comes from, by the input's name; an input that is not there gets its own.

        Returns:
            The boxes that each output comes from, by the output's name.
        """
        sources: dict[int, set[str]] = {}
        for node in _nodes(graph):
            layer = node.operation
            before: set[str] = set().union(*(sources[id(tensor)] for tensor in node.input_tensors))
            if isinstance(layer, keras.layers.InputLayer):
                here = given[layer.name] if layer.name in given else {self._box(layer, f"([{layer.name}])")}
            elif isinstance(layer, keras.layers.Layer) and not isinstance(layer, HIDDEN):
                here = {self._box(layer, f'["{layer.name}<br/>{_kind(layer)}"]')}
                self._edges.update({(source, box): None for source in sorted(before) for box in here})
            else:
                here = before
            # What only tells padding from the rest is everywhere, and would hide what flows.
            sources.update({id(t): set() if t.dtype == "bool" else here for t in node.outputs})
        outputs = graph.output if isinstance(graph.output, dict) else {"prediction": graph.output}
        return {name: sources[id(tensor)] for name, tensor in outputs.items()}

    def _box(self, layer: keras.layers.Layer, shape: str) -> str:
        if id(layer) not in self._boxes:
            self._boxes[id(layer)] = f"n{len(self._boxes)}"
            self._lines.append(f"        {self._boxes[id(layer)]}{shape}")
        return self._boxes[id(layer)]


def _kind(layer: keras.layers.Layer) -> str:
    """Name a layer's class; one that only runs another is named by what it runs."""
    if isinstance(layer, keras.layers.Bidirectional):
        return f"Bidirectional {type(layer.forward_layer).__name__}"
    if isinstance(layer, keras.layers.RNN) and not isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
        return f"RNN of {type(layer.cell).__name__}"
    return type(layer).__name__


def _nodes(graph: keras.Model) -> Iterator[Any]:
    """Yield the nodes of a Functional graph, each after those it reads."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        yield from graph._nodes_by_depth[depth]
