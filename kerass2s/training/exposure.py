"""Exposure bias: how much more a model errs when it is fed its own outputs than when it is fed the true ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerass2s.data import Pair
from kerass2s.data.pipeline import shift
from kerass2s.decoding import BeamSearch, GreedySearch
from kerass2s.decoding.search import log_probabilities
from kerass2s.errors import DataError
from kerass2s.text import END_ID, PAD_ID
from kerass2s.training.callbacks import PairsCallback

__all__ = ["Exposure", "ExposureBias", "compare_outputs", "measure_exposure"]


class Exposure(NamedTuple):
    """The share of wrong tokens at each output position t, teacher forced and free running; END is a token.

    Attributes:
        forced: [T], given the true tokens before.
        free: [T], given the model's own.
        counts: [T], how many targets reach that position; always above 0.
    """

    forced: np.ndarray
    free: np.ndarray
    counts: np.ndarray

    @property
    def forced_error(self) -> float:
        """The share over all positions, teacher forced."""
        return float(np.average(self.forced, weights=self.counts))

    @property
    def free_error(self) -> float:
        """The share over all positions, free running."""
        return float(np.average(self.free, weights=self.counts))

    @property
    def gap(self) -> float:
        """How much greater the free-running share is."""
        return self.free_error - self.forced_error


def compare_outputs(labels: np.ndarray, forced: np.ndarray, free: np.ndarray) -> Exposure:
    """Compare two outputs with the labels, position by position.

    A label that an output does not reach counts as wrong, and what an output has beyond its label counts nowhere: its
    missing END does. With END = 3:

        labels   7 8 9 3     forced  7 8 8 3     free  7 9 8 3     labels   7 8 3     forced  7 8 3     free  7 8 5
        wrong                            x               x x                                                      x

    Forced is wrong in 0, 0, 1 of 2, and 0 of 1; free in 0, 1 of 2, 2 of 2, and 0 of 1.

    Args:
        labels: int [N, T], each row with its END, PAD after it.
        forced: int [N, T], the likeliest token at each position given the true ones before.
        free: int [N, any], what a search found, with END, PAD after it.

    Raises:
        DataError: there is nothing to compare.
    """
    labels = np.asarray(labels)
    real = labels != PAD_ID
    if not real.any():
        raise DataError(f"There is nothing to measure exposure on. Received: labels of shape {labels.shape}")
    length = int(real.any(axis=0).sum())
    labels, real = labels[:, :length], real[:, :length]
    counts = real.sum(axis=0)

    def wrong(output: np.ndarray) -> np.ndarray:
        output = np.asarray(output)[:, :length]
        output = np.pad(output, [(0, 0), (0, length - output.shape[1])], constant_values=PAD_ID)
        return ((output != labels) & real).sum(axis=0) / counts

    return Exposure(wrong(forced), wrong(free), counts)


# === Of a model ===


Compare = Callable[[dict[str, tf.Tensor], tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]


def _comparison(model: Any, search: GreedySearch | BeamSearch) -> Compare:
    """Trace the graph from a request and its targets to labels [B, T], forced [B, T] and free [B, any]."""

    @tf.function(input_signature=[model.codec.request_spec, tf.TensorSpec([None], tf.string)])
    def run(request: dict[str, tf.Tensor], targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        source, lengths = model.codec.source(request)
        labels = model.codec.labels(targets, request).to_tensor(PAD_ID)
        inputs, labels, _ = shift(model.codec.encoder_inputs(source, lengths), labels)
        # As greedy search chooses: never PAD, never START.
        logits = model(inputs, training=False)
        flat = log_probabilities(tf.reshape(logits, [-1, logits.shape[2]]))
        forced = tf.reshape(tf.argmax(flat, axis=1, output_type=tf.int32), tf.shape(labels))
        found = model.search_graph(source, lengths, search)
        free = tf.pad(found.ids[:, 0], [[0, 0], [0, 1]], constant_values=PAD_ID)
        # A hypothesis that was cut at the search's greatest length has no END.
        ends = tf.one_hot(found.lengths[:, 0], tf.shape(free)[1], True, False, dtype=tf.bool)
        return labels, forced, tf.where(ends & (found.lengths[:, :1] < search.max_length), END_ID, free)

    return run


def _measure(model: Any, pairs: Sequence[Pair], run: Compare, batch_size: int) -> Exposure:
    model.codec.need_tokens("exposure bias")
    model.codec.check([pair[0] for pair in pairs])
    rows: tuple[list[np.ndarray], ...] = ([], [], [])
    for begin in range(0, len(pairs), batch_size):
        sources, targets = zip(*(pair[:2] for pair in pairs[begin : begin + batch_size]), strict=True)
        for kept, part in zip(rows, run(model.codec.request(sources), tf.constant(targets, tf.string)), strict=True):
            kept.extend(part.numpy())
    return compare_outputs(*(_stacked(kept) for kept in rows))


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of ids as one array [N, longest], PAD after each."""
    stacked = np.full([len(rows), max(map(len, rows), default=0)], PAD_ID)
    for row, ids in zip(stacked, rows, strict=True):
        row[: len(ids)] = ids
    return stacked


def measure_exposure(
    model: Any, pairs: Sequence[Pair], search: GreedySearch | BeamSearch | None = None, batch_size: int = 64
) -> Exposure:
    """Measure a model's exposure bias on pairs: both errors on the same targets; see `ExposureBias`.

    Raises:
        ConfigError: the model's targets are no tokens.
        DataError: there are no pairs.
    """
    return _measure(model, pairs, _comparison(model, search or GreedySearch()), batch_size)


class ExposureBias(PairsCallback):
    """After each epoch, measures how much more the model errs on its own outputs than on the true ones.

    Bengio et al. 2015 and Ranzato et al. 2016 (arXiv:1511.06732) name what the gap shows: training feeds the truth, so
    the model does not learn what to do after an error of its own. The error is the share of wrong tokens by position;
    a free-running output that leaves one token out is wrong from there on, so see the edit distances of
    `FreeRunningValidation` beside it. A pair counts with its first target.

    The logs get `val_exposure_forced`, `val_exposure_free` and `val_exposure_gap`, so that EarlyStopping and
    ModelCheckpoint can watch them; put this callback before those. `kerass2s.plots.save_exposure` draws `measured`.

    Args:
        pairs: the development pairs; a few hundred are enough.
        search: how to decode free running; None for `GreedySearch()`, which the teacher-forced choice is like.
        batch_size: pairs measured at once.

    Attributes:
        measured: an `Exposure` for each epoch of the last `fit`, with the errors by position.
    """

    def __init__(
        self, pairs: Sequence[Pair], search: GreedySearch | BeamSearch | None = None, batch_size: int = 64
    ) -> None:
        super().__init__(pairs, search, batch_size)
        self.measured: list[Exposure] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin anew."""
        self.measured = []
        self._run = _comparison(self.model, self.search)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure and add the figures to `logs`."""
        found = _measure(self.model, self.pairs, self._run, self.batch_size)
        self.measured.append(found)
        if logs is not None:
            figures = {"forced": found.forced_error, "free": found.free_error, "gap": found.gap}
            logs.update({f"val_exposure_{name}": figure for name, figure in figures.items()})
