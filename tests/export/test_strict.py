"""What the standard leaves open is written as every runtime reads it, and computes what it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from kerass2s.export.strict import suit


def model() -> onnx.ModelProto:
    """One-hot vectors of `ids` [T] but the first, as tf2onnx writes them: depth in a list, an end that is far off."""
    constants = {
        "start": np.array([1], np.int32),
        "far": np.array([10**9], np.int32),
        "axis": np.array([0], np.int32),
        "step": np.array([1], np.int32),
        "depth": np.array([5], np.int64),
        "values": np.array([0, 1], np.float32),
    }
    nodes = [
        helper.make_node("Slice", ["ids", "start", "far", "axis", "step"], ["rest"]),
        helper.make_node("OneHot", ["rest", "depth", "values"], ["vectors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "strict",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["time"])],
        [helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, [None, 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_the_graph_computes_what_it_did_and_the_reference_evaluator_reads_it():
    plain, suited = model(), model()
    suit(suited.graph)
    onnx.checker.check_model(suited, full_check=True)
    ids = np.array([4, 0, 3], np.int64)
    runtimes = [
        onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"])
        for each in (plain, suited)
    ]
    given = [each.run(None, {"ids": ids})[0] for each in runtimes]
    np.testing.assert_array_equal(given[0], np.eye(5, dtype=np.float32)[ids[1:]])
    np.testing.assert_array_equal(given[1], given[0])
    np.testing.assert_array_equal(ReferenceEvaluator(suited).run(None, {"ids": ids})[0], given[0])


def test_slices_to_the_end_say_so_and_nothing_unread_is_left():
    suited = model()
    suit(suited.graph)
    constants = {each.name: numpy_helper.to_array(each) for each in suited.graph.initializer}
    assert constants["far_ends"].tolist() == [np.iinfo(np.int64).max]
    assert constants["depth_scalar"].shape == ()
    assert set(constants) == {name for node in suited.graph.node for name in node.input} - {"ids", "rest"}


def test_the_slices_of_an_export_say_so(exported: Path):
    graph = onnx.load_model(exported / "model.onnx").graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    ends = [values[node.input[2]] for node in graph.node if node.op_type == "Slice" and node.input[2] in values]
    far = [each.max() for each in ends if (each >= 10**9).any()]
    assert far and set(far) == {np.iinfo(np.int64).max}
