"""Every architecture, greedy and by beams: the live model, the SavedModel, the ONNX file and its parts answer alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from engines import by_openvino, by_reference

from kerass2s import zoo
from kerass2s.codec import TextCodec
from kerass2s.data.padding import padded
from kerass2s.decoding import BeamSearch, GreedySearch, Hypothesis, Rollout, Search
from kerass2s.errors import ExportError
from kerass2s.export import export_onnx, export_onnx_steps, export_saved_model, verify, write_text_onnx
from kerass2s.export.conversion import graphs
from kerass2s.export.describe import read_onnx
from kerass2s.export.fresh import Arrays, FreshProcess
from kerass2s.export.onnx import run_named, session
from kerass2s.export.steps import ENCODER, STEP
from kerass2s.seq2seq import Seq2Seq

LONGEST = 8  # of the outputs
SOURCES = 200
# How many of them in batches of 1, 3 and 32; `benchmarks/exports.py` asks for all in each, which takes minutes.
SHARES = {1: 20, 3: 30, 32: SOURCES}
# One architecture for each kind of source and target, and one whose state grows.
ENDS = ("luong2015", "pointer_generator2017", "listen_attend2016", "series2series", "transformer2017")
PAGE = Path(__file__).parents[2] / "docs" / "exports.md"


@pytest.fixture(scope="module")
def host() -> SimpleNamespace:
    """The loops that the page tells its readers to write."""
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "def beam" in block
    )
    made: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), made)
    return SimpleNamespace(**{name: made[name] for name in ("greedy", "beam", "rollout")})


def sources(model: Seq2Seq) -> list[Any]:
    """Two hundred ordinary and strange sources of whatever the model reads, of mixed lengths."""
    random = np.random.default_rng(5)
    ordinary = [model.codec.example(random, 1 + i % 12) for i in range(SOURCES)]
    return [*model.codec.strange(), *ordinary][:SOURCES]


def batches(model: Seq2Seq, asked: list[Any], size: int) -> list[Arrays]:
    """The sources as inputs of an export, `size` to a batch, as they come."""
    found = []
    for begin in range(0, len(asked), size):
        source, lengths = padded(model.codec.rows(asked[begin : begin + size]))
        found.append({model.codec.source_name: source, "source_lengths": lengths})
    return found


def rows(outputs: list[Arrays]) -> Iterator[Arrays]:
    """The rows of some batches, one after the other."""
    for batch in outputs:
        for row in range(len(next(iter(batch.values())))):
            yield {name: output[row] for name, output in batch.items()}


def assert_native(path: Path, model: Seq2Seq, loops: int) -> None:
    """The search is the only Loop, recurrent layers of the encoder are native, and all operators are standard ones."""
    file = onnx.load_model(path)
    onnx.checker.check_model(file, full_check=True)
    onnx.shape_inference.infer_shapes(file, check_type=True, strict_mode=True, data_prop=True)
    inside = [node for graph in graphs(file.graph) for node in graph.node]
    operators = [node.op_type for node in inside]
    assert operators.count("Loop") == loops
    kinds = keras.layers.RNN | keras.layers.Bidirectional
    recurrent = [layer for layer in model.encoder.layers if isinstance(layer, kinds)]
    if path.name != STEP:
        assert sum(node.op_type in {"LSTM", "GRU"} for node in file.graph.node) == len(recurrent)
    assert not {"Scan", "If", "CudnnRNNV3"} & set(operators)
    assert {node.domain for node in inside} == {""}
    assert {entry.version for entry in file.opset_import if entry.domain == ""} == {18}


def assert_same(model: Seq2Seq, given: list[Arrays], expected: list[Any], asked: list[Any]) -> None:
    """Rows of an export's outputs say what the live model said: arrays, or hypotheses."""
    for row, wanted, source in zip(rows(given), expected, asked, strict=True):
        if isinstance(wanted, np.ndarray):
            np.testing.assert_allclose(model.codec.best(row, source), wanted, atol=1e-4)
        else:
            assert_same_hypotheses(model.codec.hypotheses(row, source), wanted)


