"""Calibration, scores by token, ensembles and streams of lines, on the command line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from kerass2s.presets import load_calibration, load_preset, save_preset

SPEC = "greedy:max_length=12"


@pytest.fixture
def preset(home: Path, tmp_path: Path) -> Path:
    """A preset that a test may change."""
    return Path(shutil.copytree(home / "preset", tmp_path / "preset"))


@pytest.fixture
def dev(tmp_path: Path, lexicon) -> Path:
    """Pairs of which the model gets every third wrong, for their targets are not what it has learnt."""
    lines = [f"{word}\t{'T T T' if i % 3 == 2 else phones}\n" for i, (word, phones) in enumerate(lexicon)]
    (tmp_path / "dev.tsv").write_text("".join(lines), encoding="utf-8")
    return tmp_path / "dev.tsv"


def test_a_calibration_stays_with_its_weights(run, refuses, preset: Path, dev: Path, tmp_path: Path):
    assert "not calibrated" in refuses("predict", preset, "--confidence", stdin="cat\n")
    result = run("calibrate", preset, dev, "--search", SPEC, "--plot", tmp_path / "plot.png", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["n"], report["sequence_accuracy"]) == (12, pytest.approx(8 / 12))
    assert {"ece_before", "ece_after", "risk_coverage_area"} < set(report)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")

    temperature = load_calibration(preset, SPEC).temperature
    assert report["temperature"] == pytest.approx(temperature)
    assert f"temperature        {temperature:.4f}".rstrip("0") in run("calibrate", preset, dev, "--search", SPEC).stdout
    asked = ("--search", SPEC, "--scores", "--confidence")
    text, score, confidence = run("predict", preset, *asked, stdin="cat\n").stdout.rstrip("\n").split("\t")
    assert text == "K AE T"
    assert float(confidence) == pytest.approx(math.exp(float(score) / temperature), abs=1e-3)
    (best,) = json.loads(run("predict", preset, "--search", SPEC, "--confidence", "--json", stdin="cat\n").stdout)[
        "outputs"
    ]
    assert best["confidence"] == pytest.approx(float(confidence), abs=1e-4)
    assert f"calibrated: {SPEC}" in refuses("predict", preset, "--search", "beam:2", "--confidence", stdin="cat\n")

    (preset / "confidence.json").write_text("{}", encoding="utf-8")
    assert "confidence.json: damaged" in refuses("predict", preset, stdin="cat\n")


def test_a_model_saved_anew_has_no_calibration(run, refuses, preset: Path, dev: Path):
    for search in (SPEC, "beam:2,max_length=12"):
        assert run("calibrate", preset, dev, "--search", search).exit_code == 0
    assert set(json.loads((preset / "confidence.json").read_text("utf-8"))) == {SPEC, "beam:2,max_length=12"}
    save_preset(load_preset(preset), preset)
    assert "calibrated: none" in refuses("predict", preset, "--search", SPEC, "--confidence", stdin="cat\n")


def test_what_cannot_be_calibrated_is_refused(refuses, home: Path):
    assert "Received: 12 right of 12" in refuses("calibrate", home / "preset", home / "pairs.tsv", "--search", SPEC)
    assert "stands in a preset" in refuses("calibrate", home / "model.onnx", home / "pairs.tsv")
    assert "stands in a preset" in refuses("predict", home / "model.onnx", "--confidence", stdin="cat\n")
    assert not (home / "preset" / "confidence.json").exists()


def test_risk_and_coverage_of_an_export(run, home: Path, dev: Path, tmp_path: Path):
    report = json.loads(
        run("evaluate", home / "model.onnx", dev, "--json", "--risk-coverage", tmp_path / "risk.png").stdout
    )
    assert 0 < report["risk_coverage_area"] < 1
    assert (tmp_path / "risk.png").read_bytes().startswith(b"\x89PNG")


def test_scores_by_token_and_perplexity(run, home: Path, tmp_path: Path):
    (tmp_path / "pairs.tsv").write_text("cat\tK AE T\tT T\nact\tAE K T\n", encoding="utf-8")
    scores, perplexities, objects = (
        run("score", home / "preset", tmp_path / "pairs.tsv", *option).stdout.splitlines()
        for option in ([], ["--perplexity"], ["--json"])
    )
    columns = [[*map(float, line.split("\t"))] for line in scores]
    for row, found, text in zip(columns, perplexities, objects, strict=True):
        targets = json.loads(text)["targets"]
        for score, perplexity, target in zip(row, map(float, found.split("\t")), targets, strict=True):
            tokens = target["token_log_probabilities"]
            assert len(tokens) == len(target["text"].split()) + 1
            assert sum(tokens) == pytest.approx(score, abs=1e-4)
            assert perplexity == pytest.approx(math.exp(-score / len(tokens)), rel=1e-4)
            assert (target["log_probability"], target["perplexity"]) == pytest.approx((score, perplexity), abs=1e-5)
    assert json.loads(objects[1])["source"] == "act"


def test_an_ensemble_is_a_preset_like_any_other(run, refuses, home: Path, dev: Path, tmp_path: Path):
    out = tmp_path / "both"
    assert "average" in refuses("ensemble", home / "preset", "--out", out, "--average", "median")
    assert "no_such_preset" in refuses("ensemble", home / "preset", "no_such_preset", "--out", out)
    assert run("ensemble", home / "preset", home / "preset", "--out", out, "--average", "probability").exit_code == 0
    for command in (["predict", "-"], ["evaluate", home / "pairs.tsv"], ["score", home / "pairs.tsv"]):
        found, single = (run(command[0], place, *command[1:], stdin="cat\nact\n") for place in (out, home / "preset"))
        lines = [line for line in found.stdout.splitlines() if not line.startswith("seconds")]
        others = [line for line in single.stdout.splitlines() if not line.startswith("seconds")]
        assert found.exit_code == 0 and len(lines) == len(others)
        if command[0] == "score":
            assert [*map(float, lines)] == pytest.approx([*map(float, others)], abs=1e-4)
        else:
            assert lines == others
    assert run("calibrate", out, dev).exit_code == 0
    assert run("predict", out, "--confidence", stdin="cat\n").stdout.startswith("K AE T\t0.")


def test_lines_stream_in_windows(run, home: Path, lexicon, tmp_path: Path):
    words = [word for word, _ in lexicon]
    result = run("predict", home / "preset", "--search", SPEC, "--window", 5, stdin="\n".join(words))
    assert result.stdout.splitlines() == [phones for _, phones in lexicon]


def test_a_bad_line_of_a_stream_is_named_and_those_before_are_answered(run, refuses, home: Path, tmp_path: Path):
    lines = b"cat\nact\n\xff\nsat\n"
    result = run("predict", home / "preset", "--search", SPEC, "--window", 2, stdin=lines)
    assert result.exit_code == 2
    assert result.stdout.splitlines() == ["K AE T", "AE K T"]
    assert "standard input:3: not UTF-8" in result.stderr
    (tmp_path / "words.txt").write_bytes(lines)
    assert "words.txt:3: not UTF-8" in refuses("predict", home / "preset", tmp_path / "words.txt", "--window", 1)
