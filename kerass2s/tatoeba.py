"""Short sentences in English and French, from Tatoeba by way of manythings.org, in the edition of 2017-09-29."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from kerass2s.data import Pair, split_pairs
from kerass2s.downloads import cache, fetch
from kerass2s.errors import DataError
from kerass2s.files import MEBIBYTE

__all__ = ["lines", "load_split", "parse"]

ADDRESS = "https://www.manythings.org/anki/"
ARCHIVE, MEMBER = "fra-eng.zip", "fra.txt"
SHA256 = "2546838ae46e0eac4c02ab7032ea0a02a006074a5340077a36a9444f41e02888"
"""Of fra.txt, 142,787 lines: later editions under the same name have more."""
LARGEST = 64 * MEBIBYTE
SHARES = {"dev": 0.02, "test": 0.1}


def parse(lines: Iterable[str]) -> list[Pair]:
    r"""Groups lines `English<TAB>French` by the English: the first French is the target, others are alternatives.

    `["Run!\tCours !", "Run!\tCourez !"]` gives `[Pair("Run!", "Cours !", ("Courez !",))]`. No-break spaces stay.

    Raises:
        DataError: a line has fewer than two columns.
    """
    found: dict[str, dict[str, None]] = {}
    for number, line in enumerate(lines, 1):
        english, *others = line.rstrip("\n").split("\t")
        if not others:
            raise DataError(f"{MEMBER}:{number}: a line is English<TAB>French. Received: {line[:80]!r}")
        found.setdefault(english, {})[others[0]] = None
    return [Pair(english, next(iter(french)), tuple(french)[1:]) for english, french in found.items()]


def lines(path: Path | None = None, address: str = ADDRESS) -> list[str]:
    """Returns the edition's lines, in its order: from short to long, an English sentence with each of its translations.

    Args:
        path: the archive; None for that in `$KERASS2S_DATA/tatoeba`, or `~/.cache/kerass2s/tatoeba`.
        address: the folder that an archive that is not there is downloaded from; `$KERASS2S_MIRROR/tatoeba/` where that
            is set.

    Raises:
        DataError: the archive cannot be had, or is of another edition.
    """
    path = path or cache("tatoeba") / ARCHIVE
    fetch("tatoeba", address, ARCHIVE, path, _read, largest=LARGEST)
    return _read(path).split("\n")[:-1]  # not `splitlines`: the sentences have separators of their own


def load_split(path: Path | None = None) -> dict[str, list[Pair]]:
    """Returns `train`, `dev` and `test`: the SHA-256 of the English puts 2 % of its sentences in dev, 10 % in test.

    Raises:
        DataError: as for `lines`.
    """
    return split_pairs(parse(lines(path)), **SHARES)


def _read(path: Path) -> str:
    """Returns the text in an archive; nothing is unpacked. Raises DataError unless it is of the edition."""
    try:
        with zipfile.ZipFile(path) as opened, opened.open(MEMBER) as file:
            content = file.read(LARGEST + 1)
    # What `zipfile` raises of no archive, a cut or damaged one, another member, a password, an unknown compression.
    except (zipfile.BadZipFile, zlib.error, OSError, KeyError, EOFError, RuntimeError) as error:
        raise DataError(f"{path}: this is no archive with a {MEMBER}. Received: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise DataError(
            f"{path}, {MEMBER}: another edition than that of 2017-09-29, whose SHA-256 is {SHA256}; with --train and "
            f"--dev any file of pairs can be used. Received: {found}"
        )
    return content.decode("utf-8")
