"""`deploy` for servers: the command writes the folder, says where, and refuses what cannot be served."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("host", "export", "made"),
    [
        ("tf-serving", "cat=saved_model", "models/cat/1/saved_model.pb"),
        ("triton", "cat=model.onnx", "cat/config.pbtxt"),
        ("mlserver", "cat=model.onnx", "models/cat/runtime.py"),
    ],
)
def test_the_folder_of_a_server(
    run, refuses, home: Path, tmp_path: Path, monkeypatch, host: str, export: str, made: str
):
    monkeypatch.chdir(home)
    out = tmp_path / "served"
    result = run("deploy", host, export, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout == "" and f"wrote {out};" in result.stderr
    assert (out / made).is_file()
    assert "curl" in (out / "README.md").read_text("utf-8")
    assert str(tmp_path) in refuses("deploy", host, export, "--out", out)  # it is not empty
    assert "Received" in refuses("deploy", host, "preset", "--out", tmp_path / "other")


def test_a_corpus_is_answered_from_text_to_text(refuses, home: Path, tmp_path: Path):
    assert "--format text_onnx" in refuses("deploy", "beam", home / "model.onnx", "--out", tmp_path / "job")
    assert not (tmp_path / "job").exists()
