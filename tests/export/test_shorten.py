"""Fewer nodes compute what the many did: indices, slices, products, what beams share, buffers that are only written."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from kerass2s.export.conversion import graphs
from kerass2s.export.onnx import session
from kerass2s.export.shorten import shorten

FLOAT, INT, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32, onnx.TensorProto.BOOL


def model(
    nodes: list[onnx.NodeProto], inputs: dict[str, tuple], outputs: dict[str, tuple], **constants: np.ndarray
) -> onnx.ModelProto:
    """Returns a model; inputs and outputs are (type, dimensions) by name."""
    given, made = (
        [helper.make_tensor_value_info(name, *kind) for name, kind in values.items()] for values in (inputs, outputs)
    )
    tables = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "long", given, made, tables)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def assert_same(long: onnx.ModelProto, *asked: dict[str, np.ndarray]) -> Counter[str]:
    """Shortens a model that computes the same afterwards; returns how many nodes of each kind are left."""
    short = onnx.ModelProto.FromString(long.SerializeToString())
    shorten(short)
    onnx.checker.check_model(short, full_check=True)
    runs = [session(each.SerializeToString()) for each in (long, short)]
    for inputs in asked:
        for found, wanted in zip(*(run.run(None, inputs) for run in runs), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)
    return Counter(node.op_type for graph in graphs(short.graph) for node in graph.node)


@pytest.mark.parametrize("size", [5, 4])
def test_a_gather_counts_negative_indices_itself(size: int):
    nodes = [
        helper.make_node("Less", ["ids", "zero"], ["negative"]),
        helper.make_node("Add", ["ids", "size"], ["turned"]),
        helper.make_node("Where", ["negative", "turned", "ids"], ["places"]),
        helper.make_node("Gather", ["table", "places"], ["rows"]),
    ]
    table = np.arange(10, dtype=np.float32).reshape(5, 2)
    constants = {"zero": np.int32(0), "size": np.int32(size), "table": table}
    long = model(nodes, {"ids": (INT, ["N"])}, {"rows": (FLOAT, ["N", 2])}, **constants)
    left = assert_same(long, {"ids": np.array([0, -1, 4, -4], np.int32)})
    assert left == ({"Gather": 1} if size == 5 else {"Less": 1, "Add": 1, "Where": 1, "Gather": 1})


@pytest.mark.parametrize(("shape", "kept"), [(["B", "T", 3], 1), (["B", "T", 1, 3], 8)])
def test_a_product_takes_any_rank(shape: list[str | int], kept: int):
    """With four axes of which the last two are summed over, as `[0, 1]` says, the product must stay as it is."""
    nodes = [
        helper.make_node("Shape", ["x"], ["long"]),
        helper.make_node("Cast", ["long"], ["shape"], to=INT),
        helper.make_node("Gather", ["shape", "first"], ["outer"]),
        helper.make_node("Concat", ["outer", "units"], ["sizes"], axis=0),
        helper.make_node("Cast", ["sizes"], ["whole"], to=onnx.TensorProto.INT64),
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["products"]),
        helper.make_node("Reshape", ["products", "whole"], ["y"]),
    ]
    constants = {"first": np.array([0, 1], np.int32), "units": np.array([4], np.int32), "flat": np.array([-1, 3])}
    weights = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    long = model(nodes, {"x": (FLOAT, shape)}, {"y": (FLOAT, ["B", "T", 4])}, **constants, w=weights)
    x = np.random.default_rng(2).normal(size=[{"B": 2, "T": 5}.get(each, each) for each in shape]).astype(np.float32)
    assert assert_same(long, {"x": x}).total() == kept


@pytest.mark.parametrize(("begin", "kept"), [(0, {"Neg": 1}), (1, {"Slice": 1, "Neg": 1})])
def test_a_slice_of_everything_is_left_out(begin: int, kept: dict[str, int]):
    nodes = [
        helper.make_node("Slice", ["x", "begins", "ends", "axes", "steps"], ["part"]),
        helper.make_node("Neg", ["part"], ["y"]),
    ]
    constants = {"begins": [0, begin], "ends": [2**31 - 1, 2**31 - 1], "axes": [0, 1], "steps": [1, 1]}
    constants = {name: np.array(value, np.int32) for name, value in constants.items()}
    long = model(nodes, {"x": (FLOAT, ["N", 3])}, {"y": (FLOAT, ["N", None])}, **constants)
    assert assert_same(long, {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}) == kept


@pytest.mark.parametrize("swapped", [False, True])
def test_parts_that_are_joined_again_are_left_whole(swapped: bool):
    parts = ["first", "second"]
    nodes = [
        helper.make_node("Split", ["x"], parts, axis=1, num_outputs=2),
        helper.make_node("Concat", parts[::-1] if swapped else parts, ["joined"], axis=1),
        helper.make_node("Neg", ["joined"], ["y"]),
    ]
    long = model(nodes, {"x": (FLOAT, ["N", 4])}, {"y": (FLOAT, ["N", 4])})
    left = assert_same(long, {"x": np.arange(8, dtype=np.float32).reshape(2, 4)})
    assert left == ({"Split": 1, "Concat": 1, "Neg": 1} if swapped else {"Neg": 1})


def asking(beams: int, turned: bool, times: int = 1) -> onnx.ModelProto:
    """Multiplies, step by step, `x [2 K, times, 3]` by z [2, 3, 4], each row copied for its K beams."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["query", "copies"], ["product"]),
            helper.make_node("ReduceSum", ["product", "axes"], ["sums"], keepdims=0),
            helper.make_node("Add", ["total", "sums"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number_of_step", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", BOOL, []),
            helper.make_tensor_value_info("total", FLOAT, ["rows"]),
        ],
        [helper.make_tensor_value_info("true", BOOL, []), helper.make_tensor_value_info("next", FLOAT, ["rows"])],
        [numpy_helper.from_array(np.array([1, 2]), "axes"), numpy_helper.from_array(np.array(True), "true")],
    )
    nodes = [
        helper.make_node("Mul", ["batch", "beams"], ["rows"]),
        helper.make_node("Range", ["zero", "rows", "one"], ["counted"]),
        helper.make_node("Div", ["counted", "beams"], ["sources"]),
        helper.make_node("Gather", ["z", "sources"], ["copied" if turned else "copies"]),
        *([helper.make_node("Transpose", ["copied"], ["copies"], perm=[0, 2, 1])] if turned else []),
        helper.make_node("Neg", ["x"], ["query"]),
        helper.make_node("Loop", ["three", "", "empty"], ["y"], body=body),
    ]
    constants = {name: np.int32(value) for name, value in {"zero": 0, "one": 1, "beams": beams, "batch": 2}.items()}
    constants |= {"three": np.array(3), "empty": np.zeros(2 * beams, np.float32)}
    inputs = {"x": (FLOAT, [2 * beams, times, 3]), "z": (FLOAT, [2, 4, 3] if turned else [2, 3, 4])}
    return model(nodes, inputs, {"y": (FLOAT, [2 * beams])}, **constants)


