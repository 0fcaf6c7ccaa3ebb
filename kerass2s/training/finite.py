"""A loss that is no number ends the run at once, with the batch that it came from kept for a look."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s.errors import TrainingError
from kerass2s.files import write_bytes

__all__ = ["FiniteLoss"]

ADVICE = (
    "Look at the batch for pairs that are much longer than others, or wrong; lower the learning rate; bound the "
    "gradients (clipnorm 1.0); with precision mixed_bfloat16, try float32"
)


class FiniteLoss(keras.callbacks.Callback):
    """Ends training when the loss of a batch is NaN or infinite, before anything of that is saved.

    The batch is written as arrays, by name: the features, `labels` and `sample_weight`. Put this callback before those
    that save.

    Args:
        path: the `.npz` file to write the batch to.
    """

    def __init__(self, path: Any) -> None:
        super().__init__()
        self.path = Path(path)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the number of the first batch of a step."""
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the loss.

        Raises:
            TrainingError: it is not finite.
        """
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            epoch = self.model.position.epoch()
            kept = f"its batch is in {self.path}" if self._keep(batch) else "its batch could not be kept"
            raise TrainingError(
                f"The loss is not finite any more; {kept}. {ADVICE}. "
                f"Received: {loss} in epoch {epoch + 1}, batch {batch + 1}"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the loss of the validation pairs.

        Raises:
            TrainingError: it is not finite.
        """
        loss = float((logs or {}).get("val_loss", 0.0))
        if not math.isfinite(loss):
            raise TrainingError(f"The validation loss is not finite. {ADVICE}. Received: {loss} in epoch {epoch + 1}")

    def _keep(self, last: int) -> bool:
        batches = self.model.trained_batches(self._first, last)
        arrays: dict[str, np.ndarray] = {}
        for number, (features, labels, weights) in enumerate(batches):
            prefix = f"{number}." if len(batches) > 1 else ""
            named = {**features, "labels": labels, "sample_weight": weights}
            arrays.update({prefix + name: tf.convert_to_tensor(value).numpy() for name, value in named.items()})
        if arrays:
            content = io.BytesIO()
            np.savez(content, **arrays)
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(self.path, content.getvalue())
            except OSError:  # a full disk is not what this run ends for
                return False
        return bool(arrays)
