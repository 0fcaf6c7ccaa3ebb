"""Verification: fresh processes, odd shapes, and that a difference is really seen."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kerass2s.decoding import BeamSearch
from kerass2s.errors import ExportError, UserError
from kerass2s.export import check_manifest, export_saved_model, load_predictor, verify, write_manifest
from kerass2s.export.comparison import TOLERANCE, differs
from kerass2s.export.fresh import REPLAY, FreshProcess
from kerass2s.export.verify import make_probes
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import END_ID, UNKNOWN_ID


def test_a_whole_directory_against_its_preset(exported: Path):
    report = verify(exported)
    assert report.ok, str(report)
    assert [Path(check.path).relative_to(exported).as_posix() for check in report.checks] == [
        "saved_model/1",
        "model.onnx",
    ]
    assert all(check.compared for check in report.checks)
    assert str(report).count("equals the live model") == 2


def test_fewer_outputs_than_beams(live: Seq2Seq, tmp_path: Path, fresh: FreshProcess):
    search = BeamSearch(width=12, max_length=1)
    export_saved_model(live, tmp_path / "saved_model", search)
    (found,) = load_predictor(tmp_path / "saved_model").n_best(["cat"])
    (expected,) = live.n_best(["cat"], search)
    assert [one.text for one in found] == [one.text for one in expected]
    assert 0 < len(found) < 12
    report = verify(tmp_path / "saved_model", live, fresh)
    assert report.ok, str(report)


def test_without_a_live_model_it_only_runs(exported: Path, fresh: FreshProcess):
    (check,) = verify(exported / "model.onnx", process=fresh).checks
    assert check.ok and not check.compared
    assert "no live model" in str(check)


@pytest.mark.parametrize("place", ["saved_model/1", "model.onnx"])
def test_a_model_that_differs_is_seen(exported: Path, tiny: Callable[[str], Seq2Seq], place: str, fresh: FreshProcess):
    other = tiny("luong2015")
    bias = next(weight for weight in other.decoder.trainable_weights if "bias" in weight.path)
    bias.assign(bias + 0.1)
    report = verify(exported / place, other, fresh)
    assert not report.ok
    assert "scores differs" in str(report)


def test_the_probes_are_the_odd_shapes(live: Seq2Seq, search: BeamSearch):
    probes = {probe.name: probe.inputs["source_ids"] for probe in make_probes(live.codec, search)}
    assert probes["batch of 1, length 1"].shape == (1, 2)
    assert probes["batch of 17, mixed lengths"].shape[0] == 17
    assert probes["long"].shape[1] > 40
    assert probes["empty"].tolist() == [[END_ID]]
    assert set(probes["strange"][0].tolist()) == {UNKNOWN_ID, END_ID}
    assert TOLERANCE == 1e-4


def test_the_replay_script_imports_no_kerass2s():
    tree = ast.parse(REPLAY.read_text("utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name for name in names if name and name.startswith("kerass2s")}


def test_the_manifest(exported: Path, tmp_path: Path):
    copy = tmp_path / "tiny"
    shutil.copytree(exported, copy)
    assert check_manifest(copy) == []
    manifest = json.loads((copy / "manifest.json").read_text("utf-8"))
    assert manifest["exports"].keys() == {"saved_model/1", "model.onnx"}
    assert manifest["exports"]["model.onnx"]["special_ids"] == {"pad": 0, "unknown": 1, "start": 2, "end": 3}
    assert manifest["exports"]["model.onnx"]["inputs"]["source_ids"]["shape"] == ["batch", "source_time"]
    assert {"preset/config.json", "model.onnx", "saved_model/1/saved_model.pb"} <= manifest["sha256"].keys()
    (copy / "preset" / "source.spm").unlink()
    (copy / "extra.txt").write_text("more")
    assert check_manifest(copy) == ["extra.txt: not in the manifest", "preset/source.spm: missing"]
    with pytest.raises(ExportError, match=r"not as its manifest\.json says"):
        verify(copy)


def test_nothing_to_verify(tmp_path: Path):
    with pytest.raises(UserError, match="No such export"):
        verify(tmp_path / "nowhere")
    with pytest.raises(ExportError, match="holds no saved_model"):
        verify(tmp_path)
    with pytest.raises(ExportError, match="No saved_model"):
        write_manifest(tmp_path)
    with pytest.raises(ExportError, match="cannot be read"):
        check_manifest(tmp_path)


def test_a_score_out_of_tolerance_is_a_difference():
    assert list(differs("scores", np.array([1.0, -np.inf]), np.array([1.00005, -np.inf]))) == []
    assert list(differs("scores", np.array([1.0]), np.array([1.0003]))) == ["scores differs by up to 3.00e-04"]
    assert list(differs("target_ids", np.array([1, 2]), np.array([1, 3]))) == ["target_ids differs at 1 of 2 places"]
