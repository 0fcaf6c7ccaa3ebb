"""The pages tell the truth: the zoo's is what the code draws, and code on a page prints what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kerass2s import zoo

ROOT = Path(__file__).parent.parent


def test_the_page_of_the_zoo_is_what_the_code_draws() -> None:
    command = [sys.executable, str(ROOT / "docs" / "make_zoo.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, "run `python docs/make_zoo.py`" + done.stderr[-500:]


def test_every_text_architecture_has_its_figures() -> None:
    results = json.loads((ROOT / "docs" / "zoo_results.json").read_text("utf-8"))
    assert set(results) == set(zoo.names()) - {"listen_attend2016", "series2series"}
    assert all(set(tasks) == {"scan", "pronunciations"} for tasks in results.values())


EXAMPLES = {
    match["title"]: match["code"]
    for match in re.finditer(
        r"^## (?P<title>[^\n]+)\n(?:(?!^## ).)*?```python\n(?P<code>import.*?)```",
        (ROOT / "docs" / "zoo.md").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
}


@pytest.mark.parametrize("title", ["Copying what no vocabulary has", "Vectors in, vectors out"])
def test_an_example_runs_as_it_stands_and_prints_what_it_says(title: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES[title]], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    said = re.search(r"print\(.*\)  # (.*)", EXAMPLES[title])[1]
    assert done.stdout.strip() == said, done.stderr[-500:]


@pytest.mark.parametrize(
    "page", ["training.md", "search.md", "presets.md", "migrating-from-tfa.md", "past-one-machine.md"]
)
def test_the_code_of_a_guide_runs_as_it_stands_and_prints_what_it_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_code_says(page, capsys)


@pytest.mark.usefixtures("eagerly")
def test_the_code_of_the_guide_to_tuning_runs_as_it_stands_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("keras_tuner")
    monkeypatch.chdir(tmp_path)
    assert_code_says("tuning.md", capsys)


def assert_code_says(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs the blocks of a page as one program, and compares what it prints with what the page says."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL))
    exec(compile(code, page, "exec", dont_inherit=True), {"__name__": "guide"})
    promised = re.findall(r"^( *)print\(.*# (.*)$", code, re.MULTILINE)
    # The one print in a loop runs twice.
    expected = [said for indent, said in promised for _ in range(2 if indent else 1)]
    assert capsys.readouterr().out.splitlines() == expected
