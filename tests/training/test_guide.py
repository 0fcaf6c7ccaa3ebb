"""The guide to the feedings tells the truth: its code runs from top to bottom and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parent.parent.parent / "docs" / "training.md"


def test_the_code_runs_as_it_stands_and_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL))
    exec(compile(code, "training.md", "exec"), {"__name__": "guide"})
    promised = re.findall(r"^( *)print\(.*# (.*)$", code, re.MULTILINE)
    # The one print in a loop runs twice.
    expected = [said for indent, said in promised for _ in range(2 if indent else 1)]
    assert capsys.readouterr().out.splitlines() == expected
