"""The page on search tells the truth: its code runs from top to bottom and prints what it says, its specs are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kerass2s.decoding import parse_search

PAGE = (Path(__file__).parent.parent / "docs" / "search.md").read_text("utf-8")


def test_the_code_runs_as_it_stands_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "search.md", "exec"), {"__name__": "guide"})
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == promised
    assert len(promised) == code.count("print(")


def test_its_specs_are_read() -> None:
    specs = re.findall(r"`((?:greedy|beam|sample|mbr|rollout):[a-z0-9_=.,+]*)`", PAGE)
    filters = re.findall(r"^\| (`[a-z_]+(?:=[^|]*)?) \|", PAGE, re.MULTILINE)
    assert len(specs) > 10 and len(filters) > 6
    for spec in specs:
        parse_search(spec)
    for row in filters:
        for rule in re.findall(r"`([^`]*)`", row):
            if "=" in rule or rule == "no_unknown":
                assert parse_search(f"greedy:{rule}").filters
