"""`train` and `quickstart`: a preset at the end, resuming where a run stopped, refusals before any work."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from kerass2s.cli.training import VALIDATED, validated
from kerass2s.data import Pair, read_pairs
from kerass2s.recipes.runs import HISTORY
from kerass2s.training import Checkpoints

SETS = [
    f"--set={change}"
    for change in (
        "config.units=16",
        "config.embedding_size=8",
        "config.dropout=0.0",
        "batching.size=4",
        "learning_rate=0.02",
        "search=greedy:max_length=12",
    )
]


@pytest.fixture
def arguments(home: Path, tmp_path: Path) -> list[object]:
    return [
        "g2p_luong2015",
        "--out",
        tmp_path / "run",
        "--train",
        home / "pairs.tsv",
        "--dev",
        home / "pairs.tsv",
        *SETS,
    ]


def test_train_makes_a_preset_that_evaluates(run, arguments, home: Path, tmp_path: Path):
    result = run("train", *arguments, "--set=epochs=20", "--set=config.units=32", "--set=learning_rate=0.03")
    assert result.exit_code == 0, result.output
    best = json.loads(run("evaluate", tmp_path / "run", home / "pairs.tsv", "--json").stdout)
    assert best["word_error_rate"] <= 0.5
    assert f"word error rate {best['word_error_rate']:.4f}" in result.stdout
    assert "epoch 20" in result.stderr
    assert f"everything goes into {tmp_path / 'run'}" in result.stderr
    assert f"kerass2s evaluate {tmp_path / 'run'} FILE" in result.stderr.split("next:")[1]


def test_a_teacher_is_trained_first_and_its_outputs_are_learnt_beside_the_data(
    run, arguments, home: Path, tmp_path: Path
):
    teacher = tmp_path / "teacher.yaml"
    teacher.write_text(
        f"""
