"""Training on several devices or machines by `tf.distribute`, with the numbers of one process at the same batches."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from kerass2s.errors import ConfigError, TrainingError, suggestion

__all__ = [
    "STRATEGIES",
    "Workers",
    "expect_sums",
    "needing_all_workers",
    "share_of_steps",
    "shares",
    "strategy_named",
    "summed",
]


# === Strategies ===

STRATEGIES = {
    "mirrored": lambda: tf.distribute.MirroredStrategy(),
    "multi-worker": lambda: _multi_worker(),
}


def strategy_named(name: str | None) -> tf.distribute.Strategy:
    """Make the strategy of a name in `STRATEGIES`; None for one device. To be called before anything else is computed.

    "mirrored" is all devices of this machine; "multi-worker" is all processes that TF_CONFIG names, and waits for them.

    Raises:
        ConfigError: no such name; or for "multi-worker" a TF_CONFIG that does not say who the workers are.
    """
    if name is None:
        return tf.distribute.get_strategy()
    if name not in STRATEGIES:
        raise ConfigError(
            f"A strategy is one of {', '.join(STRATEGIES)}.{suggestion(name, STRATEGIES)} Received: {name!r}"
        )
    return STRATEGIES[name]()


def _multi_worker() -> tf.distribute.Strategy:
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        named = task["type"] == "worker" and workers[task["index"]] and task["index"] >= 0
    except (ValueError, KeyError, TypeError, IndexError):
        named = False
    if not named:
        raise ConfigError(
            "multi-worker needs the variable TF_CONFIG, with the addresses of all workers and which of them this is: "
            '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}. '
            f"Received: {text!r}"
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


# === Data ===


def shares(data: tf.data.Dataset, strategy: tf.distribute.Strategy) -> tf.distribute.DistributedDataset:
    """Cut each batch of a dataset among the replicas by rows, in the order of the replicas.

    Each worker makes all batches and takes its replicas' shares, so all of them see the batches that one process
    would. Of 5 rows the first of two replicas gets 3; a batch of fewer rows than replicas leaves some with none.

    Args:
        data: batches, of a known number; every worker must make the same ones.
        strategy: whose replicas get them.

    Raises:
        TrainingError: the workers do not even begin with the same batch: their files, seeds or tokenizers differ, or a
            tokenizer draws each worker its own segmentations.
    """
    workers = Workers(strategy)
    if workers.count > 1:
        bytes_of = [each.numpy().tobytes() for each in tf.nest.flatten(next(iter(data)))]
        workers.need_same("The first batch", zlib.crc32(b"".join(bytes_of)))

    def local(context: tf.distribute.InputContext) -> tf.data.Dataset:
        """Yield the shares of one worker's replicas, one after the other."""
        count = context.num_replicas_in_sync
        here = count // context.num_input_pipelines
        first = context.input_pipeline_id * here

        def cut(*batch: Any) -> tf.data.Dataset:
            numbers = tf.data.Dataset.range(first, first + here)
            return numbers.map(lambda number: tf.nest.map_structure(lambda each: _share(each, number, count), batch))

        return data.flat_map(cut).prefetch(tf.data.AUTOTUNE)

    cut = strategy.distribute_datasets_from_function(local)
    cut._cardinality = data.cardinality()  # Keras asks it for the batches, and TensorFlow counts the shares
    return cut


def _share(tensor: tf.Tensor, number: tf.Tensor, count: int) -> tf.Tensor:
    """The rows [B', ...] of [B, ...] that are those of replica `number` of `count`; one less than others at most."""
    rows = tf.shape(tensor, tf.int64)[0]
    begin, end = (-((-rows * each) // count) for each in (number, number + 1))
    return tensor[begin:end]


# === Sums over the replicas ===


def summed(tensors: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Sum each tensor over the replicas, from within one; where Keras only looks at shapes there are none."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(tensors)
    sums = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, [each for each in tensors if each is not None]))
    return [None if each is None else next(sums) for each in tensors]


def share_of_steps(labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor | float:
    """Return by what to multiply a replica's mean loss so that the mean over the replicas is that over all real steps.

    Args:
        labels: [B, T, ...].
        weights: [B, T], 0 at padding; None where all steps are real.
    """
    count = tf.distribute.get_strategy().num_replicas_in_sync
    if count == 1:
        return 1.0
    real = tf.ones(tf.shape(labels)[:2]) if weights is None else weights
    own = tf.reduce_sum(tf.cast(real, tf.float32))
    return tf.math.divide_no_nan(count * own, summed([own])[0])


def expect_sums(optimizer: keras.optimizers.Optimizer) -> None:
    """Let an optimizer take gradients that are summed over the replicas already.

    Keras' optimizers clip what each replica has by itself and sum after that, which bounds the norm of something else.

    Raises:
        ConfigError: it accumulates gradients, which TensorFlow cannot do on several replicas.
    """
    if optimizer.gradient_accumulation_steps:
        raise ConfigError(
            "Several replicas cannot accumulate gradients; make the batches larger instead. Received: "
            f"gradient_accumulation_steps={optimizer.gradient_accumulation_steps}"
        )
    optimizer._all_reduce_sum_gradients = list


# === Workers ===


@contextmanager
def needing_all_workers() -> Iterator[None]:
    """Say in one line that another worker is gone.

    Raises:
        TrainingError: it is.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise TrainingError(
            "Another worker is gone. Start all workers again; they go on from the last checkpoint. "
            f"Received: {type(error).__name__}"
        ) from error


class Workers:
    """The processes that train together, of which this is one.

    Args:
        strategy: the model's.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy
        resolver = strategy.cluster_resolver
        several = resolver is not None and len(resolver.cluster_spec().as_dict().get("worker", [])) > 1
        self.count = len(resolver.cluster_spec().as_dict()["worker"]) if several else 1
        self.number = resolver.task_id if several else 0

        @tf.function
        def total(values: tf.Tensor) -> Any:
            return strategy.run(lambda: summed([tf.identity(values)])[0])  # of which the device is known

        self._total = total

    @property
    def chief(self) -> bool:
        """Whether this is the one that writes files."""
        return self.number == 0

    def gather(self, value: int) -> list[int]:
        """Return the value of each worker, in their order; all of them must ask."""
        if self.count == 1:
            return [value]
        mine = tf.one_hot(self.number, self.count, dtype=tf.int64) * value
        return [int(each) for each in self._strategy.experimental_local_results(self._total(mine))[0]]

    def need_same(self, what: str, value: int) -> None:
        """Refuse to go on where the workers have different values; all of them must ask.

        Raises:
            TrainingError: `what` is not the same everywhere.
        """
        values = self.gather(value)
        if len(set(values)) > 1:
            raise TrainingError(f"{what} must be the same on all workers. Received: {values}")
