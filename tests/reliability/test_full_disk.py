"""A full disk: one line and exit 2 wherever something is written, no half file, and what was there is as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kerass2s import zoo
from kerass2s.cli import app
from kerass2s.decoding import GreedySearch
from kerass2s.errors import ExportError, UserError
from kerass2s.export import export_saved_model
from kerass2s.plots import save_training
from kerass2s.presets import load_preset
from kerass2s.seq2seq import Seq2Seq


@pytest.fixture(scope="module")
def small(source_tokenizer, target_tokenizer) -> Seq2Seq:
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
    return zoo.build("keras_lstm_seq2seq", **tokenizers, preset="tiny")


def made(place: Path) -> list[str]:
    """What there is beside the filling."""
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.name != "filling")


def test_a_preset_that_finds_no_room_leaves_the_one_before(small: Seq2Seq, full_disk) -> None:
    preset = full_disk.place / "preset"
    small.save_to_preset(preset)
    before = {path: path.read_bytes() for path in preset.iterdir()}
    for left in (0, 8192):  # HDF5 would end the process in the second case, when that comes to its end
        full_disk.fill(left)
        with pytest.raises(OSError, match="No space left on device"):
            small.save_to_preset(preset)
        assert {path: path.read_bytes() for path in preset.iterdir()} == before
    load_preset(preset)


def test_a_saved_model_that_finds_no_room_is_not_there(small: Seq2Seq, full_disk) -> None:
    full_disk.fill(8192)
    with pytest.raises(ExportError, match="cannot be written.*No space left on device"):
        export_saved_model(small, full_disk.place / "saved_model", GreedySearch())
    assert made(full_disk.place) == []


def test_a_picture_that_finds_no_room_is_not_there(full_disk) -> None:
    full_disk.fill()
    with pytest.raises(UserError, match="cannot be written.*No space left on device"):
        save_training(full_disk.place / "curves.png", [{"epoch": 0, "loss": 1.0, "val_loss": 2.0}])
    assert made(full_disk.place) == []


def test_a_command_that_finds_no_room_says_so_in_one_line(full_disk, tmp_path: Path, capsys) -> None:
    (tmp_path / "pairs.tsv").write_text("a\tb\n", encoding="utf-8")
    pairs = str(tmp_path / "pairs.tsv")
    full_disk.fill()
    with pytest.raises(SystemExit) as left:
        app(["train", "g2p_luong2015", "--out", str(full_disk.place / "run"), "--train", pairs, "--dev", pairs])
    assert left.value.code == 2
    said = "There is no room to write what was asked for. Received: No space left on device"
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {said}"
    assert made(full_disk.place) == ["run"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, which is always full, is a device of Linux")
def test_output_that_finds_no_room_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as left:
            app(["list", "architectures"])
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        "error: There is no room to write what was asked for. Received: No space left on device\n"
    )
