"""Checkpoints: the whole state of a run of `fit`, written whole, so that a run that was killed goes on bit for bit."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s.errors import TrainingError, UserError
from kerass2s.files import (
    MEBIBYTE,
    SEAL,
    digest,
    inside,
    read_json,
    seal,
    sealed,
    sync_directory,
    sync_file,
    write_json,
)
from kerass2s.training.distribution import Workers
from kerass2s.training.standing import Standing

__all__ = ["Checkpoints", "Interrupted"]

FORMAT = 1
ARRAYS, STATE = "state.npz", "state.json"
KEPT = 2
"""How many checkpoints there are at once: the last one, and the one before should the disk have lost that."""
LARGEST_STATE = MEBIBYTE


class Interrupted(Exception):
    """A signal asked the run to end, and its state is saved; `signal` is the number of it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.signal = number


class Checkpoints(keras.callbacks.Callback):
    """Keeps the state of a run of `Seq2Seq.fit` in a directory: after each epoch, within one, and when asked to end.

    The state is all that the rest of the run depends on: weights and the seeds of dropout, the optimizer with its
    moments, moving averages and accumulated gradients, the metrics so far, early stopping, and where the run stands,
    which decides the order of the data and the curriculum. A run that goes on from it ends with the same weights, bit
    for bit, as one that was never cut short, on the same machine.

        checkpoints = kerass2s.training.Checkpoints("state")
        with checkpoints.heeding_signals():
            model.fit(pairs, epochs=10, standing=checkpoints.restore(model), callbacks=[checkpoints])

    A checkpoint is a directory that takes its name when all of it is on the disk, and has its checksums; the last two
    are kept. One that is not whole is passed over. Put this callback last.

    Of several workers the first one writes, and all read: the directory must be one that they share.

    Args:
        directory: where they are kept, and nothing else.
        stopping: callbacks of `keras.callbacks.EarlyStopping` whose count is part of the state.
        minutes: a checkpoint is also written when the last one is older than this.
    """

    def __init__(
        self, directory: Any, stopping: Sequence[keras.callbacks.EarlyStopping] = (), minutes: float = 10.0
    ) -> None:
        super().__init__()
        self.directory = Path(directory)
        self.stopping = list(stopping)
        self.minutes = minutes
        self._asked = 0
        self._restored: dict[str, Any] | None = None

    # === Going on ===

    def restore(self, model: keras.Model) -> Standing | None:
        """Put the newest whole checkpoint into a compiled model, and return what `fit` takes as `standing`.

        None is the beginning: there is no checkpoint.

        Raises:
            TrainingError: there are checkpoints, and none is whole or fits the model; or the workers see others.
        """
        standing = self._restore(model)
        reached = 0 if standing is None else 1 + int(model.optimizer.iterations.numpy())
        Workers(model.distribute_strategy).need_same(f"The checkpoints that are seen in {self.directory}", reached)
        return standing

    def _restore(self, model: keras.Model) -> Standing | None:
        reasons = []
        for place in reversed(self._places()):
            try:
                state = _read(place)
                with model.distribute_strategy.scope():
                    model.optimizer.build(model.trainable_variables)
                _assign({"model": model.variables, "optimizer": model.optimizer.variables}, state, place)
            except UserError as error:
                reasons.append(str(error))
                continue
            self._restored = state
            return Standing(**state["standing"])
        if reasons:
            raise TrainingError(f"{self.directory}: no checkpoint can be read. {reasons[0]}")
        return None

    def stopped(self) -> bool:
        """Tell whether the run that was restored had ended by early stopping."""
        kept = self._restored["stopping"] if self._restored else []
        return any(each.patience <= state["wait"] for each, state in zip(self.stopping, kept, strict=False))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Let early stopping count on."""
        self._last = time.monotonic()
        self._workers = Workers(self.model.distribute_strategy)
        for each, kept in zip(self.stopping, self._restored["stopping"] if self._restored else [], strict=False):
            vars(each).update(kept)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Let the metrics of an epoch that was cut short go on."""
        self._epoch = epoch
        data = self.model.position.data
        if self._restored and self.model.position.passed(epoch) and isinstance(data, tf.data.Dataset):
            self.model.evaluate(data.take(1), verbose=0)  # Keras makes the variables of metrics when it sees a batch
            _assign({"metric": self.model.metrics_variables}, self._restored, self.directory)
        self._restored = None
        self._begun = self.model.position.begin()

    # === Keeping ===

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save when asked to end, or when it is time."""
        steps = self.params.get("steps")
        if steps is not None and batch + 1 >= steps:
            return  # the end of the epoch is near, and saves
        if batch < self.model.position.passed(self._epoch):
            return
        due = time.monotonic() - self._last > 60 * self.minutes
        if any(self._workers.gather(bool(self._asked or due))):
            self.save(Standing(self._epoch, batch + 1, self._begun))
            self._leave()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save."""
        self.save(Standing(epoch + 1))
        self._leave()

    def _leave(self) -> None:
        """End the run if any of the workers was asked to."""
        asked = max(self._workers.gather(self._asked))
        if asked:
            raise Interrupted(asked)

    def save(self, standing: Standing) -> None:
        """Write a checkpoint; of several workers all must, since the figures so far are spread among them.

        Raises:
            TrainingError: it cannot be written; the one before is as it was.
        """
        arrays = self._arrays()
        if self._workers.chief:
            self._save(standing, arrays)
        self._last = time.monotonic()

    def _save(self, standing: Standing, arrays: dict[str, np.ndarray]) -> None:
        place = self.directory / f"{standing.epoch:06d}-{standing.batch:09d}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._write(place, standing, arrays)
        except OSError as error:
            raise TrainingError(
                f"{self.directory}: the state of training cannot be saved ({error.strerror or error}); the checkpoint "
                f"before it is as it was. Make room, then let the run go on. Received: {str(place)!r}"
            ) from error

    def _write(self, place: Path, standing: Standing, arrays: dict[str, np.ndarray]) -> None:
        for left in self.directory.glob(".making-*"):  # by a run that was killed
            shutil.rmtree(left)
        made = Path(tempfile.mkdtemp(prefix=".making-", dir=self.directory))
        try:
            np.savez(made / ARRAYS, **arrays)
            sync_file(made / ARRAYS)
            write_json(made / STATE, sealed(self._state(standing, digest(made / ARRAYS))))
            if place.exists():
                shutil.rmtree(place)
            made.rename(place)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        sync_directory(self.directory)
        for old in self._places()[:-KEPT]:
            shutil.rmtree(old)

    def _arrays(self) -> dict[str, np.ndarray]:
        parts = {
            "model": self.model.variables,
            "optimizer": self.model.optimizer.variables,
            "metric": self.model.metrics_variables,
        }
        return {
            f"{name}.{number}": variable.numpy()
            for name, variables in parts.items()
            for number, variable in enumerate(variables)
        }

    def _state(self, standing: Standing, checksum: str) -> dict[str, Any]:
        names = ("wait", "best", "best_epoch", "stopped_epoch")
        stopping = [{name: _plain(getattr(each, name)) for name in names} for each in self.stopping]
        return {"format": FORMAT, "standing": asdict(standing), "stopping": stopping, "arrays": checksum}

    def _places(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(file for file in self.directory.glob("[0-9]*-[0-9]*") if file.is_dir())

    # === Signals ===

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the run after the batch it is in, its state saved; a second one ends it at once.

        Raises:
            Interrupted: when it has ended so; from `fit`.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # no other thread hears of signals
            return
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = number


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else float(value)


def _read(place: Path) -> dict[str, Any]:
    """Read a checkpoint, its arrays under "loaded"."""
    state = read_json(inside(place, STATE, TrainingError), LARGEST_STATE, TrainingError)
    path = inside(place, ARRAYS, TrainingError)
    if state.get(SEAL) != seal(state) or state.get("arrays") != digest(path, TrainingError):
        raise TrainingError(f"{place}: damaged, its checksum does not fit. Received: {state.get(SEAL)}")
    if state.get("format") != FORMAT:
        raise TrainingError(f"{place}: this version reads format {FORMAT}. Received: {state.get('format')!r}")
    with np.load(path, allow_pickle=False) as file:
        return {**state, "loaded": dict(file.items())}


def _assign(parts: dict[str, Sequence[Any]], state: dict[str, Any], place: Path) -> None:
    """Put arrays into variables, after a look at all of them."""
    loaded = state["loaded"]
    pairs = [
        (variable, loaded.get(f"{name}.{number}"))
        for name, variables in parts.items()
        for number, variable in enumerate(variables)
    ]
    count = sum(key.partition(".")[0] in parts for key in loaded)
    if count != len(pairs) or any(value is None or variable.shape != value.shape for variable, value in pairs):
        raise TrainingError(f"{place}: the state of another model. Received: {count} arrays for {len(pairs)} variables")
    for variable, value in pairs:
        variable.assign(value)
