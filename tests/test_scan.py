"""SCAN's reader: the authors' lines, their checksums, and the download, from files on this side."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kerass2s import scan
from kerass2s.data import Pair
from kerass2s.downloads import cache
from kerass2s.errors import ConfigError, DataError

TRAIN = "IN: jump OUT: I_JUMP\n" + "".join(f"IN: walk {i} OUT: I_WALK\n" for i in range(99))
TEST = "IN: jump twice OUT: I_JUMP I_JUMP\n"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place that looks like the authors' repository, with files of its own; returns its address."""
    files = {"train.txt": TRAIN, "test.txt": TEST}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    monkeypatch.setitem(scan.SPLITS, "simple", digests)
    return tmp_path.as_uri() + "/"


def test_files_are_downloaded_once_checked_and_split(published: str, tmp_path: Path):
    kept = tmp_path / "kept"
    parts = scan.load_split("simple", kept, published)
    assert parts["test"] == [Pair("jump twice", "I_JUMP I_JUMP")]
    assert len(parts["train"]) + len(parts["dev"]) == 100
    assert 3 <= len(parts["dev"]) <= 20
    assert scan.load_split("simple", kept, "file:///nowhere/") == parts


def test_another_file_is_refused_and_not_kept(published: str, tmp_path: Path):
    (tmp_path / "test.txt").write_text(TEST + "IN: a OUT: B\n", encoding="utf-8")
    with pytest.raises(DataError, match="not the file that was meant"):
        scan.load_split("simple", tmp_path / "kept", published)
    assert not (tmp_path / "kept" / "test.txt").exists()


def test_what_cannot_be_had_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(DataError, match=r"Cannot download length_split/\w+\.txt; put it at"):
        scan.load_split("length", tmp_path, "file:///nowhere/")
    with pytest.raises(ConfigError, match="split must be one of simple, length, addprim_jump"):
        scan.load_split("jump")
    with pytest.raises(DataError, match=r"a\.txt:2: a line of SCAN is"):
        scan.parse(["IN: a OUT: B", "a B"], "a.txt")


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KERASS2S_DATA", "/somewhere")
    assert cache("scan") == Path("/somewhere/scan")
