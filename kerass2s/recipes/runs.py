"""The directory of a training run: the recipe it follows, and what each epoch gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECIPE, HISTORY = "recipe.yaml", "history.jsonl"


def history(directory: Path) -> list[dict[str, Any]]:
    """Returns one entry an epoch; a line cut short by a kill is left out."""
    file = directory / HISTORY
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    entries = []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def accuracy(entry: dict[str, Any]) -> float:
    """Returns what epochs are compared by: the share of validation pairs that came out right, free running."""
    return entry["val_free_sequence_accuracy"]


def best_epoch(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the entry of the epoch whose weights are kept: the best, of equals the last."""
    return max(reversed(entries), key=accuracy)


def hours(entries: list[dict[str, Any]]) -> float:
    """Returns how long the epochs took, validation included."""
    return sum(entry["seconds"] for entry in entries) / 3600
