"""Fewer bits: what becomes of each weight, that a row's answer is its own, and what `verify` then allows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kerass2s.data.padding import padded
from kerass2s.decoding import GreedySearch
from kerass2s.errors import ConfigError
from kerass2s.export import export_onnx, export_onnx_steps, load_predictor, verify
from kerass2s.export.comparison import Comparison
from kerass2s.export.fresh import FreshProcess
from kerass2s.export.onnx import run_named, session
from kerass2s.export.precision import reduce_precision
from kerass2s.export.recurrent import CLOSED_GATE
from kerass2s.presets import load_preset

Arrays = dict[str, np.ndarray]
RANDOM = np.random.default_rng(4)
TABLE = RANDOM.normal(size=(40, 32)).astype(np.float32)
LARGE = TABLE * np.logspace(-3, 1, 32, dtype=np.float32)  # columns of very different size
GATES = RANDOM.normal(size=(1, 16, 65)).astype(np.float32)
GATES[..., -1] = np.where(np.arange(16) < 4, -CLOSED_GATE, 0)


def graph_of(kind: str, weights: np.ndarray, opset: int = 18) -> onnx.ModelProto:
    """One node over its weights: `Gather`, `MatMul`, `LSTM`, or `Add` of something that is no weight."""
    ids = kind == "Gather"
    names = {"Gather": ["w", "x"], "MatMul": ["x", "w"], "LSTM": ["x", "w", "r"], "Add": ["x", "w"]}[kind]
    options = {"hidden_size": 4} if kind == "LSTM" else {}
    outputs = ["", "y"] if kind == "LSTM" else ["y"]
    tables = {"w": weights} | ({"r": np.zeros([1, 16, 4], np.float32)} if kind == "LSTM" else {})
    shape = {"Gather": ["n"], "LSTM": ["t", "n", 65]}.get(kind, ["n", 40])
    graph = helper.make_graph(
        [helper.make_node(kind, names, outputs, **options)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.INT64 if ids else TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.FLOAT, [1, "n", 4] if kind == "LSTM" else ["n", weights.shape[1]]
            )
        ],
        [numpy_helper.from_array(table, name) for name, table in tables.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def reduced(kind: str, weights: np.ndarray, precision: str, opset: int = 18) -> onnx.ModelProto:
    model = graph_of(kind, weights, opset)
    reduce_precision(model, precision)
    onnx.checker.check_model(model, full_check=True)
    return model


def answer(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return run_named(session(model.SerializeToString()), {"x": x})["y"]


def bytes_of(model: onnx.ModelProto) -> int:
    return sum(numpy_helper.to_array(table).nbytes for table in model.graph.initializer)


def test_float16_is_the_nearest_half_and_costs_two_bytes():
    ids = np.arange(40)
    given = answer(reduced("Gather", TABLE, "float16"), ids)
    np.testing.assert_array_equal(given, TABLE.astype(np.float16).astype(np.float32))
    assert bytes_of(reduced("Gather", TABLE, "float16")) == 2 * TABLE.size


@pytest.mark.parametrize("opset", [13, 18])
def test_int8_products_are_near_whatever_else_is_in_the_batch(opset: int):
    model = reduced("MatMul", LARGE, "int8", opset)
    x = RANDOM.normal(size=(6, 40)).astype(np.float32)
    given = answer(model, x)
    scale = np.abs(x) @ np.abs(LARGE)  # of what the sums are made of
    assert (np.abs(given - x @ LARGE) / scale).max() < 0.01
    for row in range(6):
        np.testing.assert_array_equal(answer(model, x[row : row + 1]), given[row : row + 1])
    x[0] *= 1e4  # the others have scales of their own
    np.testing.assert_array_equal(answer(model, x)[1:], given[1:])
    np.testing.assert_array_equal(answer(model, np.zeros_like(x)), np.zeros([6, 32]))
    assert {node.op_type for node in model.graph.node} >= {"MatMulInteger", "QuantizeLinear"}
    assert bytes_of(model) < 1.2 * LARGE.size


def test_int8_rows_of_an_embedding_are_off_by_half_a_step_at_most():
    model = reduced("Gather", LARGE, "int8")
    given = answer(model, np.arange(40))
    steps = np.abs(LARGE).max(axis=1, keepdims=True) / 127
    assert (np.abs(given - LARGE) <= steps / 2 * 1.001).all()


def test_the_rows_that_close_gates_stay_as_they_are():
    model = reduced("LSTM", GATES, "int8")
    x = RANDOM.normal(size=(5, 2, 65)).astype(np.float32)
    x[..., -1] = 0
    full = answer(graph_of("LSTM", GATES), x)
    np.testing.assert_allclose(answer(model, x), full, atol=0.05)
    closed = x.copy()
    closed[..., -1] = 1  # all is padding: the input gate is shut, so nothing comes in
    np.testing.assert_array_equal(answer(model, closed), np.zeros_like(full))


def test_what_is_no_weight_keeps_its_bits():
    mask = np.where(RANDOM.random((40, 40)) < 0.5, 0, -1e9).astype(np.float32)
    x = np.ones([40, 40], np.float32)
    for precision in ("float16", "int8"):
        model = reduced("Add", mask, precision)
        np.testing.assert_array_equal(answer(model, x), mask + x)
        assert [node.op_type for node in model.graph.node] == ["Add"]
    small = TABLE[:8, :8]
    assert bytes_of(reduced("Gather", small, "int8")) == small.nbytes


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="precision must be one of float32, float16, int8. Received: 'int4'"):
        reduce_precision(graph_of("Gather", TABLE), "int4")


@pytest.fixture(scope="module")
def variants(pronouncer: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The pronouncer greedy in each precision, int8 of opset 21, and its parts in int8."""

    def fill(directory: Path) -> None:
        model = load_preset(pronouncer)
        for precision in ("float32", "float16", "int8"):
            opset = 21 if precision == "int8" else 18
            export_onnx(model, directory / f"{precision}.onnx", GreedySearch(), precision=precision, opset=opset)
        export_onnx_steps(model, directory / "steps", precision="int8")

    return once("variants", fill)


