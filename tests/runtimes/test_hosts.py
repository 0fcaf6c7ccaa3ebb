"""Each runtime is started by a program that knows no kerass2s, and gives the live model's strings on 500 words."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import HERE, ask

ONNX, SAVED_MODEL = "model.onnx", "saved_model/1"

HOSTS = {
    "onnxruntime": [sys.executable, HERE / "python_onnxruntime.py", ONNX],
    "onnxruntime-node": ["node", HERE / "node.mjs", ONNX],
    "onnxruntime-web": ["node", HERE / "web.mjs", ONNX],
    "openvino-onnx": [sys.executable, HERE / "python_openvino.py", ONNX],
    "openvino-savedmodel": [sys.executable, HERE / "python_openvino.py", SAVED_MODEL],
    "reference": [sys.executable, HERE / "python_reference.py", ONNX],
}
PAGE = (HERE.parent.parent / "docs" / "runtimes.md").read_text("utf-8")


def assert_same(given: list[str], expected: list[str], lines: list[str]) -> None:
    """Shows the first differences, not a thousand lines."""
    assert len(given) == len(expected)
    differ = [each for each in zip(lines, given, expected, strict=True) if each[1] != each[2]]
    assert differ[:5] == [], f"{len(differ)} of {len(lines)} differ"


@pytest.mark.parametrize("host", HOSTS)
def test_same_strings(
    host: str, pronouncer_exports: Path, lines: list[str], answers: list[str], installed: None
) -> None:
    program, script, export = HOSTS[host]
    assert_same(ask([program, str(script), str(pronouncer_exports / export)], lines), answers, lines)


def test_same_strings_in_c(
    savedmodel_host: list[str], pronouncer_exports: Path, lines: list[str], answers: list[str]
) -> None:
    program, operators = savedmodel_host
    assert_same(ask([program, str(pronouncer_exports / SAVED_MODEL), operators], lines), answers, lines)


def test_the_answers_are_worth_comparing(lines: list[str], answers: list[str]) -> None:
    assert len(set(answers)) > 480
    assert {len(answer.split()) for answer in answers} >= set(range(2, 13))


def test_the_c_program_says_what_is_wrong(savedmodel_host: list[str], pronouncer_exports: Path) -> None:
    program, operators = savedmodel_host
    for arguments, message in [
        ([str(pronouncer_exports / "saved_model" / "2"), operators], "Could not find SavedModel"),
        ([str(pronouncer_exports / SAVED_MODEL)], "SentencepieceOp"),
    ]:
        done = subprocess.run([program, *arguments], input="", capture_output=True, text=True, check=False)
        assert done.returncode == 1 and message in done.stderr


def test_no_host_knows_kerass2s() -> None:
    for file in HERE.glob("python_*.py"):
        assert not re.search(r"^\s*(import|from) kerass2s", file.read_text("utf-8"), re.MULTILINE)


def test_the_page_has_a_row_for_each_test() -> None:
    named = re.findall(r"^\|.*`(test_same_strings[^`]*)`", PAGE, re.MULTILINE)
    assert sorted(set(named)) == sorted([*(f"test_same_strings[{host}]" for host in HOSTS), "test_same_strings_in_c"])
