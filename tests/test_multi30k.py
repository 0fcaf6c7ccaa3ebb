"""Multi30k: its files are downloaded, checked by what is in them, and read in lower case; from files on this side."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from kerass2s import multi30k
from kerass2s.data import Pair
from kerass2s.downloads import cache
from kerass2s.errors import DataError


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small files like the published ones, where the download looks for them."""
    folder = tmp_path / "mirror" / "multi30k"
    folder.mkdir(parents=True)
    texts = {name: f"Ein Mann\u00a0läuft. \n{name}\n" for name in multi30k.FILES}
    for name, text in texts.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    monkeypatch.setattr(multi30k, "FILES", sums)
    monkeypatch.setenv("KERASS2S_MIRROR", f"file://{tmp_path / 'mirror'}")
    monkeypatch.setenv("KERASS2S_DATA", str(tmp_path / "home"))
    return folder


def test_it_is_downloaded_once_and_read_in_lower_case(published: Path):
    parts = multi30k.load_split()
    for path in published.iterdir():
        path.unlink()
    assert multi30k.load_split() == parts
    same = "ein mann\u00a0läuft."
    assert parts["test"] == [Pair(same, same), Pair("test_2016_flickr.de", "test_2016_flickr.en")]
    assert parts["dev"][1] == Pair("val.de", "val.en") and parts["train"][1].target == "train.en"


def test_another_text_is_refused_and_not_kept(published: Path):
    (published / "val.en.gz").write_bytes(gzip.compress(b"other\n"))
    with pytest.raises(DataError, match=r"put it at .*val\.en\.gz.*another text"):
        multi30k.load_split()
    assert not (cache("multi30k") / "val.en.gz").exists()
    cut = (published / "train.de.gz").read_bytes()[:20]
    (cache("multi30k") / "train.de.gz").write_bytes(cut)
    with pytest.raises(DataError, match=r"train\.de\.gz: this is no whole gzip file"):
        multi30k.load_split()
