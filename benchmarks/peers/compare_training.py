"""Times training steps against PyTorch's: the same weights, batches and updates, both sides by turns.

    make benchmark                                               # installs PyTorch beside, and runs everything
    python benchmarks/peers/compare_training.py --task words --precision bfloat16 --rounds 5

Every side is a process of its own, in its own environment: ours fused (`compile(fused=True)`) and not, PyTorch with
what an expert would use (`nn.LSTM`, packed rows where they differ, autocast, fused Adam), and both with jemalloc
preloaded where Debian's libjemalloc2 is installed; and ours with one thread within an operation and as many operations
at once as there are threads (`TF_NUM_INTRAOP_THREADS=1`), which is better where they are small. The losses of the first
three steps are compared before anything is timed. With attention there is Joey NMT too, over its own model of the same
sizes. Then the sides take turns, and the ratio of each round is one figure; shown are their median and quartiles. Two
sides are a matmul of large matrices and a sum of large arrays: the rates that they reach are what the machine can do at
that moment, and `work.py` counts what a step has to compute and to move.

The wall clock counts what other programs take from this one; on a machine that is not idle read the time of the
processor (`--clock processor --threads 1`). The peak of memory is what a step adds to the model and its optimizer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from schedule import PEERS, ROOT, Running, Side, jemalloc, keep, ratio, start, take_turns
from work import SIZES, Limits, Model, Work, told, training_step

RESULTS = ROOT / "docs" / "training_against_pytorch.json"
PRECISIONS = ("float32", "bfloat16")
CLOSE = {"float32": 2e-5, "bfloat16": 5e-3}
"""How near the losses of all sides must be, relatively."""
SMALL = {"units": 512, "embedding_size": 256}
OTHER = "Joey NMT"
"""The side that is a model of another make, whose losses are its own."""
READS = {"bidirectional": False, "bridge": "pass"}
TASKS: dict[str, dict[str, Any]] = {
    "words": {
        "steps": 2,
        "batch": 128,
        "length": 30,
        "vocabulary": 8000,
        "attention": False,
        "config": {**SMALL, "layers": 1, "reverse_source": False},
    },
    "words, attention": {
        "steps": 2,
        "batch": 128,
        "length": 30,
        "vocabulary": 8000,
        "attention": True,
        "config": {**SMALL, **READS},
    },
    "pronunciations": {
        "steps": 24,
        "vocabulary": None,
        "attention": True,
        "config": {"units": 256, "embedding_size": 128, "bidirectional": True, "bridge": "dense"},
    },
    "memory": {
        "steps": 1,
        "batch": 64,
        "length": 100,
        "vocabulary": 32000,
        "attention": False,
        "config": {**SMALL, "layers": 1, "reverse_source": False},
    },
}
"""Batches of full rows of random ids, or of words and their pronunciations as `fit` puts them together, each in turn.

