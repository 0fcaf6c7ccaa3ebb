"""Times a training step under each feeding against one under teacher forcing, in one process and by turns.

Run `python benchmarks/feeding_speed.py` on an idle machine; it takes some ten minutes on 2 cores. The shapes are those
of pronunciations: 64 pairs of 12 letters and 12 phones, a vocabulary of 70; the ids are random, which costs the same. A
step is that of `fit`: forward, backward, Adam and the metrics, in a graph of any batch and length.

Each feeding is compared by itself: a block of teacher-forced steps, a block of its own, and so on by turns, so that a
machine that slows down slows both. The ratio of each round is one figure; shown are their median and quartiles. A
fresh model seldom says the end, so the samples of `MinimumRisk` are about as long as they can get, twice the target.

It fails where scheduled sampling takes more than twice the time of teacher forcing.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s import zoo
from kerass2s.text import END_ID, START_ID, SentencePieceTokenizer
from kerass2s.training import (
    ConstantDecay,
    Feeding,
    FreeRunning,
    MinimumRisk,
    MultiStep,
    ScheduledSampling,
    TeacherForcing,
    TeacherForcingRatio,
    TwoPass,
)

RESULTS = Path(__file__).parent.parent / "docs" / "feeding_speed_results.json"
BATCH, LENGTH, VOCABULARY = 64, 12, 70
LIMIT = 2.0

# === What is timed ===

HALF = ConstantDecay(0.5)
FEEDINGS: dict[str, Feeding] = {
    "ratio 0.5, per sequence": TeacherForcingRatio(0.5, "sequence", seed=0),
    "ratio 0.5, per token": TeacherForcingRatio(0.5, "token", seed=0),
    **{
        f"scheduled sampling, {feedback}": ScheduledSampling(HALF, feedback, seed=0)
        for feedback in ("sample", "argmax", "soft", "gumbel", "straight_through")
    },
    "multi-step, 3 ahead": MultiStep(3, seed=0),
    "two-pass": TwoPass(HALF, seed=0),
    "free running": FreeRunning(),
    "minimum risk, 8 samples": MinimumRisk(samples=8, seed=0),
}
RECURRENT = ("luong2015", "bahdanau2015")
CASES = {
    **{f"{name}, {units} units": (name, units, list(FEEDINGS)) for name in RECURRENT for units in (128, 256)},
    "transformer2017, 128 units": ("transformer2017", 128, ["two-pass"]),
}
BOUND = ("scheduled sampling, sample", "scheduled sampling, argmax")
"""The feedings that `LIMIT` is for."""


def trainer(architecture: str, units: int, feeding: Feeding) -> Callable[[], Any]:
    """Makes a model and returns one step of its training, traced and run once."""
    tokenizer = SentencePieceTokenizer.train([letters()], "char")
    keras.utils.set_random_seed(1)
    model = zoo.build(architecture, source_tokenizer=tokenizer, target_tokenizer=tokenizer, units=units)
    model.compile(feeding=feeding)
    batch = random_batch()
    open_shapes = tf.nest.map_structure(lambda part: tf.TensorSpec([None, None], part.dtype), batch)
    step = tf.function(model.train_step, input_signature=[open_shapes])
    step(batch)
    return lambda: step(batch)


def letters() -> str:
    """As many letters as make the vocabulary, with the four special ids."""
    return "".join(map(chr, range(0x4E00, 0x4E00 + VOCABULARY - 4)))


def random_batch() -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Inputs, labels and weights of `BATCH` full rows, each label row with its end."""
    ids = tf.constant(np.random.default_rng(0).integers(4, VOCABULARY, [2, BATCH, LENGTH - 1]), tf.int32)
    source, labels = tf.unstack(tf.pad(ids, [[0, 0], [0, 0], [0, 1]], constant_values=END_ID))
    target = tf.pad(labels[:, :-1], [[0, 0], [1, 0]], constant_values=START_ID)
    return {"source_ids": source, "target_ids": target}, labels, tf.ones([BATCH, LENGTH])


# === Timing ===


def seconds(step: Callable[[], Any], steps: int) -> float:
    """Times a block of steps; returns the seconds of one."""
    begin = time.perf_counter()
    for _ in range(steps):
        logs = step()
    logs["loss"].numpy()  # a step may return before its work is done
    return (time.perf_counter() - begin) / steps


def compare(ours: Callable[[], Any], baseline: Callable[[], Any], rounds: int, steps: int) -> dict[str, Any]:
    """Times both by turns; returns their median milliseconds, and median and quartiles of the ratios by round."""
    seconds(baseline, steps)
    seconds(ours, steps)
    pairs = [(seconds(baseline, steps), seconds(ours, steps)) for _ in range(rounds)]
    low, middle, high = statistics.quantiles([own / forced for forced, own in pairs], method="inclusive")
    forced, own = (1000 * statistics.median(each) for each in zip(*pairs, strict=True))
    figures = {"forced_ms": forced, "ms": own, "ratio": middle, "ratio_low": low, "ratio_high": high}
    return {name: round(figure, 3) for name, figure in figures.items()}


# === Results ===


def table(runs: dict[str, dict[str, Any]]) -> str:
    """Returns the Markdown table: times as long as teacher forcing, median and quartiles; in its row milliseconds."""
    forced = [f"{statistics.median(each['forced_ms'] for each in run.values()):.1f} ms" for run in runs.values()]
    lines = ["| feeding | " + " | ".join(runs) + " |", "| --- |" + " ---: |" * len(runs)]
    lines.append("| teacher forcing | " + " | ".join(forced) + " |")
    for name in FEEDINGS:
        if any(name in run for run in runs.values()):
            lines.append(f"| {name} | " + " | ".join(cell(run.get(name)) for run in runs.values()) + " |")
    return "\n".join(lines)


def cell(figures: dict[str, float] | None) -> str:
    """Returns the ratio with its quartiles: `1.62 (1.58 to 1.70)`."""
    return "{ratio:.2f} ({ratio_low:.2f} to {ratio_high:.2f})".format(**figures) if figures else ""


def too_slow(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Returns what is above the limit."""
    return [
        f"{case}, {name}: {run[name]['ratio']:.2f}"
        for case, run in runs.items()
        for name in BOUND
        if name in run and run[name]["ratio"] > LIMIT
    ]


def main(arguments: list[str] | None = None) -> int:
    """Times what is asked, writes the results and shows the table; returns 1 where the limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="a model; all without it")
    parser.add_argument("--only", action="append", choices=sorted(FEEDINGS), help="a feeding; all without it")
    parser.add_argument("--rounds", type=int, default=15, help="how often both take their turn, at least 2")
    parser.add_argument("--steps", type=int, default=10, help="training steps of one turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    runs: dict[str, dict[str, Any]] = {}
    for case in options.case or CASES:
        architecture, units, feedings = CASES[case]
        baseline = trainer(architecture, units, TeacherForcing())
        runs[case] = {}
        for name in [each for each in feedings if each in (options.only or FEEDINGS)]:
            ours = trainer(architecture, units, FEEDINGS[name])
            runs[case][name] = compare(ours, baseline, options.rounds, options.steps)
            print(f"{case}, {name}: {cell(runs[case][name])}", flush=True)
            del ours
            gc.collect()  # a traced step and its model hold each other
    results = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "steps": options.steps,
        "runs": runs,
    }
    options.results.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(f"\n{table(runs)}")
    broken = too_slow(runs)
    print("\n".join(f"more than {LIMIT:g} times teacher forcing: {each}" for each in broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
