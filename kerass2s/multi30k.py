"""Multi30k, captions of images in German and English (Elliott et al. 2016, arXiv:1605.00459), from its repository."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from functools import partial
from pathlib import Path

from kerass2s.data import Pair
from kerass2s.downloads import cache, fetch
from kerass2s.errors import DataError
from kerass2s.files import MEBIBYTE

__all__ = ["load_split"]

ADDRESS = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
FILES = {
    "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
    "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
    "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
}
"""The texts, which are there as NAME.gz, and the SHA-256 of each text: how it was packed is not known."""
PARTS = {"train": "train", "dev": "val", "test": "test_2016_flickr"}
LARGEST = 16 * MEBIBYTE


def load_split(directory: Path | None = None, address: str = ADDRESS) -> dict[str, list[Pair]]:
    """Returns `train`, `dev` and `test` (test_2016_flickr), German to English, all in lower case, as it is scored.

    Args:
        directory: where the files are; None for `$KERASS2S_DATA/multi30k`, or `~/.cache/kerass2s/multi30k`.
        address: the folder that files which are not there are downloaded from; `$KERASS2S_MIRROR/multi30k/` where that
            is set.

    Raises:
        DataError: a file cannot be had, or is another one.
    """
    directory = directory or cache("multi30k")
    sides = {name: _lines(name, directory, address) for name in FILES}
    return {
        part: [Pair(*pair) for pair in zip(sides[f"{name}.de"], sides[f"{name}.en"], strict=True)]
        for part, name in PARTS.items()
    }


def _lines(name: str, directory: Path, address: str) -> list[str]:
    path = directory / f"{name}.gz"
    fetch("multi30k", address, path.name, path, partial(_read, sha256=FILES[name]), largest=LARGEST)
    # Not `splitlines` nor a bare `strip`: the sentences have no-break spaces of their own.
    return [line.strip(" ").lower() for line in _read(path, FILES[name]).split("\n")[:-1]]


def _read(path: Path, sha256: str) -> str:
    """Returns the text in a file; raises DataError unless it is the one that is meant."""
    try:
        with gzip.open(path) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:  # what `gzip` raises of another, a cut or a damaged file
        raise DataError(f"{path}: this is no whole gzip file. Received: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"{path}: another text, the SHA-256 of the one that is meant is {sha256}. Received: {found}")
    return content.decode("utf-8")
