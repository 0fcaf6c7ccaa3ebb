"""ONNX graphs of less precision: weights held as float16 or int8, and int8 products where they pay.

    float16   every weight is held in 16 bits and cast to float32 when the runtime loads the file
    int8      a weight is held in 8 bits with one scale for each row or column of it. What multiplies it in a `MatMul`
              becomes 8 bits too, at run time and with a scale for each row (dynamic quantisation); any other weight,
              those of `LSTM`, `GRU` and `Conv` and embeddings, is multiplied by its scales when the file is loaded

All else stays float32: states, attention, log-probabilities and the search, whose impossible scores of -1e9 have no
float16. The rows by which padding closes the gates of a recurrent layer stay as they are, beside the int8 weights.

The scales are one for each row, and not one for all, as `DynamicQuantizeLinear` has it, since a row's answer must not
depend on what else is in its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kerass2s.context import choose
from kerass2s.export.conversion import graphs
from kerass2s.export.describe import needed
from kerass2s.export.recurrent import CLOSED_GATE

FULL = "float32"
LEAST = 1024
"""From how many elements on a weight is worth fewer bits; biases and the like are as they were."""
LARGEST_WEIGHT = 1e3
"""What is beyond it is no weight, but a mask, and keeps its bits."""
LARGEST = 127


def reduce_precision(model: Any, precision: str) -> None:
    """Holds the weights of an `onnx.ModelProto` in fewer bits, in place; "float32" leaves all as it is.

    Raises:
        ConfigError: an unknown precision.
    """
    choose("precision", precision, PRECISIONS)(model)


def _leave(model: Any) -> None:
    pass


def _to_float16(model: Any) -> None:
    graph = model.graph
    onnx = needed("onnx", "onnx")
    for name, table in _weights(graph).items():
        if np.abs(table).max() <= np.finfo(np.float16).max:
            nodes = [onnx.helper.make_node("Cast", [f"{name}_float16"], [name], to=onnx.TensorProto.FLOAT)]
            _replace(graph, name, {f"{name}_float16": table.astype(np.float16)}, nodes)


def _to_int8(model: Any) -> None:
    graph, opset = model.graph, model.opset_import[0].version
    for name, table in _weights(graph).items():
        users = [(each, node) for each in graphs(graph) for node in each.node if name in node.input]
        kinds = {node.op_type for _, node in users}
        body, gates = (table[..., :-1], table[..., -1:]) if _closes_gates(table) else (table, None)
        bias = table.ndim == 1 or (table.ndim == 2 and kinds & {"LSTM", "GRU"})
        if bias or np.abs(body).max() > LARGEST_WEIGHT:
            continue
        if kinds == {"MatMul"} and table.ndim == 2 and all(node.input[1] == name for _, node in users):
            _multiply_in_int8(graph, name, table, users, opset)
        else:
            _hold_in_int8(graph, name, body, gates, 0 if kinds & {"Gather", "Conv"} else table.ndim - 1)


PRECISIONS: dict[str, Callable[[Any], None]] = {FULL: _leave, "float16": _to_float16, "int8": _to_int8}


def _weights(graph: Any) -> dict[str, np.ndarray]:
    """The large float32 initializers; what loops read stands outside them, see `conversion.tidy`."""
    onnx = needed("onnx", "onnx")
    found = {table.name: onnx.numpy_helper.to_array(table) for table in graph.initializer}
    return {name: table for name, table in found.items() if table.dtype == np.float32 and table.size >= LEAST}


def _replace(graph: Any, name: str, tables: dict[str, np.ndarray], nodes: list[Any]) -> None:
    """Puts tables, and the nodes that make something of them, in the place of an initializer."""
    onnx = needed("onnx", "onnx")
    graph.initializer.remove(next(table for table in graph.initializer if table.name == name))
    graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(table), key) for key, table in tables.items())
    for node in reversed(nodes):
        graph.node.insert(0, node)


# === int8 ===


def _closes_gates(table: np.ndarray) -> bool:
    """Whether these are the input weights of a recurrent layer, with the feature that is 1 at padding as the last."""
    return table.ndim == 3 and np.abs(table[..., -1]).max() == CLOSED_GATE


def _quantized(table: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns int8 weights and their scales, one for all that lies along `axes`: `int8 * scale` is nearly `table`."""
    scales = np.maximum(np.abs(table).max(axes, keepdims=True), np.finfo(np.float32).tiny * LARGEST) / LARGEST
    return np.rint(table / scales).astype(np.int8), scales.astype(np.float32)


