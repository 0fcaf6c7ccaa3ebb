"""What some runtimes want of an ONNX graph beyond the standard: each rule names who needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kerass2s.export.describe import needed

FAR = 10**9
"""tf2onnx ends a slice that goes to the end of its axis here, or further."""

TO_THE_END = np.iinfo(np.int64).max
"""What the ONNX standard says for it."""

Constants = dict[str, Any]


def suit(graph: Any) -> None:
    """Writes what the standard leaves open the way that every runtime in docs/runtimes.md reads it, in place.

    - A slice to the end of an axis ends at the largest int64. OpenVINO takes any other end for a bound of the size, and
      may then ask for memory of that size.
    - The depth of a `OneHot` is a scalar. The reference evaluator of onnx cannot take the other form, a list of one.
    """
    for inside, constants in _scopes(graph, {}):
        for node in inside.node:
            known = all(name in constants for name in node.input[1:])
            if node.op_type == "Slice" and known:
                for place in range(1, len(node.input)):  # starts, ends, axes and steps are of one type
                    _replace(inside, node, place, constants, _ends if place == 2 else _wide)
            elif node.op_type == "OneHot" and known:
                _replace(inside, node, 1, constants, _scalar)
    _drop_unread(graph)


def _scopes(graph: Any, outer: Constants) -> Iterator[tuple[Any, Constants]]:
    """Yields each graph with the constants that can be read in it, by name."""
    constants = {**outer, **{constant.name: constant for constant in graph.initializer}}
    yield graph, constants
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _scopes(attribute.g, constants)


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int64)


def _ends(ends: np.ndarray) -> np.ndarray:
    return np.where(ends >= FAR, TO_THE_END, ends.astype(np.int64))


def _scalar(depth: np.ndarray) -> np.ndarray:
    return depth.reshape([])


def _replace(
    graph: Any, node: Any, place: int, constants: Constants, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Gives a node's constant input another value, if this is another; what else reads the first still does."""
    onnx = needed("onnx", "onnx")
    value = onnx.numpy_helper.to_array(constants[node.input[place]])
    changed = change(value)
    if (changed.shape, changed.dtype) == (value.shape, value.dtype) and np.array_equal(changed, value):
        return
    name = f"{node.input[place]}{change.__name__}"
    if name not in constants:
        constants[name] = onnx.numpy_helper.from_array(changed, name)
        graph.initializer.append(constants[name])
    node.input[place] = name


def _drop_unread(graph: Any) -> None:
    """Takes out the constants that no node reads any more."""
    scopes = [inside for inside, _ in _scopes(graph, {})]
    read = {name for inside in scopes for node in inside.node for name in node.input}
    read |= {output.name for inside in scopes for output in inside.output}
    for inside in scopes:
        for constant in [each for each in inside.initializer if each.name not in read]:
            inside.initializer.remove(constant)
