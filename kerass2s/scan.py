"""SCAN, simple commands to sequences of actions (Lake and Baroni 2018, arXiv:1711.00350), from its authors' files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from kerass2s.context import choose
from kerass2s.data import Pair, split_pairs
from kerass2s.downloads import cache, fetch
from kerass2s.errors import DataError
from kerass2s.files import MEBIBYTE, read_bytes

__all__ = ["SPLITS", "load_split", "parse"]

# One commit of the authors' repository, BSD licence.
ADDRESS = "https://raw.githubusercontent.com/brendenlake/SCAN/c4b756cbc010d75c912f16c42c8f15dc6b7e6c8f/"
SPLITS = {
    "simple": {
        "simple_split/tasks_train_simple.txt": "941bb8a088c5f53ceff12fde902dc008933cf0c4203cc672c47b5f79d73262dd",
        "simple_split/tasks_test_simple.txt": "1fe1c8f5a19d0dc40e41bab94278f45f66f3dc415a978bd29855a23440610fc6",
    },
    "length": {
        "length_split/tasks_train_length.txt": "b034212dc7cf87ce62f3a067dd6ad49c4d5cd18d51d615d13825516bcb1ebbc2",
        "length_split/tasks_test_length.txt": "0760752ed34a75116ae11dcc1ee17526b7500060da1366540730fa24894d7db3",
    },
    "addprim_jump": {
        "add_prim_split/tasks_train_addprim_jump.txt": (
            "e3c78485692e028eed4205e1b8b3fd0e785ef2c12d45b5b89204dadf5b239e23"
        ),
        "add_prim_split/tasks_test_addprim_jump.txt": (
            "8147ae2651422c701162e174d9d66158daa57858a26b30317ac61797118ac7a5"
        ),
    },
}
"""The files of each split, the training one first, with their SHA-256."""
LARGEST = 64 * MEBIBYTE
DEV_SHARE = 0.1
_LINE = re.compile(r"IN: (.*) OUT: (.*)")


def parse(lines: Iterable[str], name: str) -> list[Pair]:
    """Reads the authors' lines: `["IN: jump twice OUT: I_JUMP I_JUMP"]` gives `[Pair("jump twice", "I_JUMP I_JUMP")]`.

    Args:
        lines: of the file.
        name: of the file, for messages.

    Raises:
        DataError: a line has another form.
    """
    pairs = []
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise DataError(f"{name}:{number}: a line of SCAN is 'IN: … OUT: …'. Received: {line[:80]!r}")
        pairs.append(Pair(found[1], found[2]))
    return pairs


def load_split(split: str, directory: Path | None = None, address: str = ADDRESS) -> dict[str, list[Pair]]:
    """Returns `train`, `dev` and `test` of a split.

    The test pairs are the authors'. They give no development pairs: a tenth of their training pairs, by the SHA-256 of
    the command, is `dev` here.

    Args:
        split: "simple", "length" or "addprim_jump".
        directory: where the files are, or are put; None for `$KERASS2S_DATA/scan`, or `~/.cache/kerass2s/scan`.
        address: where a file that is not there is downloaded from; `$KERASS2S_MIRROR/scan/` where that is set.

    Raises:
        ConfigError: an unknown split.
        DataError: a file cannot be downloaded, or is not the authors'.
    """
    files = choose("split", split, SPLITS)
    home = directory or cache("scan")
    train, test = (parse(_read(home, name, digest, address).splitlines(), name) for name, digest in files.items())
    parts = split_pairs(train, dev=DEV_SHARE, test=0.0)
    return {"train": parts["train"], "dev": parts["dev"], "test": test}


def _read(directory: Path, name: str, digest: str, address: str) -> str:
    path = directory / name
    fetch("scan", address, name, path, digest, largest=LARGEST)
    content = read_bytes(path, LARGEST)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise DataError(f"{path}: this is not the authors' file, its SHA-256 should be {digest}. Received: {found}")
    return content.decode("utf-8")
