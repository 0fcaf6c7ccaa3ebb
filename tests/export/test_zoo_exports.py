"""Every architecture: the live model, the SavedModel and the ONNX file answer alike; see also `test_search_exports`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from engines import by_openvino, by_reference

from kerass2s import zoo
from kerass2s.codec import TextCodec
from kerass2s.data.padding import padded
from kerass2s.decoding import BeamSearch, Hypothesis, Rollout, Search, search_spec
from kerass2s.errors import ExportError
from kerass2s.export import export_onnx, export_saved_model, load_predictor, verify, write_text_onnx
from kerass2s.export.describe import read_onnx
from kerass2s.export.onnx import session
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import SentencePieceTokenizer

# One architecture for each kind of source and target, and one whose state grows: a fresh process takes long, and runs
# alike whatever lies between.
ENDS = ("luong2015", "pointer_generator2017", "listen_attend2016", "series2series", "transformer2017")

# The LogSoftmax of onnx 1.23's evaluator is log(softmax): minus infinity where others give -120; times 0 that is NaN.
NOT_BY_REFERENCE = ("hard_monotonic2019",)


def cases() -> list[Any]:
    """Every zoo member with the search that asks most of its step: beams are reordered, greedy rows are not."""
    tokenizer = SentencePieceTokenizer.train(["ab"], "char")
    found = []
    for name in zoo.names():
        codec = zoo.codec(name, zoo.configure(name, "tiny"), tokenizer, tokenizer)
        search = Rollout(8) if isinstance(codec.search(), Rollout) else BeamSearch(3, 0.6, 8)
        found.append(pytest.param(name, search, id=f"{name}-{search_spec(search)}"))
    return found


def sources(model: Seq2Seq) -> list[Any]:
    """Ordinary and strange sources of whatever the model reads."""
    random = np.random.default_rng(5)
    return [*model.codec.strange(), *(model.codec.example(random, length) for length in (3, 7, 1, 9, 30))]


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yields every node of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def assert_native(path: Path, model: Seq2Seq) -> None:
    """The search is the only Loop, recurrent layers of the encoder are native, and all operators are standard ones."""
    file = onnx.load_model(path)
    onnx.checker.check_model(file, full_check=True)
    inside = list(nodes(file.graph))
    operators = [node.op_type for node in inside]
    assert operators.count("Loop") == 1
    kinds = keras.layers.RNN | keras.layers.Bidirectional
    recurrent = [layer for layer in model.encoder.layers if isinstance(layer, kinds)]
    assert sum(node.op_type in {"LSTM", "GRU"} for node in file.graph.node) == len(recurrent)
    assert not {"Scan", "CudnnRNNV3"} & set(operators)
    assert {node.domain for node in inside} == {""}
    assert {entry.version for entry in file.opset_import if entry.domain == ""} == {18}


def assert_same(given: list[Any], expected: list[Any]) -> None:
    """Two lists of answers are the same: each an array, or hypotheses."""
    for one, other in zip(given, expected, strict=True):
        if isinstance(other, np.ndarray):
            np.testing.assert_allclose(one, other, atol=1e-4)
        else:
            assert_same_hypotheses(one, other)


def assert_same_hypotheses(given: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [one.text for one in given] == [one.text for one in expected]
    assert [one.ids for one in given] == [one.ids for one in expected]
    np.testing.assert_allclose([one.score for one in given], [one.score for one in expected], atol=1e-4)
    for one, other in zip(given, expected, strict=True):
        assert (one.alignment is None) == (other.alignment is None)
        if one.alignment is not None:
            length = min(one.alignment.shape[1], other.alignment.shape[1])
            np.testing.assert_allclose(one.alignment[:, :length], other.alignment[:, :length], atol=1e-4)


def assert_same_elsewhere(path: Path, model: Seq2Seq, asked: list[Any]) -> None:
    """OpenVINO and the reference evaluator give what ONNX Runtime gives, as docs/runtimes.md says."""
    source, lengths = padded(model.codec.rows(asked))
    inputs = {model.codec.source_name: source, "source_lengths": lengths}
    runtime = session(str(path))
    names = [output.name for output in runtime.get_outputs()]
    expected = dict(zip(names, runtime.run(names, inputs), strict=True))
    for run in (by_openvino, by_reference):
        given = run(path, inputs)
        if run is by_reference and model.architecture in NOT_BY_REFERENCE:
            assert np.isnan(given["token_scores"]).any(), "it is right now: say so in docs/runtimes.md"
            continue
        for name, value in expected.items():
            np.testing.assert_allclose(given[name], value, atol=1e-4, err_msg=f"{run.__name__} {name}")


def text_to_text(directory: Path, model: Seq2Seq) -> list[Path]:
    """Makes the file from text to text of the one of ids; a model of vectors has none and says so."""
    converted, path = read_onnx(directory / "model.onnx")[0], directory / "model.text.onnx"
    if isinstance(model.codec, TextCodec):
        write_text_onnx(converted, path)
        return [path]
    with pytest.raises(ExportError, match=f"from text to text; export onnx. Received: {model.architecture}"):
        write_text_onnx(converted, path)
    return []


@pytest.mark.parametrize(("name", "search"), cases())
def test_exports_answer_as_the_live_model(
    tiny: Callable[[str], Seq2Seq], pretend_gpu: Callable[[], Any], name: str, search: Search, tmp_path: Path
):
    model = tiny(name)
    with pretend_gpu():  # what is made on a GPU runs here, where there is none
        export_onnx(model, tmp_path / "model.onnx", search)
        export_saved_model(model, tmp_path / "saved_model" / "1", search)
    assert_native(tmp_path / "model.onnx", model)
    asked = sources(model)
    assert_same_elsewhere(tmp_path / "model.onnx", model, asked)
    bests = model.generate(asked, search)
    assert len({str(best) for best in bests}) > 1, "a model that always says the same shows nothing"
    expected = bests if isinstance(search, Rollout) else model.n_best(asked, search)
    paths = [tmp_path / "model.onnx", tmp_path / "saved_model" / "1", *text_to_text(tmp_path, model)]
    for path in paths:
        predictor = load_predictor(path)
        assert_same(predictor.generate(asked) if isinstance(search, Rollout) else predictor.n_best(asked, 4), expected)
    if name in ENDS:
        report = verify(tmp_path, against=model)
        assert report.ok and len(report.checks) == len(paths), str(report)
