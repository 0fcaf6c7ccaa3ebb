"""Finds slowdowns in a minute: our processor time against that of a fixed reference, by turns in one process.

    make speed                                    # as CI runs it; ends with 1 where something became slower
    python benchmarks/regression.py --keep        # keeps the ratios of one run; better is the middle of several

A ratio of two things that do the same work says much the same on any machine, idle or not. The references are written
down here and import nothing of ours: a training step of the same network in plain Keras, and greedy decoding of the
same weights in NumPy. What the ratios are now is kept in `benchmarks/regression.json`; one that is `LIMIT` times as
large as it was, three times in a row, is a slowdown. So one of 30 percent turns up, and what a busy machine adds does
not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import tensorflow as tf

from kerass2s import zoo
from kerass2s.data.padding import padded
from kerass2s.decoding import GreedySearch
from kerass2s.export import export_onnx
from kerass2s.text import END_ID, START_ID, SentencePieceTokenizer

KEPT = Path(__file__).with_suffix(".json")
LIMIT = 1.2
TRIES = 3
BATCH, LENGTH, VOCABULARY, UNITS, WIDTH = 64, 16, 1000, 128, 64
WORDS, LONGEST = 8, 12
Work = Callable[[], Any]

# === References ===


def plain_keras() -> keras.Model:
    """Makes the network of `luong2015` of Keras' own layers: ids [B, S] and [B, T] to logits [B, T, V]."""
    layers = keras.layers
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    reader = layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True, return_state=True))
    memory, *final = reader(layers.Embedding(VOCABULARY, WIDTH)(source))
    first = layers.Dense(2 * UNITS, activation="tanh")(layers.Concatenate()(final))
    embedded = layers.Embedding(VOCABULARY, WIDTH)(target)
    hidden = layers.LSTM(UNITS, return_sequences=True)(embedded, initial_state=[first[:, :UNITS], first[:, UNITS:]])
    scores = layers.Dot(2)([hidden, layers.Dense(UNITS, use_bias=False)(memory)])
    context = layers.Dot((2, 1))([layers.Softmax()(scores), memory])
    combined = layers.Dense(UNITS, activation="tanh")(layers.Concatenate()([context, hidden]))
    model = keras.Model([source, target], layers.Dense(VOCABULARY)(combined))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


class InNumpy:
    """Decodes greedily, one source at a time, with the weights of `luong2015`.

    Args:
        weights: in the model's order.
    """

    def __init__(self, weights: list[np.ndarray]) -> None:
        self.source, *reader = weights[:7]
        self.forward, self.backward = reader[:3], reader[3:]
        table, kernel, self.recurrent, bias = weights[7:11]
        self.inputs = table @ kernel + bias
        self.key, self.combine, self.shift, self.out, self.floor, self.bridge, self.begin = weights[11:]

    def decode(self, ids: np.ndarray) -> list[int]:
        """Returns the ids of one source's output."""
        embedded = self.source[ids]
        ahead, (h, c) = self._read(embedded, *self.forward)
        back, (other_h, other_c) = self._read(embedded[::-1], *self.backward)
        memory = np.concatenate([ahead, back[::-1]], 1)
        h, c = np.split(np.tanh(np.concatenate([h, c, other_h, other_c]) @ self.bridge + self.begin), 2)
        keys, said, token = memory @ self.key, [], START_ID
        for _ in range(LONGEST):
            h, c = _cell(self.inputs[token] + h @ self.recurrent, c)
            shares = np.exp(keys @ h - np.max(keys @ h))
            context = shares / shares.sum() @ memory
            logits = np.tanh(np.concatenate([context, h]) @ self.combine + self.shift) @ self.out + self.floor
            logits[[0, START_ID]] = -np.inf
            token = int(logits.argmax())
            if token == END_ID:
                break
            said.append(token)
        return said

    def _read(self, embedded: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> Any:
        h = c = np.zeros(UNITS, np.float32)
        outputs = []
        for projected in embedded @ kernel + bias:
            h, c = _cell(projected + h @ recurrent, c)
            outputs.append(h)
        return np.stack(outputs), (h, c)


def _cell(gates: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    i, f, g, o = np.split(gates, 4)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


# === What is measured ===


def make_model() -> Any:
    """Makes our model, its weights large enough to make it sure of what it says."""
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + VOCABULARY - 4)))
    tokenizer = SentencePieceTokenizer.train([letters], "char")
    keras.utils.set_random_seed(1)
    sizes = {"units": UNITS, "embedding_size": WIDTH, "dropout": 0.0}
    model = zoo.build("luong2015", source_tokenizer=tokenizer, target_tokenizer=tokenizer, **sizes)
    for weight in model.trainable_weights:
        weight.assign(2 * weight)
    return model


