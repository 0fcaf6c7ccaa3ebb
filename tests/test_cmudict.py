"""The classic split of the CMU Pronouncing Dictionary, from an archive like the published one."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from kerass2s import cmudict
from kerass2s.data import Pair
from kerass2s.downloads import cache
from kerass2s.errors import DataError

WORDS = [f"WORD{i}" for i in range(400)]
TRAIN = "".join(f"{word}  W ER D\n" for word in WORDS) + "WORD1  W AO R D\n"
TEST = "NEW  N UW\nNEW  N Y UW\n"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "split.tar.gz"
    with tarfile.open(path, "w:gz") as opened:
        for name, text in zip(cmudict.CLASSIC_PARTS, (TRAIN, TEST), strict=True):
            member = tarfile.TarInfo(f"folder/{name}")
            member.size = len(text)
            opened.addfile(member, io.BytesIO(text.encode()))
            said = "".join(sorted(line.replace("  ", "\t", 1) + "\n" for line in text.splitlines()))
            monkeypatch.setitem(cmudict.CLASSIC_PARTS, name, hashlib.sha256(said.encode()).hexdigest())
    return path


def test_the_classic_split_keeps_the_test_words_and_takes_dev_words_by_hash(archive: Path):
    parts = cmudict.load_classic_split(archive)
    assert parts["test"] == [Pair("NEW", "N UW", ("N Y UW",))]
    assert sorted(pair.source for pair in parts["train"] + parts["dev"]) == sorted(WORDS)
    for pair in parts["dev"]:
        assert int(hashlib.sha256(pair.source.encode()).hexdigest(), 16) % 40 == 0
    assert 3 <= len(parts["dev"]) <= 20
    assert Pair("WORD1", "W ER D", ("W AO R D",)) in parts["train"] + parts["dev"]


def test_another_archive_is_refused(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(cmudict.CLASSIC_PARTS, "cmudict.dic.test", "0" * 64)
    with pytest.raises(DataError, match=r"cmudict\.dic\.test: other words than the published ones"):
        cmudict.load_classic_split(archive)
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:100])
    with pytest.raises(DataError, match="not the archive of the classic split"):
        cmudict.load_classic_split(tmp_path / "cut.tar.gz")


def test_the_archive_is_downloaded_and_must_be_the_published_one(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KERASS2S_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("KERASS2S_MIRROR", f"file://{tmp_path / 'mirror'}")
    with pytest.raises(DataError, match=r"put it at .*home/cmudict/phonetisaurus-cmudict-split\.tar\.gz"):
        cmudict.load_classic_split()
    there = tmp_path / "mirror" / "cmudict" / cmudict.ARCHIVE
    there.parent.mkdir(parents=True)
    there.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(DataError, match="not the file that was meant"):
        cmudict.load_classic_split()
    there.write_bytes(archive.read_bytes())
    parts = cmudict.load_classic_split()
    assert len(parts["test"]) == 1 and (cache("cmudict") / cmudict.ARCHIVE).read_bytes() == archive.read_bytes()
    there.unlink()
    assert cmudict.load_classic_split() == parts
