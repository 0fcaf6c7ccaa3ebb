"""`evaluate`: figures with intervals, a page about errors, two models compared; and pictures of `predict`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PNG = b"\x89PNG"


@pytest.fixture
def pairs(home: Path, tmp_path: Path) -> Path:
    """The lexicon, with a target that no model can know."""
    lines = (home / "pairs.tsv").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "test.tsv").write_text("".join([*lines, "sttack\tT T T T T\n"]), encoding="utf-8")
    return tmp_path / "test.tsv"


def test_two_models_are_compared_on_paper_and_on_screen(run, home: Path, pairs: Path, tmp_path: Path):
    asked = ("--against", home / "model.onnx", "--search", "greedy:max_length=12")
    drawn = ("--report", tmp_path / "new" / "report", "--plot", tmp_path / "errors.png")
    result = run("evaluate", home / "preset", pairs, *asked, *drawn, "--json")
    found = json.loads(result.stdout)
    assert found["report"] == str(tmp_path / "new" / "report" / "report.html")
    assert found["report"] in result.stderr.replace("\n", "")
    page = Path(found["report"]).read_text("utf-8")
    assert f"{home / 'preset'} and {home / 'model.onnx'} compared" in page
    assert page.count("no difference shown") == 4
    assert (tmp_path / "errors.png").read_bytes().startswith(PNG)
    against = found["against"]
    assert against["model"] == str(home / "model.onnx")
    assert against["word_error_rate"] == found["word_error_rate"] > 0
    assert against["differences"]["bleu"] == {"value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}

    lines = run("evaluate", home / "preset", pairs, *asked).stdout.splitlines()
    assert f"against            {home / 'model.onnx'}" in lines
    assert sum(line.endswith("+0.0000 [+0.0000, +0.0000], p = 1.000") for line in lines) == 5


def test_what_cannot_be_reported_is_refused_before_the_work(refuses, home: Path, pairs: Path, tmp_path: Path):
    assert "Received: the file" in refuses("evaluate", home / "preset", pairs, "--report", pairs)
    assert "no_such" in refuses("evaluate", home / "preset", pairs, "--against", "no_such_preset")
    assert "ends in one of" in refuses("evaluate", home / "preset", pairs, "--plot", tmp_path / "errors.doc")
    assert "shows no steps" in refuses("predict", home / "model.onnx", "--beam-tree", tmp_path / "a.png", stdin="cat\n")


def test_the_tree_of_the_first_word_that_is_one(run, home: Path, tmp_path: Path):
    asked = ("--search", "beam:2,max_length=6", "--beam-tree", tmp_path / "tree.png")
    assert run("predict", home / "preset", *asked, stdin="\ncat\nact\n").stdout.endswith("\nK AE T\nAE K T\n")
    assert (tmp_path / "tree.png").read_bytes().startswith(PNG)
