"""`predict`, `evaluate` and `score`: the same answers from a preset and its exports, line for line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

SPEC = "greedy:max_length=12"
EXPORTS = ["saved_model", "model.onnx"]
KEYS = {
    "n",
    "sequence_accuracy",
    "word_error_rate",
    "token_error_rate",
    "bleu",
    "bleu_signature",
    "chrf",
    "chrf_signature",
    "seconds",
    "search",
}


def test_predict_gives_a_line_for_a_line_in_order(run, home: Path, lexicon):
    words = [word for word, _ in lexicon]
    lines = [words[0], "", *words[1:], "zzz", "", words[0]]
    result = run("predict", home / "preset", "-", "--search", SPEC, stdin="\n".join(lines) + "\n")
    assert result.exit_code == 0
    answers = result.stdout.split("\n")
    assert answers.pop() == ""
    assert len(answers) == len(lines)
    assert answers[0] == answers[-1]
    known = dict(lexicon)
    assert sum(known.get(word) == answer for word, answer in zip(lines, answers, strict=True)) >= len(words)


@pytest.mark.parametrize("search", [SPEC, "greedy:max_length=2"])
@pytest.mark.parametrize("name", EXPORTS)
def test_exports_predict_and_score_as_the_preset_does(run, home: Path, name: str, search: str):
    stdin = "cat\n\nsta\nqqq\n"
    live = run("predict", home / "preset", "--search", search, "--scores", stdin=stdin)
    asked = [] if search == SPEC else ["--search", search]
    export = run("predict", home / name, *asked, "--scores", stdin=stdin)
    assert export.exit_code == 0, export.output
    pairs = zip(live.stdout.splitlines(), export.stdout.splitlines(), strict=True)
    for (text, score), (other, other_score) in ((left.split("\t"), right.split("\t")) for left, right in pairs):
        assert text == other
        assert float(score) == pytest.approx(float(other_score), abs=1e-4)


def test_predict_reads_the_first_column_of_a_file(run, home: Path, lexicon):
    result = run("predict", home / "preset", home / "pairs.tsv", "--search", SPEC)
    assert result.stdout.splitlines() == [phones for _, phones in lexicon]


def test_n_best_makes_columns(run, home: Path):
    result = run("predict", home / "preset", "--n-best", 3, "--scores", stdin="cat\n\n")
    columns = [line.split("\t") for line in result.stdout.split("\n")[:2]]
    assert [len(each) for each in columns] == [6, 6]
    scores = [float(score) for score in columns[0][1::2]]
    assert scores == sorted(scores, reverse=True)


def test_predict_prints_an_object_for_each_source(run, home: Path):
    options = ("--search", "beam:3", "--n-best", 2)
    said = run("predict", home / "preset", *options, "--json", stdin="cat\n\n").stdout
    found = [json.loads(line) for line in said.splitlines()]
    assert [each["source"] for each in found] == ["cat", ""]
    columns = run("predict", home / "preset", *options, "--scores", stdin="cat\n").stdout.rstrip("\n").split("\t")
    outputs = [(each["text"], f"{each['score']:.6f}") for each in found[0]["outputs"]]
    assert outputs == list(zip(columns[::2], columns[1::2], strict=True))
    assert found[0]["outputs"][0]["log_probability"] <= 0


def test_n_best_beyond_the_search_is_refused(refuses, home: Path):
    assert "--search beam:2" in refuses("predict", home / "model.onnx", "--n-best", 2, stdin="cat\n")


def test_attention_is_drawn(run, home: Path, tmp_path: Path):
    result = run("predict", home / "model.onnx", "--attention", tmp_path / "a.png", stdin="cat\n\nstack\n")
    assert result.exit_code == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_prints_one_object_and_agrees_everywhere(run, home: Path):
    reports = []
    for name in ("preset", *EXPORTS):
        search = ["--search", SPEC] if name == "preset" else []
        report = json.loads(run("evaluate", home / name, home / "pairs.tsv", "--json", *search).stdout)
        assert set(report) == KEYS
        assert report.pop("seconds") > 0
        reports.append(report)
    assert reports[0] == reports[1] == reports[2]
    assert reports[0]["word_error_rate"] == 0.0
    assert reports[0]["n"] == 12


def test_evaluate_counts_any_accepted_target(run, home: Path, tmp_path: Path):
    with gzip.open(tmp_path / "pairs.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("cat\tT AE K\tK AE T\n")
    report = json.loads(run("evaluate", home / "preset", tmp_path / "pairs.tsv.gz", "--json").stdout)
    assert report["sequence_accuracy"] == 1.0


def test_evaluate_takes_parallel_files_and_prints_a_table(run, home: Path, tmp_path: Path):
    (tmp_path / "a").write_text("cat\nact\n", encoding="utf-8")
    (tmp_path / "b").write_text("K AE T\nAE K T\n", encoding="utf-8")
    result = run("evaluate", home / "preset", "--source", tmp_path / "a", "--target", tmp_path / "b")
    assert "word_error_rate" in result.stdout


def test_score_gives_a_column_for_each_target(run, home: Path, tmp_path: Path):
    (tmp_path / "pairs.tsv").write_text("cat\tK AE T\tT T T\nact\tAE K T\n", encoding="utf-8")
    lines = run("score", home / "preset", tmp_path / "pairs.tsv").stdout.splitlines()
    right, wrong = map(float, lines[0].split("\t"))
    assert wrong < right < 0
    predicted = run("predict", home / "preset", "--scores", stdin="cat\n").stdout.split("\t")
    assert right == pytest.approx(float(predicted[1]), abs=1e-4)
    assert len(lines) == 2


# === Refusals ===


def test_bad_files_are_refused(refuses, home: Path, tmp_path: Path):
    (tmp_path / "binary.tsv").write_bytes(b"\x89PNG\x00\xff\n")
    (tmp_path / "latin.tsv").write_bytes("é\tE\n".encode("latin-1"))
    (tmp_path / "no_tab.tsv").write_text("cat\tK AE T\nact\n", encoding="utf-8")
    (tmp_path / "empty.tsv").write_bytes(b"")
    preset = home / "preset"
    for command in ("evaluate", "score"):
        assert "missing.tsv" in refuses(command, preset, tmp_path / "missing.tsv")
        assert "binary.tsv:1" in refuses(command, preset, tmp_path / "binary.tsv")
        assert "no_tab.tsv:2: no tab" in refuses(command, preset, tmp_path / "no_tab.tsv")
        assert "empty.tsv" in refuses(command, preset, tmp_path / "empty.tsv")
    for name in ("missing.tsv", "binary.tsv", "latin.tsv", "empty.tsv"):
        assert name in refuses("predict", preset, tmp_path / name)
    assert "standard input" in refuses("predict", preset, "-", stdin="")
    assert "FILE" in refuses("evaluate", preset)
    assert "--source" in refuses("score", preset, "--source", home / "pairs.tsv")


@pytest.mark.parametrize("search", ["gredy", "beam:0", "beam:x", "beam:5,length=1", ""])
def test_a_wrong_search_is_refused(refuses, home: Path, search: str):
    for command in (["predict", home / "preset"], ["evaluate", home / "preset", home / "pairs.tsv"]):
        refuses(*command, "--search", search, stdin="cat\n")


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_refuses_another_search_and_scoring(refuses, home: Path, name: str):
    assert SPEC in refuses("predict", home / name, "--search", "beam:5", stdin="cat\n")
    assert "export" in refuses("score", home / name, home / "pairs.tsv")


def test_unknown_and_damaged_models_are_refused(refuses, home: Path, tmp_path: Path):
    assert "no_such_preset" in refuses("predict", "no_such_preset", stdin="cat\n")
    assert "missing.onnx" in refuses("predict", tmp_path / "missing.onnx", stdin="cat\n")
    (tmp_path / "cut.onnx").write_bytes((home / "model.onnx").read_bytes()[:2000])
    assert "cut.onnx" in refuses("predict", tmp_path / "cut.onnx", stdin="cat\n")
    (tmp_path / "empty").mkdir()
    refuses("predict", tmp_path / "empty", stdin="cat\n")


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "source.spm", "target.spm"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_preset_with_a_bad_file_is_refused(refuses, home: Path, tmp_path: Path, name: str, damage: str):
    for file in (home / "preset").iterdir():
        content = file.read_bytes()
        if file.name == name and damage == "missing":
            continue
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if file.name == name else content)
    assert name in refuses("predict", tmp_path, stdin="cat\n")