def assert_same_hypotheses(given: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [one.ids for one in given] == [one.ids for one in expected]
    assert [one.text for one in given] == [one.text for one in expected]
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


@pytest.mark.parametrize("name", zoo.names())
def test_exports_answer_as_the_live_model(
    tiny: Callable[[str], Seq2Seq],
    pretend_gpu: Callable[[], Any],
    name: str,
    tmp_path: Path,
    fresh: FreshProcess,
    host: SimpleNamespace,
):
    model = tiny(name)
    asked = sources(model)
    vectors = isinstance(model.codec.search(), Rollout)
    searches = [Rollout(LONGEST)] if vectors else [GreedySearch(LONGEST), BeamSearch(4, max_length=LONGEST)]
    # An export takes seconds: where beams are reordered right, greedy rows are; `benchmarks/exports.py` asks for all.
    exported = searches if name in ENDS else searches[-1:]
    answers = [model.generate(asked, each) if vectors else model.n_best(asked, each) for each in searches]
    assert len({str(answer) for answer in answers[0]}) > 1, "a model that always says the same shows nothing"
    for search, expected in zip(exported, answers[-len(exported) :], strict=True):
        directory = tmp_path / type(search).__name__
        with pretend_gpu():  # what is made on a GPU runs here, where there is none
            export_onnx(model, directory / "model.onnx", search)
            export_saved_model(model, directory / "saved_model" / "1", search)
        assert_exports(model, search, asked, expected, directory, fresh)
    assert_same_elsewhere(directory / "model.onnx", model, asked[:8])
    texts = text_to_text(directory, model)
    report = verify(directory, model, fresh)
    assert report.ok and len(report.checks) == 2 + len(texts), str(report)
    assert_steps(model, asked[:32], answers, tmp_path / "parts", host)
    report = verify(tmp_path / "parts", model, fresh)
    assert report.ok and len(report.checks) == 1, str(report)


def assert_exports(
    model: Seq2Seq, search: Search, asked: list[Any], expected: list[Any], directory: Path, fresh: FreshProcess
) -> None:
    """Both exports with a search give these answers, whatever stands in a batch."""
    assert_native(directory / "model.onnx", model, loops=1)
    settings = model.codec.settings(search)
    signature = "serving_default" if isinstance(search, Rollout) else "ids_with_settings"
    questions = [batches(model, asked[:share], size) for size, share in SHARES.items()]
    inputs = [{signature: {**batch, **settings}} for each in questions for batch in each]
    for path in (directory / "model.onnx", directory / "saved_model" / "1"):
        answers = (answer.outputs[signature] for answer in fresh.replay(path, inputs))
        for each, share in zip(questions, SHARES.values(), strict=True):
            assert_same(model, list(islice(answers, len(each))), expected[:share], asked[:share])


def assert_steps(model: Seq2Seq, asked: list[Any], answers: list[Any], directory: Path, host: SimpleNamespace) -> None:
    """The encoder and the decoder's step, in the loops of the page, give these answers."""
    export_onnx_steps(model, directory)
    for part in (ENCODER, STEP):
        assert_native(directory / part, model, loops=0)
    encoder, step = (host_side(directory / part) for part in (ENCODER, STEP))
    (source,) = batches(model, asked, len(asked))
    if len(answers) == 1:
        given = host.rollout(encoder, step, source, LONGEST)
        np.testing.assert_allclose(given, answers[0][: len(asked)], atol=1e-4)
        return
    greedy, beams = answers
    for ids, wanted in zip(host.greedy(encoder, step, source, LONGEST), greedy, strict=False):
        assert [each for each in ids if each not in (0, 3)] == wanted[0].ids
    for (score, ids), wanted in zip(host.beam(encoder, step, source, 4, LONGEST), beams, strict=False):
        assert [each for each in ids if each != 3] == wanted[0].ids
        assert score == pytest.approx(wanted[0].score, abs=1e-4)


def host_side(path: Path) -> Callable[[Arrays], Arrays]:
    """A part as the page's loops ask it."""
    runtime = session(str(path))
    return lambda inputs: run_named(runtime, inputs)
