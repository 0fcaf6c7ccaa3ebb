"""The mistakes a user can make, each an exception whose message is one clear line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean ...?` for a near miss, else nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else ""


class UserError(ValueError):
    """A user's mistake. The command line prints its message on stderr and exits with 2."""


class DataError(UserError):
    """A file or a value that is not the text it should be. Names the file and the line where there is one."""


class ConfigError(UserError):
    """An option with a value that makes no sense, or an option that does not exist."""


class PresetError(UserError):
    """A preset that is unknown, incomplete or corrupted."""


class TrainingError(UserError):
    """A training run that cannot go on: its numbers are none, or its state cannot be kept or read."""


class ExportError(UserError):
    """An export that cannot be made, read, or asked for what it does not hold."""


class ServingError(UserError):
    """A server that cannot be reached, does not answer in time, or refuses the request."""
