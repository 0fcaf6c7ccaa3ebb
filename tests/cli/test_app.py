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
    wrong = subprocess.run(
        [*command, "no_such_preset", "-"], input="cat\n", capture_output=True, text=True, env=environment
    )
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert wrong.stderr.count("\n") == 1
