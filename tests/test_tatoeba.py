"""Tatoeba's sentences: lines, groups, the archive's checksum and its download, from files on this side."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from kerass2s import tatoeba
from kerass2s.data import Pair
from kerass2s.downloads import cache
from kerass2s.errors import DataError

LINES = ["Run!\tCours\u202f!", "Run!\tCourez\u00a0!", *(f"I see {i} cats.\tJe vois {i} chats." for i in range(200))]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive like the published one, where the download looks for it."""
    text = "".join(f"{line}\n" for line in LINES)
    path = tmp_path / "mirror" / "tatoeba" / tatoeba.ARCHIVE
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("_about.txt", "what it is")
        opened.writestr(tatoeba.MEMBER, text)
    monkeypatch.setattr(tatoeba, "SHA256", hashlib.sha256(text.encode()).hexdigest())
    monkeypatch.setenv("KERASS2S_MIRROR", f"file://{tmp_path / 'mirror'}")
    monkeypatch.setenv("KERASS2S_DATA", str(tmp_path / "home"))
    return path


def test_it_is_downloaded_once_and_split_by_english_sentence(published: Path):
    assert tatoeba.lines() == LINES
    published.unlink()
    parts = tatoeba.load_split()
    pairs = [pair for part in parts.values() for pair in part]
    assert len(pairs) == 201 and 10 <= len(parts["test"]) <= 35 and parts["dev"]
    assert Pair("Run!", "Cours\u202f!", ("Courez\u00a0!",)) in pairs


def test_another_edition_is_refused_and_not_kept(published: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tatoeba, "SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"put it at .*another edition than that of 2017-09-29"):
        tatoeba.lines()
    assert not (cache("tatoeba") / tatoeba.ARCHIVE).exists()
    published.write_bytes(published.read_bytes()[:60])
    with pytest.raises(DataError, match=r"this is no archive with a fra\.txt"):
        tatoeba.lines(published)
    published.unlink()
    with pytest.raises(DataError, match=r"Cannot download fra-eng\.zip; put it at"):
        tatoeba.lines()


def test_a_line_without_a_translation_is_named():
    with pytest.raises(DataError, match=r"fra\.txt:2: a line is English<TAB>French\. Received: 'Run!'"):
        tatoeba.parse(["Go.\tVa !\tmore", "Run!"])
