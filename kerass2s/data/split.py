"""A split into train, dev and test that depends on nothing but the source text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from kerass2s.data.readers import Pair
from kerass2s.errors import ConfigError

Part = Literal["train", "dev", "test"]


def split_of(source: str, *, dev: float = 0.05, test: float = 0.05, salt: str = "") -> Part:
    """The part a source belongs to, by its SHA-256: the same on every machine, whatever else is in the data.

    The first 8 bytes of the hash of `salt + source` in UTF-8, as a fraction of 2**64, fall below `test`, below
    `test + dev`, or above. All pairs of one source fall together, so no source is both trained on and tested.

    Args:
        source: the source text, as it stands.
        dev: the share of sources for development, in [0, 1].
        test: the share of sources for testing, in [0, 1].
        salt: another salt gives another split.

    Raises:
        ConfigError: if a share is negative or both exceed 1 together.
    """
    if not (dev >= 0 and test >= 0 and dev + test <= 1):
        raise ConfigError(f"Shares must be in [0, 1], and dev + test too. Received: dev={dev!r}, test={test!r}")
    digest = hashlib.sha256((salt + source).encode("utf-8", "surrogatepass")).digest()
    fraction = int.from_bytes(digest[:8], "big") / 2**64
    if fraction < test:
        return "test"
    return "dev" if fraction < test + dev else "train"


def split_pairs(
    pairs: Iterable[Pair], *, dev: float = 0.05, test: float = 0.05, salt: str = ""
) -> dict[Part, list[Pair]]:
    """The pairs of each part, in their order; all three parts are there, if empty. See `split_of`."""
    parts: dict[Part, list[Pair]] = {"train": [], "dev": [], "test": []}
    for pair in pairs:
        parts[split_of(pair.source, dev=dev, test=test, salt=salt)].append(pair)
    return parts
