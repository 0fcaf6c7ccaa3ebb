"""The study of the feedings: the guide shows the tables that its results make, and one run goes through."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
RESULTS = json.loads((ROOT / "docs" / "feedings_results.json").read_text("utf-8"))


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the script, which has a neighbour."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return runpy.run_path(str(ROOT / "benchmarks" / "feedings.py"))["main"].__globals__


@pytest.mark.parametrize("task", ["pronunciations", "scan"])
def test_the_guide_shows_what_the_results_say(study: dict[str, Any], task: str) -> None:
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    shown = page.split(f"<!-- study {task} -->\n")[1].split("\n<!-- end -->")[0]
    assert shown == study["table"](RESULTS["runs"][task])
    assert len(shown.splitlines()) == 2 + len(study["FEEDINGS"]), "every feeding has a row"


def test_every_run_had_the_same_budget(study: dict[str, Any]) -> None:
    for runs in RESULTS["runs"].values():
        found = {(each["steps"], each["weights"], *each["pairs"]) for of in runs.values() for each in of.values()}
        assert len(found) == 1


def test_mean_and_spread(study: dict[str, Any]) -> None:
    assert study["spread"]([1.0, 2.0]) == "1.50 ± 0.71"
    assert study["spread"]([3.0]) == "3.00"