`steps` are those of one turn: enough to time, and all of 24 batches that are not alike.
"""


MACHINE = ("matmul", "memory")
"""The sides that tell what the machine can do."""


def sides(directory: Path, task: dict[str, Any], precision: str, peers: Path, preload: str | None) -> list[Side]:
    """Names the sides of a comparison; ours comes first, as it writes what the others read."""
    given = (str(directory), "--precision", precision)
    found = [
        Side("fused", "keras_training.py", (*given, "--fused")),
        Side("fused, one thread an operation", "keras_training.py", (*given, "--fused", "--within", "1")),
        Side("plain", "keras_training.py", given),
        Side("PyTorch", "torch_training.py", given, str(peers)),
    ]
    if preload:
        found += [
            Side("fused, jemalloc", "keras_training.py", (*given, "--fused"), preload=preload),
            Side("PyTorch, jemalloc", "torch_training.py", given, str(peers), preload),
        ]
    if task["attention"]:
        found.append(Side(OTHER, "joeynmt_training.py", given, str(peers)))
    return found


def machine(directory: Path, task: dict[str, Any], precision: str) -> tuple[list[Side], Work]:
    """Names the two sides of the machine, and counts a mean step; of what our side wrote."""
    with np.load(directory / "weights.npz") as kept:
        model = Model.of(task, list(kept.values()))
    work, count = Work(), 0
    with np.load(directory / "batches.npz") as kept:
        while f"labels_{count}" in kept:
            (batch, source), labels = kept[f"source_ids_{count}"].shape, kept[f"labels_{count}"]
            work += training_step(model, batch, source, labels.shape[1], int((labels != 0).sum()), SIZES[precision])
            count += 1
    held = 16 * model.weights() / 2**20  # weights, their gradients and two means
    sides = [
        Side("matmul", "matmul.py", ("--precision", precision)),
        Side("memory", "memory.py", ("--mib", f"{held:.1f}")),
    ]
    return sides, work * (1 / count)


def compare(name: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Starts all sides, compares their losses, lets them take turns and returns what came of it."""
    task = TASKS[name]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "task.json").write_text(json.dumps(task), "utf-8")
        all_sides = sides(directory, task, precision, options.peers, options.preload)
        running = [start(side, options.threads) for side in all_sides]
        check_losses([each for each in running if each.side.name != OTHER], CLOSE[precision])
        limits, work = machine(directory, task, precision)
        running += [start(side, options.threads) for side in limits]
        steps = dict.fromkeys([each.side.name for each in running], task["steps"])
        take_turns(running, options.rounds, steps | dict.fromkeys(MACHINE, 4))
        found = report(work, running, options.clock)
        for each in running:
            each.close()
    return found


def check_losses(running: list[Running], close: float) -> None:
    """Ends the comparison where the sides do not compute the same."""
    first, *others = ([float(loss) for loss in each.shown["shown"]] for each in running)
    if any(abs(a - b) > close * abs(a) for other in others for a, b in zip(first, other, strict=True)):
        raise SystemExit(f"All sides must compute the same. Received: losses {[first, *others]}")


def report(work: Work, running: list[Running], clock: str) -> dict[str, Any]:
    """Sums up the turns: seconds, tokens a second, memory, ratios to the fused side and to the machine."""
    *running, matmul, memory = running
    ours, limits, found = running[0], Limits.of(matmul, memory, clock), {}
    peer = next(each for each in running if each.side.name == "PyTorch")
    for each in running:
        found[each.side.name] = {
            "version": each.shown["version"],
            "wall_seconds": round(each.median("wall"), 4),
            "processor_seconds": round(each.median("processor"), 4),
            "target_tokens_per_second": round(each.shown["tokens"] / each.median(clock)),
            "step_mib": round(each.turns[-1]["peak_mib"] - each.shown["held_mib"]),
            "fused_is_faster": ratio(ours, each, clock),
            "faster_than_pytorch": ratio(each, peer, clock),
            **limits.reached(work, each.median(clock)),
        }
    return {**limits.shown(work), "losses": ours.shown["shown"], "sides": found}


def main(arguments: list[str] | None = None) -> int:
    """Compares what is asked, shows it and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", choices=list(TASKS), help="all without it")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="both without it")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side takes its turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every side")
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall", help="what the ratios are of")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the Python that has PyTorch")
    parser.add_argument("--preload", default=jemalloc(), help="libjemalloc.so.2; without it those sides are left out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file to put them in")
    options = parser.parse_args(arguments)
    for name in options.task or TASKS:
        for precision in options.precision or PRECISIONS:
            run = compare(name, precision, options)
            keep(options.results, f"{name}, {precision}", options, run)
            print(f"\n{name}, {precision}; {told(run)}", flush=True)
            for side, figures in run["sides"].items():
                spread, than_peer = (
                    "{ratio:.2f} ({low:.2f} to {high:.2f})".format(**figures[key])
                    for key in ("fused_is_faster", "faster_than_pytorch")
                )
                print(
                    f"  {side:30} {figures['target_tokens_per_second']:7} tokens/s, a step adds {figures['step_mib']} "
                    f"MiB, {figures['of_matmul_rate']:.0%} of the matmul rate, {figures['of_memory_rate']:.0%} of the "
                    f"bandwidth, fused is {spread} times as fast, this {than_peer} times PyTorch",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
