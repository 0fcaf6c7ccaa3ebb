"""The benchmark of the feedings' speed: its steps train, its figures are ratios by round, and it tells what is slow."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kerass2s.training import TeacherForcing

BENCHMARK = Path(__file__).parent.parent.parent / "benchmarks" / "feeding_speed.py"


@pytest.fixture
def benchmark() -> dict[str, Any]:
    """The names of the script."""
    return runpy.run_path(str(BENCHMARK))["main"].__globals__


class Clock:
    """A clock that moves when a step is taken and not otherwise: 3 ms, and thrice that unless it is teacher forced."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        """Returns its seconds."""
        return self.now

    def trainer(self, architecture: str, units: int, feeding: Any) -> Any:
        """Makes a step."""

        def step() -> dict[str, Any]:
            self.now += 0.003 if isinstance(feeding, TeacherForcing) else 0.009
            return {"loss": SimpleNamespace(numpy=lambda: 0.0)}

        return step


def test_ratios_are_written_and_what_is_too_slow_is_told(
    benchmark: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    benchmark.update(time=clock, trainer=clock.trainer)
    case, names = "luong2015, 128 units", ["free running", "scheduled sampling, sample"]
    asked = ["--case", case, *(word for name in names for word in ("--only", name)), "--rounds", "5", "--steps", "3"]
    assert benchmark["main"]([*asked, "--results", str(tmp_path / "speed.json")]) == 1
    runs = json.loads((tmp_path / "speed.json").read_text("utf-8"))["runs"]
    assert set(runs[case]) == set(names)
    for figures in runs[case].values():
        assert figures == {"forced_ms": 3.0, "ms": 9.0, "ratio": 3.0, "ratio_low": 3.0, "ratio_high": 3.0}
    said = capsys.readouterr().out
    assert f"| feeding | {case} |" in said
    assert [line for line in said.splitlines() if "more than 2 times" in line] == [
        f"more than 2 times teacher forcing: {case}, {names[1]}: 3.00"
    ]


def test_a_step_trains_on_batches_of_the_shapes_it_says(benchmark: dict[str, Any]) -> None:
    inputs, labels, weights = benchmark["random_batch"]()
    assert inputs["source_ids"].shape == inputs["target_ids"].shape == labels.shape == weights.shape == (64, 12)
    np.testing.assert_array_equal(inputs["target_ids"][:, 1:], labels[:, :-1])
    step = benchmark["trainer"]("transformer2017", 8, TeacherForcing())
    losses = [float(step()["loss"]) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert losses[0] == pytest.approx(np.log(70), abs=1.0)
