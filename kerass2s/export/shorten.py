"""Fewer nodes for the same values: what tf2onnx writes at length, an ONNX graph says in one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kerass2s.export.describe import needed


def shorten(model: Any) -> None:
    """Rewrites the graphs of an `onnx.ModelProto`, in place, without a change to what they compute.

    ONNX counts a negative index from the end by itself; it multiplies a tensor of any rank by a matrix; what a loop
    writes into a buffer at the place of its step, and never reads, it collects instead.
    """
    inferred = needed("onnx", "onnx").shape_inference.infer_shapes(model).graph
    _shorten(model.graph, dict(_ranks(inferred)), {}, {})


def _ranks(graph: Any) -> Iterator[tuple[str, int]]:
    """Yields the name and the number of axes of each value that has one, those of inner graphs too."""
    for value in [*graph.input, *graph.value_info]:
        if value.type.tensor_type.HasField("shape"):
            yield value.name, len(value.type.tensor_type.shape.dim)
    for node in graph.node:
        for body in _bodies(node):
            yield from _ranks(body)


def _bodies(node: Any) -> list[Any]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _shorten(graph: Any, ranks: Mapping[str, int], made: Mapping[str, Any], constants: Mapping[str, Any]) -> None:
    """Rewrites one graph; `made` and `constants` are the nodes, by what they make, and the constants around it."""
    constants = {**constants, **{table.name: table for table in graph.initializer}}
    view = _View({**made, **{name: node for node in graph.node for name in node.output}}, constants, ranks)
    for node in list(graph.node):
        if node.op_type == "Loop":
            _collect(graph, node, *_bodies(node), view)
        for body in _bodies(node):
            _shorten(body, ranks, view.made, constants)
    for node in graph.node:
        _index_from_the_end(node, view)
        _multiply_any_rank(node, view)
        _leave_axis(node, view)
    _drop_unused(graph)


class _View:
    """What a graph can read.

    Args:
        made: the node that makes a value.
        constants: the initializer of a name.
        ranks: the number of axes of a value.
    """

    def __init__(self, made: Mapping[str, Any], constants: Mapping[str, Any], ranks: Mapping[str, int]) -> None:
        self.made = made
        self.ranks = ranks
        self.constants = constants

    def maker(self, name: str, kind: str, through: str = "") -> Any:
        """Returns the node of a kind that makes a value, by way of any nodes `through`, or None."""
        node = self.made.get(name)
        while node is not None and node.op_type == through:
            node = self.made.get(node.input[0])
        return node if node is not None and node.op_type == kind else None

    def constant(self, name: str) -> list[float] | float | None:
        """Returns the numbers of a small constant, or None."""
        table = self.constants.get(name)
        if table is None or np.prod(table.dims) > 8:
            return None
        return needed("onnx", "onnx").numpy_helper.to_array(table).tolist()

    def shape(self, name: str) -> list[int] | None:
        """Returns the shape of a constant, or None."""
        table = self.constants.get(name)
        return None if table is None else list(table.dims)


def _index_from_the_end(node: Any, view: _View) -> None:
    """`Gather(x, Where(i < 0, i + n, i))` becomes `Gather(x, i)`."""
    if node.op_type != "Gather" or (chosen := view.maker(node.input[1], "Where")) is None:
        return
    negative, added = view.maker(chosen.input[0], "Less"), view.maker(chosen.input[1], "Add")
    index, axis = chosen.input[2], next((each.i for each in node.attribute if each.name == "axis"), 0)
    if negative is None or added is None or {negative.input[0], added.input[0]} != {index}:
        return
    size = (view.shape(node.input[0]) or {axis: None})[axis]
    if view.constant(negative.input[1]) == 0 and size is not None and view.constant(added.input[1]) == size:
        node.input[1] = index


def _multiply_any_rank(node: Any, view: _View) -> None:
    """`Reshape(MatMul(Reshape(x, [-1, K]), w), [*shape of x without K, U])` becomes `MatMul(x, w)`."""
    product = view.maker(node.input[0], "MatMul") if node.op_type == "Reshape" else None
    flat = None if product is None else view.maker(product.input[0], "Reshape")
    weights = None if flat is None else view.shape(product.input[1])
    if weights is None or len(weights) != 2 or view.constant(flat.input[1]) != [-1, weights[0]]:
        return
    joined = view.maker(node.input[1], "Concat", through="Cast")
    if joined is None or len(joined.input) != 2 or view.constant(joined.input[1]) != [weights[1]]:
        return
    axes = view.maker(joined.input[0], "Gather")
    shape = None if axes is None else view.maker(axes.input[0], "Shape", through="Cast")
    rank = view.ranks.get(flat.input[0])
    if shape is None or shape.input[0] != flat.input[0] or rank is None:
        return
    if view.constant(axes.input[1]) == [*range(rank - 1)]:
        node.op_type = "MatMul"
        node.input[:] = [flat.input[0], product.input[1]]


def _leave_axis(node: Any, view: _View) -> None:
    """What reads `Unsqueeze(Squeeze(x))` of the same axes reads x."""
    for place, name in enumerate(node.input):
        outer = view.maker(name, "Unsqueeze")
        inner = None if outer is None else view.maker(outer.input[0], "Squeeze")
        if inner is not None and len(inner.input) == 2:
            axes = view.constant(inner.input[1])
            if axes is not None and axes == view.constant(outer.input[1]):
                node.input[place] = inner.input[0]


# === Buffers ===


def _collect(graph: Any, loop: Any, body: Any, view: _View) -> None:
    """Lets a loop collect what it writes at each step into a buffer `[N, L, ...]` that it does not read.

    The body says `Where(places == t, value, buffer)`, where `places` counts from 0 to L, t counts the steps and `value`
    is [N, 1, ...]. What is beyond the steps taken is what the buffer was filled with.
    """
    own = {name: node for node in body.node for name in node.output}
    tables = {table.name: table for table in body.initializer}
    inside = _View({**view.made, **own}, {**view.constants, **tables}, view.ranks)
    reads = Counter(_reads(body))
    for index in reversed(range(len(loop.input) - 2)):
        buffer = body.input[index + 2].name
        written = inside.maker(body.output[index + 1].name, "Where")
        if written is None or written.input[2] != buffer or reads[buffer] != 1:
            continue
        filled, length = view.maker(loop.input[index + 2], "Expand"), _places(loop, body, written.input[0], inside)
        if filled is not None and length is not None:
            _take_out(graph, loop, body, index, written.input[1], (filled.input[0], *length))


def _places(loop: Any, body: Any, name: str, inside: _View) -> tuple[str, int] | None:
    """Returns L and the rank of a buffer, if a condition is `places == t`."""
    here = inside.maker(name, "Equal")
    places = None if here is None else inside.maker(here.input[0], "Reshape")
    counted = None if places is None else inside.maker(places.input[0], "Range")
    if counted is None or [inside.constant(counted.input[each]) for each in (0, 2)] != [0, 1]:
        return None
    shape = inside.constant(places.input[1])
    if shape is None or shape[:2] != [1, -1] or set(shape[2:]) - {1}:
        return None
    carried = [value.name for value in body.input[2:]]
    if here.input[1] not in carried:
        return None
    place = carried.index(here.input[1])
    more = inside.maker(body.output[place + 1].name, "Add")
    if more is None or more.input[0] != here.input[1] or inside.constant(more.input[1]) != 1:
        return None
    return (counted.input[1], len(shape)) if inside.constant(loop.input[place + 2]) == 0 else None


def _take_out(graph: Any, loop: Any, body: Any, index: int, value: str, buffer: tuple[str, str, int]) -> None:
    """Makes what is carried at an index something that is collected, and after the loop what it was before."""
    onnx = needed("onnx", "onnx")
    fill, length, rank = buffer
    after, kept, copy = loop.output[index], f"{loop.output[index]}_collected", f"{loop.output[index]}_each"
    kind = body.input[index + 2].type.tensor_type.elem_type
    del loop.input[index + 2], loop.output[index], body.input[index + 2], body.output[index + 1]
    loop.output.append(kept)
    body.node.append(onnx.helper.make_node("Identity", [value], [copy]))
    body.output.append(onnx.helper.make_tensor_value_info(copy, kind, [None] * rank))
    make = onnx.helper.make_node
    parts = ("values", "rows", "steps", "size", "lack", "pads", "none", "axis", "second")
    names = {each: f"{after}_{each}" for each in parts}
    turned = [1, 0, *range(2, rank)]
    nodes = [
        make("Squeeze", [kept, names["second"]], [names["values"]]),
        make("Transpose", [names["values"]], [names["rows"]], perm=turned),
        make("Shape", [kept], [names["steps"]], start=0, end=1),
        make("Cast", [length], [names["size"]], to=onnx.TensorProto.INT64),
        make("Sub", [names["size"], names["steps"]], [names["lack"]]),
        make("Concat", [names["none"], names["lack"], *[names["axis"]] * (rank - 2)], [names["pads"]], axis=0),
        make("Pad", [names["rows"], names["pads"], fill], [after]),
    ]
    tables = {"none": np.zeros(rank + 1, np.int64), "axis": np.zeros(1, np.int64), "second": np.array([2])}
    for key, table in tables.items():
        graph.initializer.append(onnx.numpy_helper.from_array(table, names[key]))
    place = list(graph.node).index(loop)
    for node in reversed(nodes):
        graph.node.insert(place + 1, node)


# === What is left ===


def _reads(graph: Any) -> Iterator[str]:
    """Yields the name of each value each time that it is read, by inner graphs too."""
    for node in graph.node:
        yield from node.input
        for body in _bodies(node):
            yield from _reads(body)
    yield from (value.name for value in graph.output)


def _drop_unused(graph: Any) -> None:
    """Removes nodes and constants that nothing reads."""
    wanted = {value.name for value in graph.output}
    inputs = {value.name for value in graph.input}
    for node in reversed(list(graph.node)):
        if not wanted & set(node.output):
            graph.node.remove(node)
            continue
        wanted |= set(node.input)
        for body in _bodies(node):
            wanted |= set(_reads(body))
    for table in list(graph.initializer):
        if table.name not in wanted | inputs:
            graph.initializer.remove(table)