def _hold_in_int8(graph: Any, name: str, body: np.ndarray, gates: np.ndarray | None, axis: int) -> None:
    """Makes float32 weights of int8 ones before all else; runtimes do it once, for nothing here changes."""
    node = needed("onnx", "onnx").helper.make_node
    kept = (0, 1) if body.ndim == 3 and axis == 2 else (axis,)  # each gate's row of each direction has its own
    held, scales = _quantized(body, tuple(each for each in range(body.ndim) if each not in kept))
    tables = {f"{name}_int8": held, f"{name}_scale": scales}
    made = name if gates is None else f"{name}_weights"
    nodes = [
        node("Cast", [f"{name}_int8"], [f"{name}_float"], to=1),
        node("Mul", [f"{name}_float", f"{name}_scale"], [made]),
    ]
    if gates is not None:
        tables[f"{name}_gates"] = gates
        nodes.append(node("Concat", [made, f"{name}_gates"], [name], axis=2))
    _replace(graph, name, tables, nodes)


def _multiply_in_int8(graph: Any, name: str, table: np.ndarray, users: list[tuple[Any, Any]], opset: int) -> None:
    """Turns each product `x [..., I] W [I, U]` into one of whole numbers.

    With s the largest |x| of a row over 127, q = round(x / s) + 128 in uint8, and W = Q diag(r): x W is about
    ((q - 128) Q) s r.
    """
    onnx = needed("onnx", "onnx")
    held, scales = _quantized(table, (0,))
    tables = {f"{name}_int8": held, f"{name}_scale": scales[0]}
    present = {each.name for each in graph.initializer}
    shared = {"int8_axis": np.array([-1])} if opset >= 18 else {}
    shared |= {"int8_least": np.float32(np.finfo(np.float32).tiny * LARGEST)}
    shared |= {"int8_largest": np.float32(LARGEST), "int8_one": np.float32(1), "int8_zero": np.uint8(LARGEST + 1)}
    _replace(graph, name, {**tables, **{key: value for key, value in shared.items() if key not in present}}, [])
    for inside, user in users:
        nodes = [
            onnx.helper.make_node(kind, given, [made], **options)
            for kind, given, made, options in _product(user, name, opset)
        ]
        place = next(index for index, node in enumerate(inside.node) if node is user or node == user)
        del inside.node[place]
        for node in reversed(nodes):
            inside.node.insert(place, node)


def _product(user: Any, name: str, opset: int) -> list[tuple[str, list[str], str, dict[str, Any]]]:
    """The nodes in the place of one `MatMul`: operator, inputs, output, attributes."""
    x, y = user.input[0], user.output[0]
    size, most, scale, scaled, q, whole, real, rows = (
        f"{y}_{part}" for part in ("size", "most", "scale", "scaled", "uint8", "int32", "float", "rows")
    )
    return [
        ("Abs", [x], size, {}),
        ("ReduceMax", [size, "int8_axis"], most, {}) if opset >= 18 else ("ReduceMax", [size], most, {"axes": [-1]}),
        ("Max", [most, "int8_least"], f"{most}_positive", {}),
        ("Div", [f"{most}_positive", "int8_largest"], scale, {}),
        ("Div", [x, scale], scaled, {}),
        ("QuantizeLinear", [scaled, "int8_one", "int8_zero"], q, {}),
        ("MatMulInteger", [q, f"{name}_int8", "int8_zero"], whole, {}),
        ("Cast", [whole], real, {"to": 1}),
        ("Mul", [real, scale], rows, {}),
        ("Mul", [rows, f"{name}_scale"], y, {}),
    ]
