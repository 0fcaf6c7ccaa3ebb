"""A small run of `kerass2s train` in a process of its own, ended as its first argument says."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SETTINGS = (
    "config.units=12",
    "config.embedding_size=8",
    "config.dropout=0.2",
    "batching.size=3",
    "learning_rate=0.02",
    "search=greedy:max_length=8",
    "ema=0.9",
    "gradient_accumulation_steps=2",
    "feeding={name: scheduled_sampling, decay: {name: linear, c: 0.01}}",
    "curriculum={steps: 20, initial: 0.4}",
    "early_stopping=9",
    "decay=linear",
    "epochs=3",
)


def nth(count: int, then: Callable[[], None], function: Any) -> Any:
    """Returns a function that calls `then` in place of its n-th call."""
    calls = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            then()
        return function(*args, **options)

    return counted


def kill() -> None:
    """Ends this process as nothing else can."""
    os.kill(os.getpid(), signal.SIGKILL)


def prepare(ending: str) -> None:
    """Lets the run end at a moment of its own choice: `batch:9`, `write:4`, `epoch:2`, `term:7`, `int:7`."""
    from kerass2s.training import Checkpoints, checkpoints

    kind, _, number = ending.partition(":")
    count = int(number or 0)
    if kind == "batch":
        Checkpoints.on_train_batch_end = nth(count, kill, Checkpoints.on_train_batch_end)
    if kind == "write":  # each checkpoint syncs its arrays once, and is half-written then
        checkpoints.sync_file = nth(count, kill, checkpoints.sync_file)
    if kind == "epoch":  # the line in the history is there, the checkpoint is not
        Checkpoints.on_epoch_end = nth(count, kill, Checkpoints.on_epoch_end)
    if kind in ("term", "int"):
        number = signal.SIGTERM if kind == "term" else signal.SIGINT
        Checkpoints.on_train_batch_end = nth(
            count, lambda: os.kill(os.getpid(), number), Checkpoints.on_train_batch_end
        )


def run(ending: str, out: str, pairs: str, *more: str) -> None:
    """Runs `kerass2s train`; it leaves with the command's status."""
    from kerass2s.cli import app

    prepare(ending)
    sets = [f"--set={each}" for each in SETTINGS]
    resume = ["--resume"] if Path(out, "recipe.yaml").exists() else []
    app(["train", "g2p_luong2015", "--out", out, "--train", pairs, "--dev", pairs, *sets, *resume, *more])


if __name__ == "__main__":
    run(*sys.argv[1:])
