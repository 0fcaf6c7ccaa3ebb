"""The schedule of a comparison: processes that take turns, A B A B, and what their seconds say."""

from __future__ import annotations

import datetime
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
"""Where `make peers` installs PyTorch."""
JEMALLOC = ("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "/usr/lib/aarch64-linux-gnu/libjemalloc.so.2")
"""Where Debian's package libjemalloc2 puts it."""


@dataclass(frozen=True)
class Side:
    """One side: a script of this directory, its arguments, and where it runs."""

    name: str
    script: str
    arguments: tuple[str, ...]
    python: str = sys.executable
    preload: str | None = None


@dataclass
class Running:
    """A side that has shown what it computes and waits for its turns."""

    side: Side
    process: subprocess.Popen[str]
    shown: dict[str, Any]
    turns: list[dict[str, float]] = field(default_factory=list)

    def turn(self, times: int) -> None:
        """Lets it work so many times, and keeps the seconds of one."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        self.turns.append(_read(self.side, self.process))

    def median(self, clock: str) -> float:
        """Returns the median of its turns by a clock, "wall" or "processor"."""
        return statistics.median(turn[clock] for turn in self.turns)

    def close(self) -> None:
        """Ends it."""
        self.process.communicate()


def start(side: Side, threads: int) -> Running:
    """Starts a side and waits until it has shown what it computes."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **({"LD_PRELOAD": side.preload} if side.preload else {}),
    }
    command = [side.python, str(HERE / side.script), *side.arguments, "--threads", str(threads)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, text=True, env=environment, **pipes)
    return Running(side, process, _read(side, process))


def _read(side: Side, process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.communicate()
        again = f"run it alone: {side.python} {side.script} {' '.join(side.arguments)}"
        raise SystemExit(f"{side.name} ended with {process.returncode}; {again}")
    return json.loads(line)


def take_turns(sides: Iterable[Running], rounds: int, times: dict[str, int] | int) -> None:
    """Lets all sides work by turns, so that whatever else slows the machine down slows all; a first round warms up."""
    sides = list(sides)
    for number in range(rounds + 1):
        for running in sides:
            running.turn(times if isinstance(times, int) else times[running.side.name])
        if number == 0:
            for running in sides:
                running.turns.clear()


def ratio(one: Running, other: Running, clock: str) -> dict[str, float]:
    """Returns how many times as fast `one` is as `other`: median and quartiles of the ratios by round."""
    quotients = [b[clock] / a[clock] for a, b in zip(one.turns, other.turns, strict=True)]
    if len(quotients) == 1:
        quotients *= 2
    low, middle, high = statistics.quantiles(quotients, method="inclusive")
    return {"ratio": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


def keep(results: Path, case: str, options: Any, found: dict[str, Any]) -> None:
    """Puts what came of a case into the file of results, with how it was measured; the file's other cases stay."""
    kept = json.loads(results.read_text("utf-8")) if results.exists() else {}
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    how = {name: getattr(options, name) for name in ("threads", "clock", "rounds")}
    kept[case] = {"date": date, "cores": os.cpu_count(), **how, **found}
    results.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def jemalloc() -> str | None:
    """Returns where jemalloc is, if it is installed."""
    return next((place for place in JEMALLOC if Path(place).exists()), None)
