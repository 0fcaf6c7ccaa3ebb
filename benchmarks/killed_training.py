"""Training that is killed at random moments, again and again, is compared bit for bit with a run that never was.

    python benchmarks/killed_training.py --kills 20

Both train the same small model with averaged weights, accumulated gradients, scheduled sampling, a curriculum and early
stopping. A kill is SIGKILL, after as many seconds of the process's own time as a seed says, wherever it is then: in a
step, in validation, in a checkpoint, between epochs. They are counted from its first checkpoint, so that each run gets
further; of each fourth from its start. It prints one JSON object and exits with 1 if the two differ.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from kerass2s.recipes.runs import results
from kerass2s.training.checkpoints import ARRAYS, STATE

SETTINGS = (
    "config.units=12",
    "config.embedding_size=8",
    "config.dropout=0.2",
    "batching.size=8",
    "search=greedy:max_length=12",
    "ema=0.9",
    "gradient_accumulation_steps=2",
    "feeding={name: scheduled_sampling, decay: {name: linear, c: 0.001}}",
    "curriculum={steps: 60, initial: 0.4}",
    "early_stopping=50",
)


def begin(out: Path, pairs: Path, epochs: int) -> subprocess.Popen[bytes]:
    """Starts a run, or lets it go on."""
    sets = [f"--set={each}" for each in (*SETTINGS, f"epochs={epochs}")]
    data = ["--train", str(pairs), "--dev", str(pairs)]
    resume = ["--resume"] if (out / "recipe.yaml").exists() else []
    command = [sys.executable, "-m", "kerass2s", "train", "g2p_luong2015", "--out", str(out), *data, *sets, *resume]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def seconds_of(process: int) -> float:
    """Returns how long a process has computed."""
    fields = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill(run: subprocess.Popen[bytes], out: Path, seconds: float, from_start: bool) -> bool:
    """Kills a run when it has computed so long, from its start or its first checkpoint; tells whether it still ran."""
    before, begun = newest(out), 0.0 if from_start else None
    while run.poll() is None:
        if begun is None and newest(out) != before:
            begun = seconds_of(run.pid)
        if begun is not None and seconds_of(run.pid) > begun + seconds:
            run.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    return run.wait() == -signal.SIGKILL


def newest(out: Path) -> Path | None:
    """Returns the newest checkpoint."""
    return max((out / "backup" / "state").glob("[0-9]*"), default=None)


def main() -> int:
    """Runs both and compares them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--latest", type=float, default=2.0, help="seconds of its own time, at most, until the kill")
    asked = parser.parse_args()
    draw, stood = random.Random(9), Counter()
    with tempfile.TemporaryDirectory() as place:
        pairs, whole, cut = (Path(place, name) for name in ("pairs.tsv", "whole", "cut"))
        words = ["".join(letters) for size in (2, 3, 4) for letters in itertools.product("abc", repeat=size)]
        pairs.write_text("".join(f"{word}\t{' '.join(reversed(word))}\n" for word in words[:64]), encoding="utf-8")
        if begin(whole, pairs, asked.epochs).wait():
            raise SystemExit("the run that is to be compared with did not end well")
        for number in range(asked.kills):
            from_start = number % 4 == 3
            seconds = draw.uniform(0, 15 if from_start else asked.latest)
            killed = kill(begin(cut, pairs, asked.epochs), cut, seconds, from_start)
            at = newest(cut)
            stood["ended before" if not killed else at.name if at else "no checkpoint yet"] += 1
        status = begin(cut, pairs, asked.epochs).wait()
        one, other = (dict(np.load(newest(each) / ARRAYS).items()) for each in (whole, cut))
        same = [one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)]
        same.append(results(whole) == results(cut))
        same.append((whole / "config.json").read_bytes() == (cut / "config.json").read_bytes())
        standing = json.loads((newest(cut) / STATE).read_text("utf-8"))["standing"]
    report = {"kills": asked.kills, "stood_at": stood, "arrays": len(one), "ended_at": standing}
    print(json.dumps({**report, "state_history_preset_equal": same, "status": status}))
    return 0 if all(same) and status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
