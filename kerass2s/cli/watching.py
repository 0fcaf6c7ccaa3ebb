"""What `kerass2s train` shows while it runs: a bar with loss, tokens a second and the time that is left."""

from __future__ import annotations

import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kerass2s.training import TokenAccuracy
from kerass2s.training.distribution import Workers

__all__ = ["Watch"]

SECONDS = 0.25
"""How long a bar stands before it is drawn anew: reading the losses of every batch would slow a small model down."""


class Watch(keras.callbacks.Callback):
    """Shows a bar over all epochs on a terminal, and measures each epoch's tokens a second for the logs of others.

    The key `tokens_per_second` is added to the epoch's logs: target tokens that were trained on, their ends included,
    without validation. Put it before the callbacks that write logs down.

    Args:
        console: where the bar is drawn; nothing is where it is quiet or no terminal.
        epochs: how many there are, those of a run that is resumed included.
    """

    def __init__(self, console: Console, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self._speed: float | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]}, {task.fields[speed]} tokens/s, left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
        )
        self._task: TaskID | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Draw the bar."""
        self._alone = Workers(self.model.distribute_strategy).count == 1
        self._bar.start()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Take it away; see `close`."""
        self.close()

    def close(self) -> None:
        """Take the bar away, also where training was interrupted."""
        self._bar.stop()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin to measure."""
        self._epoch, self._speed = epoch, None
        self._begun = self._drawn = time.monotonic()
        if self._task is None:
            self._task = self._bar.add_task("", total=None, loss="–", speed="–")
        steps = self.params.get("steps")
        total = steps * self.epochs if steps else None
        self._bar.update(self._task, description=f"epoch {epoch + 1} of {self.epochs}", total=total)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar, a few times a second."""
        now = time.monotonic()
        if self._bar.disable or now - self._drawn < SECONDS:
            return
        self._drawn = now
        # The tokens of several workers can only be counted when all of them do.
        loss, speed = (logs or {}).get("loss"), self._tokens_per_second() if self._alone else None
        self._bar.update(
            self._task,
            completed=self._epoch * (self.params.get("steps") or 0) + batch + 1,
            loss="–" if loss is None else f"{float(loss):.3f}",
            speed="–" if speed is None else f"{speed:,.0f}",
        )

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Keep the speed of the epoch: validation counts its own tokens."""
        self._speed = self._tokens_per_second()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the speed to the logs."""
        speed = self._speed or self._tokens_per_second()
        if logs is not None and speed is not None:
            logs["tokens_per_second"] = round(speed, 1)

    def _tokens_per_second(self) -> float | None:
        """The speed so far in this epoch; the metric of token accuracy counts tokens, where targets are any."""
        metrics = [inner for metric in self.model.metrics for inner in getattr(metric, "metrics", [metric])]
        counts = [float(metric.count.numpy()) for metric in metrics if isinstance(metric, TokenAccuracy)]
        return counts[0] / max(time.monotonic() - self._begun, 1e-9) if counts else None
