"""`export` and `verify`: what is written equals the preset, and damage is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def test_exports_verify_against_their_preset(run, home: Path, tmp_path: Path):
    names = {"saved_model": "saved_model/1", "onnx": "model.onnx", "text_onnx": "model.text.onnx"}
    for format, name in names.items():
        options = ["--format", format, "--search", "beam:2,max_length=12"]
        for_a_program = format == "onnx"
        made = run("export", home / "preset", tmp_path / name, *options, *["--json"] * for_a_program)
        assert made.exit_code == 0, made.output
        assert made.stdout == (f'{{"out": "{tmp_path / name}"}}\n' if for_a_program else "")
        assert (f"wrote {tmp_path / name}" in made.stderr) != for_a_program
        assert run("predict", tmp_path / name, "--n-best", 2, stdin="cat\n").stdout.startswith("K AE T\t")
    checked = run("verify", tmp_path, "--against", home / "preset")
    assert checked.exit_code == 0, checked.output
    assert all(str(tmp_path / name) in checked.stdout for name in names.values())
    assert checked.stdout.count("equals the live model") == len(names)
    assert "largest difference" in checked.stdout and "live ms" in checked.stdout


def test_another_model_does_not_verify(run, home: Path, tmp_path: Path, source_tokenizer, target_tokenizer):
    from kerass2s import zoo

    other = zoo.build(
        "luong2015", source_tokenizer=source_tokenizer, target_tokenizer=target_tokenizer, units=24, embedding_size=12
    )
    other.save_to_preset(tmp_path / "other")
    result = run("verify", home / "model.onnx", "--against", tmp_path / "other", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    (check,) = told["checks"]
    assert not told["ok"] and not check["ok"] and any("scores differs" in each for each in check["differences"])
    assert check["largest"]["scores"] > 1e-4 and check["milliseconds"] > 0 < check["live_milliseconds"]


def test_bad_requests_are_refused(refuses, home: Path, tmp_path: Path):
    refuses("export", "no_such_preset", tmp_path / "a.onnx", "--format", "onnx")
    refuses("export", home / "preset", tmp_path / "a.onnx", "--format", "onnx", "--search", "beam:0")
    refuses("export", home / "preset", home / "pairs.tsv", "--format", "saved_model")
    refuses("export", home / "preset", tmp_path / "a.onnx", "--format", "onnx", "--precision", "int4")
    assert "takes no opset" in refuses(
        "export", home / "preset", tmp_path / "1", "--format", "saved_model", "--opset", 20
    )
    assert "takes no search" in refuses(
        "export", home / "preset", tmp_path / "1", "--format", "onnx_steps", "--search", "greedy"
    )
    assert "opset must be" in refuses("export", home / "preset", tmp_path / "a.onnx", "--format", "onnx", "--opset", 7)
    (tmp_path / "cut.onnx").write_bytes((home / "model.onnx").read_bytes()[:2000])
    assert "cut.onnx" in refuses("verify", tmp_path / "cut.onnx")
    refuses("verify", home / "model.onnx", "--against", "no_such_preset")
    line = refuses("export", home / "model.onnx", tmp_path / "a.onnx", "--format", "onnx")
    assert "A preset is a directory; an export does not become one again" in line
    line = refuses("export", home / "preset", home / "pairs.tsv" / "1", "--format", "saved_model")
    assert line.startswith("error: This path cannot be used: ")
    # The work is not done first, and then lost.
    refuses("predict", home / "model.onnx", home / "pairs.tsv", "--attention", tmp_path)
    refuses("evaluate", home / "model.onnx", home / "pairs.tsv", "--risk-coverage", tmp_path / "risk.word")


def test_a_directory_of_exports_says_what_is_in_it(refuses, home: Path, tmp_path: Path):
    shutil.copytree(home / "saved_model", tmp_path / "saved_model" / "1")
    (tmp_path / "a_directory.onnx").mkdir()
    for where in (tmp_path, tmp_path / "saved_model"):
        line = refuses("predict", where, home / "pairs.tsv")
        assert f"holds exports: name one, such as {tmp_path / 'saved_model' / '1'}. " in line
