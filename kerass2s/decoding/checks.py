"""Checks of what searches and filters are given: numbers in their ranges, or one clear line."""

from __future__ import annotations

import math

from kerass2s.errors import ConfigError

WIDEST = 1024
LONGEST = 65536


def check_whole(name: str, value: object, most: int, least: int = 1) -> None:
    """Raises ConfigError unless `value` is a whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} must be a whole number from {least} to {most}. Received: {value!r}")


def check_flag(name: str, value: object) -> None:
    """Raises ConfigError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False. Received: {value!r}")


def check_number(name: str, value: object, least: float, most: float) -> None:
    """Raises ConfigError unless `value` is a finite number from `least` to `most`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= value <= most:
        raise ConfigError(f"{name} must be from {least:g} to {most:g}. Received: {value!r}")
