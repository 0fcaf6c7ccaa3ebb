"""The benchmarks' arithmetic: a slowdown turns up and noise does not, ratios are by round, and results are kept."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def regression() -> dict[str, Any]:
    """The names of the script that CI runs."""
    return runpy.run_path(str(BENCHMARKS / "regression.py"))["main"].__globals__


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a module of the benchmarks with peers, for one test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    before = set(sys.modules)
    yield importlib.import_module
    for name in ("schedule", "work"):
        if name not in before:
            sys.modules.pop(name, None)


@pytest.fixture
def schedule(peers: Callable[[str], Any]) -> Any:
    return peers("schedule")


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


@pytest.mark.parametrize("attention", [False, True])
def test_operations_of_a_training_step_are_those_of_its_tokens(peers: Callable[[str], Any], attention: bool) -> None:
    work = peers("work")
    model = work.Model(8000, 8000, 256, 512, attention, both_ways=False, bridge=False)
    step = work.training_step(model, 128, 30, 30, 128 * 30, 4)
    token = 2 * (2 * 4 * 512 * (256 + 512)) + 2 * 512 * 8000  # both layers, and the projection
    if attention:
        token += 2 * 512 * 512 + 4 * 30 * 512 + 4 * 512 * 512  # a key, scores and context, the combination
    assert step.flop == 3 * token * 128 * 30


def test_bytes_are_what_ops_read_and_write(peers: Callable[[str], Any]) -> None:
    work = peers("work")
    assert work.matmul(2, 3, 5, 4, times=7) == work.Work(7 * 60, 7 * 4 * (6 + 15 + 10))
    model = work.Model(10, 20, 4, 8, attention=True, both_ways=True, bridge=True)
    layer = (4 + 8) * 32
    assert model.step_weights() == layer + (16 + 8) * 8 + 8 * 20
    assert model.weights() == (10 + 20) * 4 + 2 * layer + 16 * 8 + 32 * 16 + model.step_weights()
    short, long = (work.decoding(model, 1, 6, steps, 1) for steps in (1, 2))
    one = long.moved - short.moved
    assert 4 * model.step_weights() < one < 4 * 3 * model.step_weights()
    assert work.decoding(model, 1, 6, 3, 1).moved == pytest.approx(long.moved + one)
    wide, narrow = (work.training_step(model, 2, 6, 5, 10, size) for size in (4, 2))
    assert wide.flop == narrow.flop
    adam = 28 * model.weights()
    assert narrow.moved - adam - 6 * model.weights() == pytest.approx((wide.moved - adam) / 2)


def test_the_share_of_a_limit_is_of_the_rate_that_was_found(peers: Callable[[str], Any]) -> None:
    work = peers("work")
    limits = work.Limits(flop_rate=100e9, bandwidth=10e9)
    much = work.Work(flop=50e9, moved=1e9)
    assert limits.shown(much)["bound"] == "matmul"
    assert limits.shown(work.Work(1e9, 1e9))["bound"] == "memory"
    assert limits.reached(much, 1.0) == {"of_matmul_rate": 0.5, "of_memory_rate": 0.1}
    assert "bound by matmul" in work.told(limits.shown(much))


def test_the_bandwidth_is_of_as_much_memory_as_is_asked_for(schedule: Any) -> None:
    side = schedule.Side("memory", str(BENCHMARKS / "peers" / "memory.py"), ("--mib", "0.5"))
    running = schedule.start(side, 1)
    schedule.take_turns([running], 2, 1)
    assert 0.5e9 < running.shown["moved"] < 0.6e9
    assert running.median("processor") > 0
    running.close()