@pytest.mark.parametrize("turned", [False, True])
def test_beams_share_what_they_are_multiplied_by(turned: bool):
    random = np.random.default_rng(3)
    x, z = random.normal(size=(10, 1, 3)), random.normal(size=(2, 4, 3) if turned else (2, 3, 4))
    left = assert_same(asking(5, turned), {"x": x.astype(np.float32), "z": z.astype(np.float32)})
    assert not {"Gather", "Range", "Div", "Mul"} & left.keys() and left["Transpose"] == turned


def test_rows_of_several_positions_are_not_shared():
    random = np.random.default_rng(4)
    x, z = random.normal(size=(10, 2, 3)), random.normal(size=(2, 3, 4))
    left = assert_same(asking(5, False, times=2), {"x": x.astype(np.float32), "z": z.astype(np.float32)})
    assert left["Gather"] == 1 and not left["Reshape"]


def writing(rank: int, read: bool) -> onnx.ModelProto:
    """Writes t + 1 at each place t of a buffer [2, limit(, 2)] of -1, for as many steps as are asked for."""
    trail, one = [1] * (rank - 2), np.ones([2, 1, *[2] * (rank - 2)], np.float32)
    body = helper.make_graph(
        [
            helper.make_node("Add", ["t", "step"], ["next"]),
            helper.make_node("Equal", ["places", "t"], ["here"]),
            helper.make_node("Cast", ["next"], ["number"], to=FLOAT),
            helper.make_node("Mul", ["number", "ones"], ["value"]),
            helper.make_node("Where", ["here", "value", "buffer"], ["written"]),
            helper.make_node("Less", ["next", "steps"], ["goes_on"]),
            helper.make_node("ReduceSum", ["buffer" if read else "value"], ["total"], keepdims=0),
        ],
        "body",
        [
            helper.make_tensor_value_info("number_of_step", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", BOOL, []),
            helper.make_tensor_value_info("t", INT, []),
            helper.make_tensor_value_info("buffer", FLOAT, [None] * rank),
            helper.make_tensor_value_info("total_before", FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", BOOL, []),
            helper.make_tensor_value_info("next", INT, []),
            helper.make_tensor_value_info("written", FLOAT, [None] * rank),
            helper.make_tensor_value_info("total", FLOAT, []),
        ],
        [numpy_helper.from_array(np.int32(1), "step")],
    )
    nodes = [
        helper.make_node("Range", ["zero", "limit", "one"], ["counted"]),
        helper.make_node("Reshape", ["counted", "along"], ["places"]),
        helper.make_node("Unsqueeze", ["limit", "first"], ["length"]),
        helper.make_node("Cast", ["length"], ["long"], to=onnx.TensorProto.INT64),
        helper.make_node("Concat", ["two", "long", *["two"] * (rank - 2)], ["shape"], axis=0),
        helper.make_node("Expand", ["fill", "shape"], ["empty"]),
        helper.make_node("Loop", ["", "true", "zero", "empty", "nothing"], ["t_end", "buffer_end", "sum"], body=body),
        helper.make_node("Mul", ["buffer_end", "half"], ["result"]),
    ]
    constants = {"zero": np.int32(0), "one": np.int32(1), "true": np.array(True), "nothing": np.float32(0)}
    constants |= {"along": np.array([1, -1, *trail]), "two": np.array([2]), "first": np.array([0]), "ones": one}
    constants |= {"fill": np.float32(-1), "half": np.float32(0.5)}
    inputs = {"limit": (INT, []), "steps": (INT, [])}
    return model(nodes, inputs, {"result": (FLOAT, [None] * rank), "sum": (FLOAT, [])}, **constants)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_loop_collects_what_it_only_writes(rank: int):
    asked = [{"limit": np.array(6, np.int32), "steps": np.array(steps, np.int32)} for steps in (1, 4, 6)]
    left = assert_same(writing(rank, read=False), *asked)
    assert not {"Where", "Equal", "Expand"} & left.keys()
    assert {"Where", "Equal", "Expand"} <= assert_same(writing(rank, read=True), *asked).keys()
