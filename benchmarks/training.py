"""Times a training step with `compile(fused=True)` against one as Keras has it, in one process and by turns.

Run `python benchmarks/training.py`; it takes some minutes. Both sides are `luong2015` on the same random ids with the
same weights, and their losses after the first steps are compared before anything is timed: forward, backward, Adam with
clipped gradients, and the metrics, as in `fit`.

The time is that of the processor, on one thread: other programs on the machine take turns with this one, and wall time
would count theirs. A block of steps of one side, a block of the other, and so on; the ratio of each round is one
figure, and shown are their median and quartiles.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s import zoo
from kerass2s.text import END_ID, START_ID, SentencePieceTokenizer

RESULTS = Path(__file__).parent.parent / "docs" / "training_speed_results.json"
PRECISIONS = ("float32", "mixed_bfloat16")
CLOSE = {"float32": 1e-4, "mixed_bfloat16": 3e-2}
"""How near the losses of both sides must be, relatively."""


@dataclass(frozen=True)
class Task:
    """Sizes of a model and its batches: B pairs of `length` tokens on each side, of a vocabulary of V."""

    batch: int
    length: int
    vocabulary: int
    config: dict[str, Any]


TASKS = {
    "characters": Task(256, 9, 70, {"units": 256, "embedding_size": 128}),
    "words": Task(128, 30, 8000, {"units": 512, "embedding_size": 256, "bidirectional": False, "dropout": 0.0}),
}


def trainer(task: Task, precision: str, fused: bool) -> Callable[[], float]:
    """Makes a model and returns one step of its training, which gives the loss."""
    tokenizer = SentencePieceTokenizer.train([letters(task.vocabulary)], "char")
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(precision)
    model = zoo.build("luong2015", source_tokenizer=tokenizer, target_tokenizer=tokenizer, **task.config)
    keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.Adam(global_clipnorm=1.0), fused=fused)
    batch = random_batch(task)
    open_shapes = tf.nest.map_structure(lambda part: tf.TensorSpec([None, None], part.dtype), batch)
    step = tf.function(model.train_step, input_signature=[open_shapes])
    return lambda: float(step(batch)["loss"])


def letters(vocabulary: int) -> str:
    """As many letters as make the vocabulary, with the four special ids."""
    return "".join(map(chr, range(0x4E00, 0x4E00 + vocabulary - 4)))


def random_batch(task: Task) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Inputs, labels and weights of full rows, each label row with its end."""
    shape = [2, task.batch, task.length - 1]
    ids = tf.constant(np.random.default_rng(0).integers(4, task.vocabulary, shape), tf.int32)
    source, labels = tf.unstack(tf.pad(ids, [[0, 0], [0, 0], [0, 1]], constant_values=END_ID))
    target = tf.pad(labels[:, :-1], [[0, 0], [1, 0]], constant_values=START_ID)
    return {"source_ids": source, "target_ids": target}, labels, tf.ones([task.batch, task.length])


def seconds(step: Callable[[], float], steps: int) -> float:
    """Times a block of steps; returns the processor seconds of one."""
    begin = time.process_time()
    for _ in range(steps):
        step()
    return (time.process_time() - begin) / steps


def compare(fused: Callable[[], float], plain: Callable[[], float], rounds: int, steps: int) -> dict[str, float]:
    """Times both by turns; returns their median milliseconds, and how many times faster fused is, with quartiles."""
    pairs = [(seconds(plain, steps), seconds(fused, steps)) for _ in range(rounds)]
    low, middle, high = statistics.quantiles([slow / quick for slow, quick in pairs], method="inclusive")
    slow, quick = (1000 * statistics.median(each) for each in zip(*pairs, strict=True))
    figures = {"keras_ms": slow, "fused_ms": quick, "ratio": middle, "ratio_low": low, "ratio_high": high}
    return {name: round(figure, 3) for name, figure in figures.items()}


def measure(task: Task, precision: str, rounds: int, steps: int) -> dict[str, float]:
    """Compares the losses of the first steps, then the times.

    Raises:
        ValueError: the losses differ.
    """
    fused, plain = trainer(task, precision, True), trainer(task, precision, False)
    losses = np.array([[fused(), plain()] for _ in range(3)])
    if not np.allclose(*losses.T, rtol=CLOSE[precision], atol=0):
        raise ValueError(f"Both sides must compute the same. Received: losses {losses.tolist()}")
    return compare(fused, plain, rounds, steps)


def main(arguments: list[str] | None = None) -> int:
    """Times what is asked, shows it and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=sorted(TASKS), help="what is trained; all without it")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="both without it")
    parser.add_argument("--rounds", type=int, default=5, help="how often both take their turn, at least 2")
    parser.add_argument("--steps", type=int, default=4, help="training steps of one turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    runs: dict[str, dict[str, float]] = {}
    for name in options.task or TASKS:
        for precision in options.precision or PRECISIONS:
            run = runs[f"{name}, {precision}"] = measure(TASKS[name], precision, options.rounds, options.steps)
            spread = "{ratio:.2f} ({ratio_low:.2f} to {ratio_high:.2f})".format(**run)
            print(
                f"{name}, {precision}: {run['keras_ms']:.0f} ms, fused {run['fused_ms']:.0f} ms, {spread}", flush=True
            )
    results = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "rounds": options.rounds,
        "steps": options.steps,
        "runs": runs,
    }
    options.results.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
