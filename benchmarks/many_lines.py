"""Ten million lines, and a line of a million characters: how long reading takes, and how much memory it keeps.

python benchmarks/many_lines.py --lines 10000000
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kerass2s.data import count_lines, stream_sources

WORD = "daylights"


def memory() -> float:
    """Returns the most memory that this process ever had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def written(path: Path, lines: int) -> None:
    """Writes that many lines, and a long one at the end."""
    block = "".join(f"{WORD}{number}\tcolumn\n" for number in range(1000))
    with path.open("w", encoding="utf-8") as file:
        for _ in range(lines // 1000):
            file.write(block)
        file.write("a" * 1_000_000 + "\n")


def windows(sources: Iterator[str], size: int = 1024) -> Iterator[int]:
    """Takes them as `predict` does, a window at a time, and yields how many there were."""
    held: list[str] = []
    for source in sources:
        held.append(source)
        if len(held) == size:
            yield len(held)
            held = []
    yield len(held)


def main() -> None:
    """Writes the file, reads it twice as `predict` does, and prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lines", type=int, default=10_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "lines.txt")
        written(path, asked.lines)
        before, begin = memory(), time.process_time()
        counted = count_lines(path)
        read = sum(windows(stream_sources(path)))
        seconds = time.process_time() - begin
        size = path.stat().st_size
    figures = {"lines": read, "counted": counted, "bytes": size, "seconds": round(seconds, 1)}
    print(json.dumps({**figures, "memory_before_mib": round(before, 1), "memory_mib": round(memory(), 1)}))


if __name__ == "__main__":
    main()
