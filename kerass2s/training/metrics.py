"""Metrics of teacher-forced training: token accuracy, sequence accuracy and perplexity, padding left out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.projection import Scores, Unprojected

__all__ = ["Perplexity", "SequenceAccuracy", "TokenAccuracy"]


class _Ratio(keras.metrics.Metric):
    """A quotient of two running sums."""

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def _add(self, total: Any, count: Any) -> None:
        self.total.assign_add(ops.cast(total, self.dtype))
        self.count.assign_add(ops.cast(count, self.dtype))

    def result(self) -> Any:
        """Return total / count; 0 before the first update."""
        return ops.divide_no_nan(self.total, self.count)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}


def _weights(y_true: Any, sample_weight: Any) -> Any:
    return ops.ones(ops.shape(y_true)) if sample_weight is None else ops.cast(sample_weight, "float32")


def _scores(y_pred: Any, sample_weight: Any) -> Scores | None:
    """Return what the loss already knows of logits that were not made; of padding it knows nothing."""
    return y_pred.scores if isinstance(y_pred, Unprojected) and sample_weight is not None else None


def _right(y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
    scores = _scores(y_pred, sample_weight)
    if scores is not None:
        return scores.right > 0
    return ops.equal(ops.cast(y_true, "int32"), ops.cast(ops.argmax(y_pred, axis=-1), "int32"))


@keras.saving.register_keras_serializable("kerass2s")
class TokenAccuracy(_Ratio):
    """The share of real tokens whose likeliest class is the label, given the true tokens before it."""

    def __init__(self, name: str = "token_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels `[B, T]`, logits `[B, T, V]`, weights `[B, T]`."""
        weights = _weights(y_true, sample_weight)
        self._add(ops.sum(ops.cast(_right(y_true, y_pred, sample_weight), "float32") * weights), ops.sum(weights))


@keras.saving.register_keras_serializable("kerass2s")
class SequenceAccuracy(_Ratio):
    """The share of sequences whose every real token is right, given the true tokens before it (teacher forced)."""

    def __init__(self, name: str = "sequence_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels `[B, T]`, logits `[B, T, V]`, weights `[B, T]`; a row without a real token does not count."""
        weights = _weights(y_true, sample_weight)
        right = ops.all(ops.logical_or(_right(y_true, y_pred, sample_weight), weights == 0), axis=-1)
        real = ops.any(weights > 0, axis=-1)
        self._add(ops.sum(ops.cast(ops.logical_and(right, real), "float32")), ops.sum(ops.cast(real, "float32")))


@keras.saving.register_keras_serializable("kerass2s")
class Perplexity(_Ratio):
    """exp of the mean cross-entropy of the real tokens, without label smoothing."""

    def __init__(self, name: str = "perplexity", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels `[B, T]`, logits `[B, T, V]`, weights `[B, T]`."""
        weights = _weights(y_true, sample_weight)
        scores = _scores(y_pred, sample_weight)
        if scores is None:
            loss = ops.sparse_categorical_crossentropy(ops.cast(y_true, "int32"), y_pred, from_logits=True)
        else:
            loss = scores.nll
        self._add(ops.sum(ops.cast(loss, "float32") * weights), ops.sum(weights))

    def result(self) -> Any:
        """Return exp(total / count); 1 before the first update."""
        return ops.exp(super().result())
