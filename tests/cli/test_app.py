"""The command line as a whole: help with examples, one-line refusals, listing, and a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import kerass2s
from kerass2s import recipes, zoo

COMMANDS = ["quickstart", "list", "train", "evaluate", "predict", "score", "export", "verify", "benchmark"]
HOSTS = ["web", "tf-serving", "triton", "mlserver"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(run, command: str):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"kerass2s {command}" in result.stdout.split("Examples:")[1]


@pytest.mark.parametrize("host", HOSTS)
def test_every_host_of_deploy_explains_itself_with_an_example(run, host: str):
    result = run("deploy", host, "--help")
    assert result.exit_code == 0
    assert f"kerass2s deploy {host}" in result.stdout.split("Examples:")[1]
    assert host in run("deploy", "--help").stdout


def test_help_names_every_command_and_version_is_the_packages(run):
    text = run("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert run("--version").stdout.strip() == kerass2s.__version__


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no_such_command"],
        ["predict"],
        ["predict", "x", "--n-best", "0"],
        ["predict", "x", "--n-best", "two"],
        ["predict", "x", "--no-such-option"],
        ["list", "everything"],
        ["export", "x", "y"],
        ["export", "x", "y", "--format", "tflite"],
        ["train", "no_such_recipe", "--out", "x"],
        ["quickstart", "--minutes", "0"],
        ["verify", "no_such_export"],
        ["deploy"],
        ["deploy", "tf-serving", "no_such_export", "--out", "x"],
        ["deploy", "triton", "no_such_export", "--out", "x"],
        ["deploy", "mlserver", "a/b=no_such_export", "--out", "x"],
    ],
)
def test_wrong_arguments_are_refused(refuses, arguments: list[str]):
    refuses(*arguments)


def test_list_names_what_there_is(run):
    found = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in found["architectures"]] == zoo.names()
    assert [row["name"] for row in found["recipes"]] == recipes.names()
    assert "presets" in found
    text = run("list", "architectures").stdout
    assert "luong2015" in text
    assert "recipes" not in text


def test_a_fresh_process_prints_results_only(home):
    """No log of TensorFlow comes between: stdout is the answer, stderr is empty, or one line for a mistake."""
    command = [sys.executable, "-m", "kerass2s", "predict"]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [*command, home / "preset", "-"], input="cat\nact\n", capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "K AE T\nAE K T\n", "")
    pairs = home / "pairs.tsv"
    training = [
        "train",
        "transduce",
        "--out",
        home / "none",
        "--train",
        pairs,
        "--dev",
        pairs,
        "--set",
        "config.unitz=1",
    ]
    for mistake in (["predict", "no_such_preset", "-"], training):
        wrong = subprocess.run(
            [*command[:-1], *mistake], input="cat\n", capture_output=True, text=True, env=environment
        )
        assert wrong.returncode == 2
        assert wrong.stdout == ""
        assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["predit", "x"], "Did you mean 'predict'?"),
        (["list", "presetz"], "'presetz' is not one of 'architectures', 'presets', 'recipes'. Did you mean `presets`?"),
        (["predict", "x", "--score"], "--scores"),
        (["train", "g2p_luong205", "--out", "x"], "Did you mean `g2p_luong2015`?"),
        (["predict", "x", "--search", "bean:4"], "did you mean 'beam'?"),
    ],
)
def test_a_near_miss_is_told_what_it_may_have_meant(refuses, typed: list[str], hint: str):
    assert hint in refuses(*typed)


def test_a_shell_completes_commands_options_recipes_and_presets():
    """As bash asks: the words so far, and which of them is to be completed."""

    def completed(*words: str) -> list[str]:
        asked = {
            "_KERASS2S_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        program = "import sys; sys.argv = ['kerass2s']; from kerass2s.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **asked}, check=False
        )
        return done.stdout.split()

    assert completed("kerass2s", "ev") == ["evaluate"]
    assert completed("kerass2s", "evaluate", "--ag") == ["--against"]
    assert completed("kerass2s", "train", "g2p_lu") == ["g2p_luong2015"]
    assert completed("kerass2s", "predict", "da") == ["dates"]


def test_a_quiet_run_says_nothing_but_results(run, home):
    loud = run("evaluate", home / "preset", home / "pairs.tsv", "--report", home / "report")
    quiet = run("--quiet", "evaluate", home / "preset", home / "pairs.tsv", "--report", home / "report")
    assert "report: " in loud.stderr
    assert quiet.stderr == ""
    assert "word_error_rate" in quiet.stdout
