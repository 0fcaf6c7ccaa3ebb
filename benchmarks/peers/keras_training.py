"""Our side of the comparison of training steps: writes the first weights and the batches, then trains by turns."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from turns import held_mib, serve

from kerass2s import cmudict, zoo
from kerass2s.text import END_ID, START_ID, SentencePieceTokenizer

ARCHITECTURES = {False: "sutskever2014", True: "luong2015"}
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
EPSILON = 1e-12
"""Both libraries add theirs at different places, and so small a one does not matter."""
BATCHES = 24
"""How many batches of words and their pronunciations are trained on, in turn."""


def letters(vocabulary: int) -> str:
    """As many letters as make the vocabulary, with the four special ids; a few of very many are written alike."""
    return "".join(map(chr, range(0x20000, 0x20000 + vocabulary - 4)))


def make_model(task: dict[str, Any], fused: bool, precision: str) -> tuple[Any, Any]:
    """Makes a model from its seed, compiled, and the pairs that it learns from, if it is not random ids."""
    pairs = None
    if task["vocabulary"]:
        tokenizers = [SentencePieceTokenizer.train([letters(task["vocabulary"])], "char")] * 2
    else:
        pairs = cmudict.load_split()["train"]
        tokenizers = [
            SentencePieceTokenizer.train([pair[end] for pair in pairs], ("char", "word")[end]) for end in (0, 1)
        ]
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(PRECISIONS[precision])
    source, target = tokenizers
    name = ARCHITECTURES[task["attention"]]
    model = zoo.build(name, source_tokenizer=source, target_tokenizer=target, dropout=0.0, **task["config"])
    keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.Adam(1e-3, epsilon=EPSILON), weighted_metrics=[], fused=fused)
    return model, pairs


def make_batches(task: dict[str, Any], model: Any, pairs: Any) -> list[Any]:
    """Makes batches of random ids in full rows, or of words as `fit` would put them together."""
    if pairs:
        return list(model.codec.batches(pairs, None, seed=1).take(BATCHES))
    shape = [2, task["batch"], task["length"] - 1]
    ids = tf.constant(np.random.default_rng(0).integers(4, model.codec.target_size, shape), tf.int32)
    source, labels = tf.unstack(tf.pad(ids, [[0, 0], [0, 0], [0, 1]], constant_values=END_ID))
    target = tf.pad(labels[:, :-1], [[0, 0], [1, 0]], constant_values=START_ID)
    return [({"source_ids": source, "target_ids": target}, labels, tf.ones(tf.shape(labels)))]


def write(directory: Path, model: Any, batches: list[Any]) -> None:
    """Writes weights and batches for the other side."""
    np.savez(directory / "weights.npz", *(weight.numpy() for weight in model.trainable_weights))
    arrays = {}
    for number, (inputs, labels, weights) in enumerate(batches):
        named = {**inputs, "labels": tf.where(weights > 0, labels, 0)}
        arrays |= {f"{name}_{number}": np.asarray(value) for name, value in named.items()}
    np.savez(directory / "batches.npz", **arrays)


def main() -> None:
    """Trains as it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="has task.json, and is where weights and batches go")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--threads", type=int, default=1, help="how many operations at once")
    parser.add_argument("--within", type=int, help="threads of one operation; as many without it")
    parser.add_argument("--fused", action="store_true")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.within or options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    task = json.loads((options.directory / "task.json").read_text("utf-8"))
    model, pairs = make_model(task, options.fused, options.precision)
    batches = make_batches(task, model, pairs)
    write(options.directory, model, batches)
    open_shapes = tf.nest.map_structure(lambda part: tf.TensorSpec([None, None], part.dtype), batches[0])
    model._build_optimizer()
    step = tf.function(model.train_step, input_signature=[open_shapes])
    held, turn = held_mib(), iter(int, 1)
    order = (batches[number % len(batches)] for number, _ in enumerate(turn))

    def train() -> float:
        model.reset_metrics()
        return float(step(next(order))["loss"])

    losses = [train() for _ in range(3)]
    tokens = float(np.mean([float(tf.reduce_sum(weights)) for *_, weights in batches]))
    serve({"shown": losses, "held_mib": held, "tokens": tokens, "version": f"TensorFlow {tf.__version__}"}, train)


if __name__ == "__main__":
    main()
