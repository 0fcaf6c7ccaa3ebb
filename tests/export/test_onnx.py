"""The ONNX file: its names, dimensions and description, and that nothing half-made is left behind."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from kerass2s.decoding import GreedySearch
from kerass2s.errors import ExportError
from kerass2s.export import export_onnx
from kerass2s.export import onnx as room
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import SentencePieceTokenizer


def interface(values: list) -> dict[str, tuple[int, list[str]]]:
    """Returns the element type and dimensions of graph inputs or outputs, by name."""
    types = {value.name: value.type.tensor_type for value in values}
    return {name: (of.elem_type, [dim.dim_param for dim in of.shape.dim]) for name, of in types.items()}


def test_names_types_and_dimensions(exported: Path):
    graph = onnx.load_model(exported / "model.onnx").graph
    int32, float32 = onnx.TensorProto.INT32, onnx.TensorProto.FLOAT
    assert interface(graph.input) == {
        "source_ids": (int32, ["batch", "source_time"]),
        "source_lengths": (int32, ["batch"]),
        "max_length": (int32, []),
        "length_penalty": (float32, []),
    }
    assert interface(graph.output) == {
        "target_ids": (int32, ["batch", "beams", "target_time"]),
        "target_lengths": (int32, ["batch", "beams"]),
        "scores": (float32, ["batch", "beams"]),
        "token_scores": (float32, ["batch", "beams", "token_time"]),
        "alignments": (float32, ["batch", "beams", "target_time", "source_time"]),
    }


def test_the_file_describes_itself(exported: Path, live: Seq2Seq):
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    carried = session.get_modelmeta().custom_metadata_map
    assert [carried[f"{name}_id"] for name in ("pad", "unknown", "start", "end")] == ["0", "1", "2", "3"]
    assert carried["search"] == "beam:2,max_length=6"
    assert carried["architecture"] == "luong2015"
    assert json.loads(carried["target_vocabulary"]) == live.target_tokenizer.pieces
    assert zlib.decompress(base64.b64decode(carried["source_sentencepiece"])) == live.source_tokenizer.model_proto
    writing = SentencePieceTokenizer(zlib.decompress(base64.b64decode(carried["target_sentencepiece"])))
    ids = list(range(live.target_tokenizer.vocabulary_size))
    assert writing.decode(ids[4:]) == live.target_tokenizer.decode(ids[4:]) != ""
    assert len(writing.model_proto) < len(live.target_tokenizer.model_proto) / 100, "it needs no table"
    assert json.loads(carried["outputs"]).keys() == {output.name for output in session.get_outputs()}


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0), (1, 1), (17, 9)])
def test_any_shape_runs(exported: Path, shape: tuple[int, int]):
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = {"source_ids": np.full(shape, 5, np.int32), "source_lengths": np.full(shape[:1], shape[1], np.int32)}
    outputs = dict(zip(names, session.run(names, inputs), strict=True))
    time = outputs["target_ids"].shape[2]
    assert outputs["target_ids"].shape == (shape[0], 2, time)
    assert outputs["alignments"].shape == (shape[0], 2, time, shape[1])


def test_exporting_again_replaces_the_file_and_says_nothing(
    exported: Path, live: Seq2Seq, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    path = tmp_path / "new" / "model.onnx"
    path.parent.mkdir()
    shutil.copy(exported / "model.onnx", path)
    export_onnx(live, path, GreedySearch(max_length=4))
    assert path.read_bytes() != (exported / "model.onnx").read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    printed = capfd.readouterr()
    assert printed.out == ""
    assert [line for line in printed.err.splitlines() if "tf2onnx" in line or "WARNING" in line] == []


def test_a_file_that_does_not_run_is_not_kept(live: Seq2Seq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> onnx.ModelProto:
        node = onnx.helper.make_node("NoSuchOperator", ["source_ids"], ["target_ids"])
        return onnx.helper.make_model(onnx.helper.make_graph([node], "broken", [], []))

    monkeypatch.setattr(room, "convert", broken)
    with pytest.raises(ExportError, match="does not reload and run"):
        export_onnx(live, tmp_path / "model.onnx", GreedySearch())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "directory.onnx", "notes.txt"])
def test_what_is_no_onnx_file_is_refused_and_kept(live: Seq2Seq, tmp_path: Path, name: str):
    (tmp_path / "directory.onnx").mkdir()
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(ExportError, match=r"ends in \.onnx\. Received: "):
        export_onnx(live, tmp_path / name, GreedySearch())
    assert (tmp_path / "notes.txt").read_text("utf-8") == "mine"


def test_a_place_that_cannot_be_written_is_told_before_the_work(live: Seq2Seq, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(room, "convert", lambda *_: pytest.fail("it was converted first"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        export_onnx(live, tmp_path / "file" / "model.onnx", GreedySearch())


def test_a_runtime_that_is_not_installed_is_told_before_the_work(live: Seq2Seq, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(room, "convert", lambda *_: pytest.fail("it was converted first"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"pip install 'kerass2s\[onnx\]'"):
        export_onnx(live, tmp_path / "model.onnx", GreedySearch())
    assert list(tmp_path.iterdir()) == []
