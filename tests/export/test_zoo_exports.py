"""Every architecture, greedy and beam: the live model, the SavedModel and the ONNX file answer alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from kerass2s import zoo
from kerass2s.decoding import BeamSearch, GreedySearch, Search
from kerass2s.export import export_onnx, export_saved_model, load_predictor, verify
from kerass2s.seq2seq import Seq2Seq

TEXTS = ["cat", "", "stickit", "s", "☃☃", "tack sack", "t" * 30]


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yields every node of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def assert_native(path: Path) -> None:
    """The search is the only Loop, the encoder is native operators, and all of them are standard ones."""
    model = onnx.load_model(path)
    onnx.checker.check_model(model, full_check=True)
    inside = list(nodes(model.graph))
    operators = [node.op_type for node in inside]
    assert operators.count("Loop") == 1
    assert {"LSTM", "GRU"} & {node.op_type for node in model.graph.node}
    assert not {"Scan", "CudnnRNNV3"} & set(operators)
    assert {node.domain for node in inside} == {""}
    assert {entry.version for entry in model.opset_import if entry.domain == ""} == {18}


@pytest.mark.parametrize("search", [GreedySearch(8), BeamSearch(3, 0.6, 8)], ids=["greedy", "beam"])
@pytest.mark.parametrize("name", zoo.names())
def test_exports_answer_as_the_live_model(tiny: Callable[[str], Seq2Seq], name: str, search: Search, tmp_path: Path):
    model = tiny(name)
    export_onnx(model, tmp_path / "model.onnx", search)
    assert_native(tmp_path / "model.onnx")
    export_saved_model(model, tmp_path / "saved_model" / "1", search)
    expected = model.n_best(TEXTS, search)
    assert len({row[0].text for row in expected}) > 1, "a model that always says the same shows nothing"
    for path in (tmp_path / "model.onnx", tmp_path / "saved_model" / "1"):
        for given, wanted in zip(load_predictor(path).n_best(TEXTS, batch_size=4), expected, strict=True):
            assert [one.text for one in given] == [one.text for one in wanted]
            assert [one.ids for one in given] == [one.ids for one in wanted]
            np.testing.assert_allclose([one.score for one in given], [one.score for one in wanted], atol=1e-4)
            for one, other in zip(given, wanted, strict=True):
                assert (one.alignment is None) == (other.alignment is None)
                if one.alignment is not None:
                    length = min(one.alignment.shape[1], other.alignment.shape[1])
                    np.testing.assert_allclose(one.alignment[:, :length], other.alignment[:, :length], atol=1e-4)
    if isinstance(search, BeamSearch):
        report = verify(tmp_path, against=model)
        assert report.ok and len(report.checks) == 2, str(report)
