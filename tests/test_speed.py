"""The benchmarks' arithmetic: a slowdown turns up and noise does not, ratios are by round, and results are kept."""

from __future__ import annotations

import json
import runpy
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def regression() -> dict[str, Any]:
    """The names of the script that CI runs."""
    return runpy.run_path(str(BENCHMARKS / "regression.py"))["main"].__globals__


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    import schedule

    yield schedule
    del sys.modules["schedule"]


def test_a_slowdown_of_30_percent_turns_up_and_a_busy_moment_does_not(regression: dict[str, Any]) -> None:
    slow, busy, level = iter([1.31, 1.3, 1.32]), iter([1.5, 1.02]), iter([1.14])
    assert regression["slower"](lambda: next(slow), 1.0) == (1.3, True)
    assert regression["slower"](lambda: next(busy), 1.0) == (1.02, False)
    assert regression["slower"](lambda: next(level), 1.0) == (1.14, False)


def test_a_ratio_is_of_processor_time(regression: dict[str, Any]) -> None:
    def spin(seconds: float) -> None:
        begin = time.process_time()
        while time.process_time() - begin < seconds:
            pass

    assert regression["ratio"](lambda: spin(0.03), lambda: spin(0.02), 1) == pytest.approx(1.5, rel=0.15)


def test_every_ratio_has_one_to_be_compared_with(regression: dict[str, Any]) -> None:
    kept = json.loads(regression["KEPT"].read_text("utf-8"))
    assert set(kept) == {"training step", "training step, fused", "decoding, live", "decoding, ONNX"}
    assert all(each > 0 for each in kept.values())


SCRIPT = """
import json, sys
from turns import serve
serve({"shown": [1.0]}, lambda: sum(range(int(sys.argv[1]))))
"""


def test_sides_take_turns_and_results_are_kept(schedule: Any, tmp_path: Path) -> None:
    script = BENCHMARKS / "peers" / "turns.py"
    (tmp_path / "side.py").write_text(SCRIPT, "utf-8")
    (tmp_path / "turns.py").write_text(script.read_text("utf-8"), "utf-8")
    running = [
        schedule.start(schedule.Side(name, str(tmp_path / "side.py"), (str(work),)), 1)
        for name, work in (("quick", 100_000), ("slow", 400_000))
    ]
    schedule.take_turns(running, 3, 2)
    ratio = schedule.ratio(*running, "processor")
    assert 2 < ratio["ratio"] < 8
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    for each in running:
        assert len(each.turns) == 3
        each.close()
        assert each.process.returncode == 0
    for case in ("one", "other"):
        schedule.keep(tmp_path / "kept.json", case, Namespace(threads=1, clock="wall", rounds=3), {"sides": {}})
    kept = json.loads((tmp_path / "kept.json").read_text("utf-8"))
    assert list(kept) == ["one", "other"]
    assert kept["one"]["rounds"] == 3


def test_a_side_that_fails_is_named(schedule: Any, tmp_path: Path) -> None:
    (tmp_path / "side.py").write_text("raise SystemExit(3)", "utf-8")
    with pytest.raises(SystemExit, match="broken ended with 3"):
        schedule.start(schedule.Side("broken", str(tmp_path / "side.py"), ()), 1)
