"""Where a training run stands: the epoch, the batch, and what the order of its data and its curriculum depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

__all__ = ["Position", "Standing"]


@dataclass(frozen=True)
class Standing:
    """Where a run goes on.

    Attributes:
        epoch: the number of the epoch, from 0.
        batch: how many batches of it were trained on already.
        begun: the batches trained on before that epoch, as a curriculum counts them.
    """

    epoch: int
    batch: int = 0
    begun: int = 0


class Position(keras.callbacks.Callback):
    """Tells, while `fit` runs, which epoch it is in and how many batches were trained on before that.

    Args:
        start: where the run begins.

    Attributes:
        start: the same.
        data: what `fit` trains on.
        train: what trains on batches, while something else stands for it that lets batches pass by.
    """

    def __init__(self, start: Standing) -> None:
        super().__init__()
        self.start = start
        self.data: Any = None
        self.train: Any = None
        self._epoch, self._begun = start.epoch, start.begun

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note where training stands."""
        self._epoch, self._begun = epoch, self.start.begun if self.passed(epoch) else self.model.count_batches()

    def epoch(self) -> int:
        """Return the number of the epoch."""
        return self._epoch

    def begin(self) -> int:
        """Return the batches trained on before it."""
        return self._begun

    def passed(self, epoch: int) -> int:
        """Return how many batches of an epoch were trained on before this run began."""
        return self.start.batch if epoch == self.start.epoch else 0

    def before(self, callbacks: Any) -> Any:
        """Return what `fit` is given as callbacks with this one before them."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(self)
            return callbacks
        return [self, *keras.tree.flatten(callbacks or [])]