def trainings() -> dict[str, tuple[Work, Work]]:
    """Returns a training step as `fit` takes it, plain and fused, each beside the reference."""
    ids = np.random.default_rng(0).integers(END_ID + 1, VOCABULARY, [3, BATCH, LENGTH])
    source, target, labels = tf.unstack(tf.constant(ids, tf.int32))
    weights = tf.ones([BATCH, LENGTH])
    reference = step_of(plain_keras(), ((source, target), labels, weights))
    found = {}
    for name, fused in (("training step", False), ("training step, fused", True)):
        model = make_model()
        model.compile("adam", weighted_metrics=[], fused=fused)
        model._build_optimizer()
        found[name] = step_of(model, ({"source_ids": source, "target_ids": target}, labels, weights)), reference
    return found


def step_of(model: keras.Model, batch: Any) -> Work:
    """Returns one step of a model's training, in a graph of any batch and length."""
    model.optimizer.build(model.trainable_variables)
    open_shapes = tf.nest.map_structure(lambda part: tf.TensorSpec([None, None], part.dtype), batch)
    step = tf.function(model.train_step, input_signature=[open_shapes])
    return lambda: step(batch)["loss"].numpy()


def decodings(directory: Path) -> dict[str, tuple[Work, Work]]:
    """Returns greedy decoding of some sources, live and by ONNX, each beside the reference.

    Raises:
        ValueError: the reference does not say the same.
    """
    model, search = make_model(), GreedySearch(LONGEST)
    generator = np.random.default_rng(0)
    texts = [model.codec.example(generator, 4 + i) for i in range(WORDS)]
    rows = model.codec.rows(texts)
    reference = InNumpy([weight.numpy() for weight in model.trainable_weights])
    export_onnx(model, directory / "model.onnx", search)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    sources = [dict(zip(("source_ids", "source_lengths"), padded([row]), strict=True)) for row in rows]

    def by_onnx() -> list[list[int]]:
        found = [session.run(["target_ids"], source)[0][0, 0].tolist() for source in sources]
        return [[each for each in ids if each > END_ID] for ids in found]

    def by_numpy() -> list[list[int]]:
        return [reference.decode(row) for row in rows]

    if by_onnx() != by_numpy():
        raise ValueError(f"The reference must say the same. Received: {by_onnx()} and {by_numpy()}")
    live = (lambda: [model.generate([text], search) for text in texts]), by_numpy
    return {"decoding, live": live, "decoding, ONNX": (by_onnx, by_numpy)}


# === Comparison ===


def ratio(ours: Work, reference: Work, rounds: int) -> float:
    """Returns how much processor time ours takes for one of the reference: the least of each, as noise only adds."""
    pairs = [(_seconds(ours), _seconds(reference)) for _ in range(rounds + 1)]
    own, fixed = zip(*pairs[1:], strict=True)
    return min(own) / min(fixed)


def _seconds(work: Work, least: float = 0.04) -> float:
    """Times one piece of work, repeated until the clock can be read well."""
    begin, times = time.process_time(), 0
    while time.process_time() - begin < least:
        work()
        times += 1
    return (time.process_time() - begin) / times


def slower(measure: Callable[[], float], kept: float) -> tuple[float, bool]:
    """Returns a ratio, the least of its tries, and whether it is a slowdown; what is none is measured once."""
    least = measure()
    for _ in range(TRIES - 1):
        if least <= LIMIT * kept:
            break
        least = min(least, measure())
    return least, least > LIMIT * kept


def main(arguments: list[str] | None = None) -> int:
    """Measures, and compares with what is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the ratios of this run")
    parser.add_argument("--rounds", type=int, default=15, help="how often each pair takes its turn")
    options = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    kept = {} if options.keep else json.loads(KEPT.read_text("utf-8"))
    found, slow = {}, []
    with tempfile.TemporaryDirectory() as directory:
        for name, pair in {**trainings(), **decodings(Path(directory))}.items():
            # Where nothing is kept yet all tries are made, and the least of them is what will be.
            found[name], is_slow = slower(lambda pair=pair: ratio(*pair, options.rounds), kept.get(name, 0.0))
            slow += [name] * is_slow
            print(f"{name:22} {found[name]:.3f} of the reference, kept {kept.get(name, 0.0):.3f}", flush=True)
    if options.keep:
        KEPT.write_text(json.dumps({name: round(each, 3) for name, each in found.items()}, indent=1) + "\n", "utf-8")
        return 0
    if slow:
        print(f"slower than it was: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
