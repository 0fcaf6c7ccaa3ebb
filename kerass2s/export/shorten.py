"""Fewer nodes for the same values: what tf2onnx writes at length, an ONNX graph says in one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from kerass2s.export.describe import needed
from kerass2s.export.strict import FAR


def shorten(model: Any) -> None:
    """Rewrites the graphs of an `onnx.ModelProto`, in place, without a change to what they compute.

    ONNX counts a negative index from the end by itself; it multiplies a tensor of any rank by a matrix; a sum of two
    products is one product; a slice of all there is, and all parts of what was split, are what was there before; the
    rows of a source that its beams share are multiplied by all of them at once, and not once copied for each; what a
    loop writes into a buffer at the place of its step, and never reads, it collects instead.
    """
    inferred = needed("onnx", "onnx").shape_inference.infer_shapes(model).graph
    _shorten(model.graph, _View({}, {}, dict(_sizes(inferred)), Counter(_reads(model.graph))))


def _sizes(graph: Any) -> Iterator[tuple[str, list[int]]]:
    """Yields the name and the shape, 0 where it is not known, of each value that has one, those of inner graphs too."""
    for value in [*graph.input, *graph.value_info, *graph.output]:
        if value.type.tensor_type.HasField("shape"):
            yield value.name, [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    for node in graph.node:
        for body in _bodies(node):
            yield from _sizes(body)


def _bodies(node: Any) -> list[Any]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _shorten(graph: Any, outside: _View) -> None:
    """Rewrites one graph, which stands in another of which that much can be read."""
    view = outside.inside(graph)
    for node in list(graph.node):
        if node.op_type == "Loop":
            _share_among_beams(graph, *_bodies(node), view)
            _collect(graph, node, *_bodies(node), view)
        for body in _bodies(node):
            _shorten(body, view)
    for node in list(graph.node):
        _index_from_the_end(node, view)
        _multiply_any_rank(node, view)
        _leave_axis(node, view)
        _leave_whole(node, view)
        _multiply_once(graph, node, view)
    _drop_unused(graph)


class _View:
    """What a graph can read.

    Args:
        made: the node that makes a value.
        constants: the initializer of a name.
        sizes: the shape of a value, 0 where it is not known.
        reads: how often a value of the whole model is read.
    """

    def __init__(
        self,
        made: Mapping[str, Any],
        constants: Mapping[str, Any],
        sizes: Mapping[str, list[int]],
        reads: Mapping[str, int],
    ) -> None:
        self.made = made
        self.constants = constants
        self.sizes = sizes
        self.reads = reads

    def inside(self, graph: Any) -> _View:
        """Returns what a graph within can read."""
        made = {name: node for node in graph.node for name in node.output}
        constants = {table.name: table for table in graph.initializer}
        return _View({**self.made, **made}, {**self.constants, **constants}, self.sizes, self.reads)

    def maker(self, name: str, kind: str, through: str = "") -> Any:
        """Returns the node of a kind that makes a value, by way of any nodes `through`, or None."""
        node = self.made.get(name)
        while node is not None and node.op_type == through:
            node = self.made.get(node.input[0])
        return node if node is not None and node.op_type == kind else None

    def rank(self, name: str) -> int | None:
        """Returns the number of axes of a value, or None."""
        return len(self.sizes[name]) if name in self.sizes else None

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
    index, axis = chosen.input[2], _axis(node)
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
    rank = view.rank(flat.input[0])
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


def _leave_whole(node: Any, view: _View) -> None:
    """What reads a slice of all of x, or the parts of x side by side again, reads x."""
    for place, name in enumerate(node.input):
        part = view.maker(name, "Slice")
        if part is not None and _is_whole(part, view):
            node.input[place] = part.input[0]
        joined = view.maker(name, "Concat")
        parted = None if joined is None else view.maker(joined.input[0], "Split")
        if parted is not None and list(joined.input) == list(parted.output) and _axis(joined) == _axis(parted):
            node.input[place] = parted.input[0]


def _is_whole(part: Any, view: _View) -> bool:
    """Tells whether a slice goes from the first to the last element of every axis, by steps of one."""
    begins, ends, *more = (view.constant(name) for name in part.input[1:])
    if not isinstance(ends, list) or min(ends, default=0) < FAR:
        return False
    steps = more[1] if len(more) > 1 else [1] * len(ends)
    return (begins, steps) == ([0] * len(ends), [1] * len(ends))


def _axis(node: Any) -> int:
    return next((each.i for each in node.attribute if each.name == "axis"), 0)


def _multiply_once(graph: Any, node: Any, view: _View) -> None:
    """`Add(MatMul(x, v), MatMul(y, w))` of rows x and y becomes `MatMul(Concat(x, y), Concat(v, w))`.

    So does a recurrent layer with its input and its state. Only where nothing else reads the products and the weights.
    """
    products = [view.maker(name, "MatMul") for name in node.input] if node.op_type == "Add" else [None]
    if None in products or len(set(node.input)) < 2:
        return
    rows, weights = zip(*(product.input for product in products), strict=True)
    if {view.rank(name) for name in rows} != {2} or any(len(view.shape(name) or []) != 2 for name in weights):
        return
    if any(view.reads[name] != 1 for name in (*node.input, *weights)):
        return
    onnx = needed("onnx", "onnx")
    joint, (first, second) = f"{node.output[0]}_joint", (view.constants[name] for name in weights)
    both = np.concatenate([onnx.numpy_helper.to_array(first), onnx.numpy_helper.to_array(second)])
    first.CopyFrom(onnx.numpy_helper.from_array(both, weights[0]))
    graph.node.insert(list(graph.node).index(node), onnx.helper.make_node("Concat", rows, [joint], axis=1))
    node.op_type = "MatMul"
    node.input[:] = [joint, weights[0]]


# === Beams ===


def _share_among_beams(graph: Any, body: Any, view: _View) -> None:
    """Lets the K beams of a source be multiplied by the one matrix that they share.

    A loop's `MatMul(x [B K, 1, P], y [B K, P, Q])`, where outside y is `Gather(z [B, P, Q], [0, 0, ..., 1, 1, ...])` or
    the transpose of that, becomes one of `[B, K, P]` and z. Nothing is left that copies z.
    """
    onnx, inside = needed("onnx", "onnx"), view.inside(body)
    for node in list(body.node):
        own = node.op_type == "MatMul" and inside.sizes.get(node.input[0], [])
        if not own or len(own) != 3 or own[1] != 1 or (shared := _shared(graph, node.input[1], view)) is None:
            continue
        matrix, beams = shared
        grouped, product, place = f"{node.output[0]}_grouped", f"{node.output[0]}_shared", list(body.node).index(node)
        rows, group = (f"{node.output[0]}_{name}" for name in ("rows", "group"))
        # A size of 0 is that of what is reshaped.
        for name, sizes in ((group, [-1, beams, 0]), (rows, [-1, 1, 0])):
            body.initializer.append(onnx.numpy_helper.from_array(np.array(sizes, np.int64), name))
        body.node.insert(place, onnx.helper.make_node("Reshape", [node.input[0], group], [grouped]))
        body.node.insert(place + 2, onnx.helper.make_node("Reshape", [product, rows], list(node.output)))
        node.input[:] = [grouped, matrix]
        node.output[:] = [product]


def _shared(graph: Any, name: str, view: _View) -> tuple[str, int] | None:
    """Returns what each K rows of a value share, made in the graph if need be, and K; None if they share nothing."""
    turned = view.maker(name, "Transpose")
    copied = view.maker(name if turned is None else turned.input[0], "Gather")
    rows = None if copied is None or _axis(copied) else view.maker(copied.input[1], "Div")
    counted = None if rows is None else view.maker(rows.input[0], "Range")
    total = None if counted is None else view.maker(counted.input[1], "Mul")
    if total is None or [view.constant(counted.input[each]) for each in (0, 2)] != [0, 1]:
        return None
    beams = view.constant(rows.input[1])
    if not isinstance(beams, int) or beams not in [view.constant(each) for each in total.input]:
        return None
    if turned is None:
        return copied.input[0], beams
    onnx, once = needed("onnx", "onnx"), f"{name}_once"
    if onnx.helper.get_node_attr_value(turned, "perm")[0] != 0:
        return None
    if not any(once in node.output for node in graph.node):
        node = onnx.helper.make_node("Transpose", [copied.input[0]], [once])
        node.attribute.extend(turned.attribute)
        graph.node.insert(list(graph.node).index(turned), node)
    return once, beams


# === Buffers ===


class _Buffer(NamedTuple):
    """What a loop writes into: the names of what it is filled with, of its shape [N, L, ...] and of L; its rank."""

    fill: str
    shape: str
    length: str
    rank: int


def _collect(graph: Any, loop: Any, body: Any, view: _View) -> None:
    """Lets a loop collect what it writes at each step into a buffer `[N, L, ...]` that it does not read.

    The body says `Where(places == t, value, buffer)`, where `places` counts from 0 to L, t counts the steps and `value`
    is [N, 1, ...]. What is beyond the steps taken is what the buffer was filled with.
    """
    inside, reads = view.inside(body), Counter(_reads(body))
    for index in reversed(range(len(loop.input) - 2)):
        buffer = body.input[index + 2].name
        written = inside.maker(body.output[index + 1].name, "Where")
        if written is None or written.input[2] != buffer or reads[buffer] != 1:
            continue
        filled, length = view.maker(loop.input[index + 2], "Expand"), _places(loop, body, written.input[0], inside)
        if filled is not None and length is not None:
            _take_out(graph, loop, body, index, _in_a_list(written.input[1], inside), _Buffer(*filled.input, *length))


def _in_a_list(value: str, inside: _View) -> tuple[str, list[str]]:
    """Returns the operator, and what it reads first, that makes a list of `value` [N, 1, ...]."""
    single = inside.maker(value, "Unsqueeze")
    if single is not None and inside.rank(single.input[0]) == 1:
        return "Identity", [single.input[0]]
    return "Reshape", [value]


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


def _take_out(graph: Any, loop: Any, body: Any, index: int, listed: tuple[str, list[str]], buffer: _Buffer) -> None:
    """Makes what is carried at an index something that is collected, and after the loop what it was before.

    A step's value is collected as a list, for the evaluator of the standard joins what it collects by its first axis.
    """
    onnx = needed("onnx", "onnx")
    after, kept, each = loop.output[index], f"{loop.output[index]}_collected", f"{loop.output[index]}_each"
    tables = {"flat": [-1], "first": [0], "others": [0, *range(2, buffer.rank)]}
    tables |= {"none": [0] * (buffer.rank + 1), "end": [0] * (buffer.rank - 2)}
    names = {table: f"{after}_{table}" for table in tables}
    kind = body.input[index + 2].type.tensor_type.elem_type
    del loop.input[index + 2], loop.output[index], body.input[index + 2], body.output[index + 1]
    loop.output.append(kept)
    operator, value = listed
    body.node.append(onnx.helper.make_node(operator, [*value, *[names["flat"]] * (operator == "Reshape")], [each]))
    body.output.append(onnx.helper.make_tensor_value_info(each, kind, [None]))
    place = list(graph.node).index(loop)
    for node in reversed(_padded(after, kept, names, buffer)):
        graph.node.insert(place + 1, node)
    for table, numbers in tables.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(numbers, np.int64), names[table]))


def _padded(after: str, kept: str, names: Mapping[str, str], buffer: _Buffer) -> list[Any]:
    """The nodes that make the buffer `after` [N, L, ...] of what was `kept` [steps, N * ...]."""
    onnx = needed("onnx", "onnx")
    size, steps, sizes, shape, rows, turned, length, lack, pads = (
        f"{after}_{part}" for part in ("size", "steps", "sizes", "shape", "rows", "turned", "length", "lack", "pads")
    )
    made = [
        ("Shape", [kept], size, {}),
        ("Gather", [size, names["first"]], steps, {}),
        ("Gather", [buffer.shape, names["others"]], sizes, {}),
        ("Concat", [steps, sizes], shape, {"axis": 0}),
        ("Reshape", [kept, shape], rows, {}),
        ("Transpose", [rows], turned, {"perm": [1, 0, *range(2, buffer.rank)]}),
        ("Cast", [buffer.length], length, {"to": onnx.TensorProto.INT64}),
        ("Sub", [length, steps], lack, {}),
        ("Concat", [names["none"], lack, names["end"]], pads, {"axis": 0}),
        ("Pad", [turned, pads, buffer.fill], after, {}),
    ]
    return [onnx.helper.make_node(kind, given, [output], **options) for kind, given, output, options in made]


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
