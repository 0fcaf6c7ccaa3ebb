"""Objectives: the cross-entropy of each target token."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.errors import ConfigError
from kerass2s.projection import Scores, Unprojected

__all__ = ["TokenCrossentropy"]

IMPOSSIBLE = -1e8
"""Log-probabilities below are of what a model rules out."""


@keras.saving.register_keras_serializable("kerass2s")
class TokenCrossentropy(keras.losses.Loss):
    """The mean cross-entropy, in nats, of the real target tokens: labels `[B, T]` against logits `[B, T, V]`.

    The weights `[B, T]` of `kerass2s.data.batches` are 1 at real tokens and 0 at padding, and the mean divides by
    their sum, so padding changes nothing.

    Args:
        label_smoothing: ε in [0, 1): the label gets 1 − ε, and ε is spread over all V (Szegedy et al. 2016), or over
            those that are possible where a model rules some out by a log-probability of -1e9.
        reduction: as in Keras; the default is the true mean per token.
        name: the name of the loss.
        dtype: as in Keras.

    Raises:
        ConfigError: ε out of range.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        reduction: str = "mean_with_sample_weight",
        name: str = "token_crossentropy",
        dtype: Any = None,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1). Received: {label_smoothing}")
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = label_smoothing

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss as `reduction` says; with weights `[B, T]`, logits that are not made yet never are."""
        reduced = self.reduction not in (None, "none") and sample_weight is not None
        if isinstance(y_pred, Unprojected) and reduced and len(sample_weight.shape) == len(y_true.shape):
            y_pred = y_pred.score(y_true, sample_weight, self.label_smoothing)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each position, `[B, T]`."""
        if isinstance(y_pred, Scores):
            return y_pred.loss
        labels = ops.cast(y_true, "int32")
        loss = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        if not self.label_smoothing:
            return loss
        log_probs = ops.log_softmax(y_pred, axis=-1)
        possible = log_probs > IMPOSSIBLE
        count = ops.sum(ops.cast(possible, log_probs.dtype), axis=-1)
        uniform = -ops.sum(ops.where(possible, log_probs, 0), axis=-1) / count
        return (1 - self.label_smoothing) * loss + self.label_smoothing * uniform

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"label_smoothing": self.label_smoothing, "reduction": self.reduction, "name": self.name}
