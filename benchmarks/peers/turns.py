"""One side of a comparison: does its work when it is its turn, and tells how long that took; the standard library only.

A side is a process of its own, in its own environment. It first prints one line of JSON, what it has to show for
equality, and then for each line it reads, a number of repetitions, a line with the seconds of one: of the wall clock,
and of the processor in all threads.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def serve(shown: dict[str, Any], work: Callable[[], Any]) -> None:
    """Shows what was computed, then works whenever asked, until there is no more input."""
    _tell(shown)
    for line in sys.stdin:
        times, wall, processor = int(line), time.perf_counter(), time.process_time()
        for _ in range(times):
            work()
        seconds = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
        _tell({name: value / times for name, value in seconds.items()} | {"peak_mib": peak_mib()})


def peak_mib() -> float:
    """Returns the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_mib() -> float:
    """Returns the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def _tell(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)