architecture: luong2015
config: {{units: 32, embedding_size: 8, dropout: 0.0}}
source_tokenizer: {{kind: char}}
target_tokenizer: {{kind: word}}
batching: {{size: 4}}
data: {{train: {home / "pairs.tsv"}, dev: {home / "pairs.tsv"}}}
learning_rate: 0.03
epochs: 8
""",
        encoding="utf-8",
    )
    sources = tmp_path / "sources.txt"
    sources.write_text("tacta\ncacat\n", encoding="utf-8")
    taught = f"--set=teacher={{recipe: {teacher}, sources: {sources}}}"
    first = run("train", *arguments, "--set=epochs=1", taught)
    assert first.exit_code == 0, first.output
    assert "is asked for the targets of 2 sources" in first.stderr
    assert f"{len(read_pairs(home / 'pairs.tsv')) + 2} training and" in first.stderr
    made = (tmp_path / "run" / "teacher" / "config.json").read_bytes()
    again = run("train", *arguments, "--set=epochs=2", taught, "--resume")  # the teacher has no epoch to go
    assert again.exit_code == 0, again.output
    assert (tmp_path / "run" / "teacher" / "config.json").read_bytes() == made
    arguments[2] = tmp_path / "another"
    preset = f"--set=teacher={{preset: {tmp_path / 'run' / 'teacher'}}}"
    missing = f"--set=teacher={{preset: {tmp_path / 'nowhere'}}}"
    for wrong, said in (([preset, "--distribute", "mirrored"], "is of one process"), ([missing], "nowhere")):
        refused = run("train", *arguments, *wrong)
        assert refused.exit_code == 2
        assert said in refused.stderr
    assert not (tmp_path / "another").exists()


def test_validation_is_on_a_draw_of_a_long_file_and_not_on_its_beginning():
    pairs = [Pair(str(number), "") for number in range(3 * VALIDATED)]
    drawn = validated(pairs)
    assert drawn == validated(pairs)
    assert len(set(drawn)) == VALIDATED
    assert sum(int(pair.source) for pair in drawn) / VALIDATED == pytest.approx(1.5 * VALIDATED, rel=0.1)
    assert validated(pairs[:VALIDATED]) == pairs[:VALIDATED]


def test_a_run_that_was_told_to_end_resumes_where_it_stopped(
    run, arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ends, seen = Checkpoints.on_train_batch_end, []

    def told(self: Checkpoints, batch: int, logs: Any = None) -> None:
        seen.append(batch)
        if batch == 0 and seen.count(0) == 2:  # the second epoch has begun
            os.kill(os.getpid(), signal.SIGTERM)
        ends(self, batch, logs)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "on_train_batch_end", told)
        first = run("train", *arguments, "--set", "epochs=2")
    assert first.exit_code == 128 + signal.SIGTERM
    assert "ended by SIGTERM; the state is saved, and --resume goes on from there" in first.stderr
    states = sorted(place.name for place in (tmp_path / "run" / "backup" / "state").iterdir())
    assert states == ["000001-000000000", "000001-000000001"]
    # All devices of this machine are one, but it is the way of several.
    more = ("--resume", "--distribute", "mirrored", "--quiet", "--json", "--plot", tmp_path / "curves.png")
    again = run("train", *arguments, "--set", "epochs=3", *more)
    assert (again.exit_code, again.stderr) == (0, "")
    best = json.loads(again.stdout)
    assert (best["preset"], best["n"]) == (str(tmp_path / "run"), 12)
    assert best["tokens_per_second"] > 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    history = [json.loads(line) for line in (tmp_path / "run" / HISTORY).read_text("utf-8").splitlines()]
    assert [entry["epoch"] for entry in history] == [0, 1, 2]
    assert history[2]["loss"] < history[0]["loss"]


def test_refusals_come_before_any_work(refuses, arguments, home: Path, tmp_path: Path):
    assert "`epochs`" in refuses("train", *arguments, "--set", "epoch=3")
    assert "units" in refuses("train", *arguments, "--set", "config.unit=3")
    assert not (tmp_path / "run").exists()
    assert "missing.tsv" in refuses("train", "g2p_luong2015", "--out", tmp_path, "--train", "missing.tsv", "--dev", "x")
    assert "Training needs data" in refuses("train", "g2p_luong2015", "--out", tmp_path, "--train", home / "pairs.tsv")
    assert "--resume" in refuses("train", *arguments, "--resume")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("architekture: luong2015\n", encoding="utf-8")
    assert "Did you mean `architecture`?" in refuses("train", recipe, "--out", tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine", encoding="utf-8")
    assert "empty directory" in refuses("train", *arguments, "--out", tmp_path / "full")


def test_resuming_another_recipe_is_refused(run, refuses, arguments):
    assert run("train", *arguments, "--set", "epochs=1").exit_code == 0
    assert "batching" in refuses("train", *arguments, "--set", "batching.size=3", "--resume")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> str:
    """The variable that quickstart sets: not there before, and not after the test."""
    name = "TF_NUM_INTRAOP_THREADS"
    monkeypatch.setenv(name, "0")
    monkeypatch.delenv(name)
    return name


def test_quickstart_does_the_whole_job_on_a_few_words(run, threads: str, tmp_path: Path):
    result = run("quickstart", "--out", tmp_path / "quick", "--minutes", 0.05, "--words", 200)
    assert result.exit_code == 0, result.output
    assert os.environ[threads] == "1"
    assert "split by word" in result.stdout
    assert "word error rate" in result.stdout
    assert result.stdout.count("20 of 20") == 3
    made = {path.relative_to(tmp_path / "quick").as_posix() for path in (tmp_path / "quick").rglob("*")}
    name = "g2p_quickstart"
    expected = {"preset/config.json", "saved_model/1/saved_model.pb", "model.onnx", "model.text.onnx"}
    expected |= {"README.md", "manifest.json"}
    assert {f"{name}/{each}" for each in expected} | {"attention.png", "loss.png"} <= made
    assert run("verify", tmp_path / "quick" / name).exit_code == 0


@pytest.mark.usefixtures("threads")
def test_quickstart_refuses_a_file_as_its_directory(refuses, home: Path):
    assert "pairs.tsv" in refuses("quickstart", "--out", home / "pairs.tsv")


def test_benchmark_measures(run, home: Path, tmp_path: Path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "architecture: luong2015\nconfig: {units: 8, embedding_size: 8}\nbatching: {size: 4}\n"
        "source_tokenizer: {kind: char}\ntarget_tokenizer: {kind: word}\n"
        f"data: {{train: '{home / 'pairs.tsv'}', dev: '{home / 'pairs.tsv'}'}}\n",
        encoding="utf-8",
    )
    asked = ["--steps", 3, "--set", "fused=true", "--form", "live", "--json"]
    report = json.loads(run("benchmark", recipe, *asked).stdout)
    assert report["training_target_tokens_per_second"] > report["training_batches_per_second"] > 0
    for search in ("greedy", "beam_5"):
        assert report[f"live_{search}_batch_64_sentences_per_second"] > 0


def test_benchmark_knows_its_forms(refuses):
    assert "saved_model" in refuses("benchmark", "--form", "tflite")


def test_a_recipe_that_averages_accumulates_samples_and_orders_resumes(run, arguments, tmp_path: Path):
    sets = [
        "--set=ema=0.5",
        "--set=gradient_accumulation_steps=2",
        "--set=feeding={name: scheduled_sampling, decay: {name: linear, c: 0.01}}",
        "--set=curriculum={steps: 4, initial: 0.5}",
        "--set=early_stopping=1",
    ]
    assert run("train", *arguments, *sets, "--set", "epochs=1").exit_code == 0
    again = run("train", *arguments, *sets, "--set", "epochs=2", "--resume")
    assert again.exit_code == 0, again.output
    history = [json.loads(line) for line in (tmp_path / "run" / HISTORY).read_text("utf-8").splitlines()]
    assert history[0]["epoch"] == 0
    assert history[1]["sampling_probability"] > history[0]["sampling_probability"] > 0


def test_early_stopping_ends_the_run(run, arguments, tmp_path: Path):
    sets = ["--set=early_stopping=1", "--set=learning_rate=1e-9", "--set=epochs=9"]
    assert run("train", *arguments, *sets).exit_code == 0
    history = (tmp_path / "run" / HISTORY).read_text("utf-8").splitlines()
    assert len(history) == 2


def test_a_strategy_that_is_none_is_refused_before_any_work(refuses, arguments, tmp_path: Path):
    assert "Did you mean `multi-worker`?" in refuses("train", *arguments, "--distribute", "multiworker")
    assert not (tmp_path / "run").exists()