def test_sizes_and_strings_of_a_trained_model(variants: Path, pronouncer: Path, words: list[str]):
    model = load_preset(pronouncer)
    whole = 4 * model.count_params()
    expected = model.generate(words[:200])
    sizes, same = {}, {}
    for precision in ("float32", "float16", "int8"):
        file = onnx.load_model(variants / f"{precision}.onnx")
        described = {entry.key: entry.value for entry in file.metadata_props}
        assert (described["precision"], described["opset"]) == (precision, "21" if precision == "int8" else "18")
        assert {node.domain for node in file.graph.node} == {""}
        metadata = sum(len(entry.value) for entry in file.metadata_props)
        sizes[precision] = ((variants / f"{precision}.onnx").stat().st_size - metadata) / whole
        given = load_predictor(variants / f"{precision}.onnx").generate(words[:200], batch_size=32)
        same[precision] = np.mean([one == other for one, other in zip(given, expected, strict=True)])
    assert sizes["float32"] < 1.05 and sizes["float16"] < 0.55 and sizes["int8"] < 1 / 3
    assert same["float32"] == 1 and same["float16"] > 0.98 and same["int8"] > 0.96


def test_an_answer_in_int8_is_its_own(variants: Path, words: list[str]):
    predictor = load_predictor(variants / "int8.onnx")
    source, lengths = padded(predictor.codec.rows(words[:20]))
    together = predictor.run({"source_ids": source, "source_lengths": lengths})
    for row, length in enumerate(lengths):
        alone = predictor.run({"source_ids": source[row : row + 1, :length], "source_lengths": lengths[row : row + 1]})
        time = alone["target_ids"].shape[2]
        np.testing.assert_array_equal(alone["target_ids"][0], together["target_ids"][row, :, :time])
        np.testing.assert_allclose(alone["scores"][0], together["scores"][row], atol=1e-4)


def test_verify_allows_what_fewer_bits_change_and_no_more(variants: Path, pronouncer: Path, fresh: FreshProcess):
    report = verify(variants, pronouncer, fresh)
    assert report.ok, str(report)
    found = {Path(check.path).name: check for check in report.checks}
    assert list(found) == ["float16.onnx", "float32.onnx", "int8.onnx", "steps"]
    assert all(check.milliseconds > 0 and check.live_milliseconds > 0 for check in report.checks)
    assert found["float32.onnx"].largest["scores"] < 1e-4 < found["int8.onnx"].largest["scores"]
    assert found["float32.onnx"].same == found["float32.onnx"].rows == 25
    assert "best outputs identical" in str(found["int8.onnx"])
    assert found["steps"].search == "-" and "log_probabilities" in found["steps"].largest


def outputs(scores: list[float]) -> Arrays:
    """Ten greedy outputs of three tokens each."""
    ids = np.tile(np.array([4, 5, 6], np.int32), [10, 1, 1])
    return {"target_ids": ids, "target_lengths": np.full([10, 1], 3, np.int32), "scores": np.float32(scores)[:, None]}


@pytest.mark.parametrize(("precision", "allowed"), [("float16", 0.01), ("int8", 0.2)])
def test_what_is_too_far_fails(precision: str, allowed: float):
    live = outputs([-1.0] * 10)
    for apart, lines in ((0.9, 0), (1.1, 1)):  # of what the three tokens and the end may differ together
        comparison = Comparison(precision)
        comparison.compare("words", outputs([-1.0 - 4 * allowed * apart] * 10), live)
        assert len(comparison.differences) == lines
    comparison = Comparison(precision)
    other = outputs([-1.0] * 10)
    other["target_ids"][:4, 0, 0] = 7
    comparison.count(other, live)
    comparison.settle()
    assert comparison.differences == [f"4 of 10 best outputs are others, too many for {precision}"]
    comparison = Comparison(precision)
    comparison.count(other, {**live, "target_lengths": np.full([10, 1], 65, np.int32)})
    assert (comparison.same, comparison.rows) == (0, 0), "long ones may tip"


def test_the_parts_describe_themselves(variants: Path):
    described = {}
    for part in ("encoder", "decoder_step"):
        model = onnx.load_model(variants / "steps" / f"{part}.onnx")
        described[part] = {entry.key: entry.value for entry in model.metadata_props}
        assert described[part]["part"] == part
        for values, key in ((model.graph.input, "inputs"), (model.graph.output, "outputs")):
            told = json.loads(described[part][key])
            assert {value.name for value in values} == told.keys()
            for value in values:
                sizes = [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
                assert sizes == told[value.name]["shape"]
    step = described["decoder_step"]
    assert json.loads(step["states"]) == {"state_h_0": "next_h_0", "state_c_0": "next_c_0"}
    assert json.loads(step["fixed"]) == ["fixed_memory_keys", "fixed_memory", "fixed_memory_mask"]
    assert json.loads(step["inputs"])["fixed_memory"] == {"dtype": "float32", "shape": ["rows", "source_time", 256]}
