"""A process that trains a small model, alone or as a worker among others; what it ends with goes to a file."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s import SentencePieceTokenizer, zoo
from kerass2s.data import BucketByExamples
from kerass2s.errors import ConfigError, TrainingError
from kerass2s.seq2seq import Seq2Seq
from kerass2s.training import Checkpoints, MinimumRisk, TokenCrossentropy
from kerass2s.training.distribution import strategy_named

# Two lengths and batches of 5: shares of 3 and 2 rows, and a last batch of each length that is uneven, or a single row.
PAIRS = [(word, word[::-1]) for word in ("abc", "acb", "bac", "bca", "cab", "cba", "abcabcab", "cbacbacb", "bacbacba")]
TASK = {"batching": BucketByExamples(5), "epochs": 2, "verbose": 0}


def build(strategy: tf.distribute.Strategy) -> Seq2Seq:
    """Makes the model; there is no dropout in it."""
    tokenizer = SentencePieceTokenizer.train(["abc"], "char")
    keras.utils.set_random_seed(3)
    with strategy.scope():
        both = {"source_tokenizer": tokenizer, "target_tokenizer": tokenizer}
        model = zoo.build("keras_lstm_seq2seq", **both, preset="tiny")
        optimizer = keras.optimizers.Adam(0.02, global_clipnorm=0.3, use_ema=True, ema_momentum=0.9)
        model.compile(optimizer, TokenCrossentropy(label_smoothing=0.1))
    return model


def state(model: Seq2Seq) -> list[np.ndarray]:
    """Returns all weights, and all that the optimizer remembers."""
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def train(model: Seq2Seq, file: Path, **options: Any) -> None:
    """Trains, and writes the figures of each epoch and the state at the end."""
    history = model.fit(PAIRS, **TASK, **options).history
    np.savez(file, **history, **{f"state.{number}": each for number, each in enumerate(state(model))})


class Killed(keras.callbacks.Callback):
    """Ends this process as nothing else can."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends it in the second epoch."""
        if self.model.position.epoch() == 1 and batch + 1 == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def whole_then_cut(model: Seq2Seq, out: Path, number: int) -> None:
    """Trains to the end; then once more from the beginning, until worker 1 is killed."""
    with model.distribute_strategy.scope():
        model.optimizer.build(model.trainable_variables)
    begin = state(model)
    train(model, out / f"whole_{number}.npz", validation_data=PAIRS[4:])
    for variable, value in zip((*model.variables, *model.optimizer.variables), begin, strict=True):
        variable.assign(value)
    try:
        train(model, out / "never.npz", callbacks=[*([Killed()] if number else []), Checkpoints(out / "state")])
    except TrainingError as error:
        (out / "said.txt").write_text(str(error), encoding="utf-8")


def go_on(model: Seq2Seq, out: Path, number: int) -> None:
    """Goes on from the checkpoint."""
    checkpoints = Checkpoints(out / "state")
    train(model, out / f"again_{number}.npz", standing=checkpoints.restore(model), callbacks=[checkpoints])


def refusals(model: Seq2Seq) -> dict[str, str]:
    """Returns what is said of what several replicas cannot do as one device would."""
    wrong: dict[str, Callable[[], Any]] = {
        "arrays": lambda: model.fit({"source_ids": np.zeros([2, 2])}, np.zeros([2, 2])),
        "loss": lambda: model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
        "feeding": lambda: model.compile(feeding=MinimumRisk()),
        "accumulation": lambda: model.compile(keras.optimizers.Adam(gradient_accumulation_steps=2)),
    }
    said = {}
    for name, call in wrong.items():
        try:
            call()
        except ConfigError as error:
            said[name] = str(error)
    return said


def main(phase: str, out: str, number: int, *addresses: str) -> None:
    """Runs one process of a phase."""
    gc.disable()  # which takes much of the time of what is traced once
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if phase == "alone":
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
        train(build(tf.distribute.get_strategy()), Path(out, "one.npz"), validation_data=PAIRS[4:])
        model = build(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
        train(model, Path(out, "mirrored.npz"))
        Path(out, "refused.json").write_text(json.dumps(refusals(model)), encoding="utf-8")
        return
    task = {"type": "worker", "index": number}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    model = build(strategy_named("multi-worker"))
    if phase == "again":
        try:
            model.fit(PAIRS[number:], **TASK)
        except TrainingError as error:
            Path(out, f"differ_{number}.txt").write_text(str(error), encoding="utf-8")
    {"first": whole_then_cut, "again": go_on}[phase](model, Path(out), number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
