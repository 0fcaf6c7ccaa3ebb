"""Names of people in the United States, from the census of 1990: sources without targets, for a teacher to pronounce.

They are those of the PyPI package `names`, whose data is in the public domain; its code is not imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from kerass2s.errors import DataError

__all__ = ["load"]

FILES = ("dist.all.last", "dist.female.first", "dist.male.first")
"""Of the package: surnames, then first names; lines of a name and its frequency, the most frequent first."""


def load() -> list[str]:
    """Returns each name once, in capitals: surnames, then first names, the most frequent of each first.

    Raises:
        DataError: the package is not installed, or holds no names.
    """
    spec = find_spec("names")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("The names of the census need `pip install names`. Received: no package `names`")
    folder = Path(spec.submodule_search_locations[0])
    try:
        lines = [line for file in FILES for line in (folder / file).read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The installed package `names` holds no names of the census. Received: {error}") from error
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
