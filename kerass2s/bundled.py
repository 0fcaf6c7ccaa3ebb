"""Which presets come with the package, and where they lie; told without TensorFlow, for shells that complete names."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PLACE", "names"]

_HERE = Path(__file__).resolve().parent
PLACE = _HERE / "exported" if (_HERE / "exported").is_dir() else _HERE.parent / "exported"
"""Beside the code where it was installed, at the root of a checkout."""


def names() -> list[str]:
    """Returns the names of the presets that come with the package, in alphabetical order."""
    return sorted(path.parent.parent.name for path in PLACE.glob("*/preset/config.json"))
