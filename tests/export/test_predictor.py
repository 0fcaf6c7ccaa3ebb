"""Predictors: preset, SavedModel and ONNX give the same answers, and a damaged export is refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kerass2s.decoding import BeamSearch, Hypothesis
from kerass2s.errors import ConfigError, ExportError, PresetError, UserError
from kerass2s.export import load_predictor
from kerass2s.seq2seq import Seq2Seq

TEXTS = ["stick", "", "☃", "cat" * 20, "a b"]
PLACES = ["preset", "saved_model/1", "model.onnx"]


def assert_one_line(error: pytest.ExceptionInfo[UserError]) -> None:
    assert "\n" not in str(error.value)
    assert "Received: " in str(error.value)


def said(answers: list[list[Hypothesis]]) -> list[list[list[int]]]:
    """Returns the ids of all hypotheses."""
    return [[one.ids for one in row] for row in answers]


@pytest.mark.parametrize("place", PLACES)
def test_the_same_strings_from_everything(exported: Path, live: Seq2Seq, search: BeamSearch, place: str):
    predictor = load_predictor(exported / place, search="beam:2,max_length=6")
    expected = [[one.text for one in row] for row in live.n_best(TEXTS, search)]
    assert [[one.text for one in row] for row in predictor.n_best(TEXTS, batch_size=2)] == expected
    assert predictor.search == "beam:2,max_length=6"
    assert predictor.codec.source_tokenizer.pieces == live.source_tokenizer.pieces
    assert predictor.codec.target_tokenizer.pieces == live.target_tokenizer.pieces
    assert predictor.n_best([]) == []
    with pytest.raises(ConfigError):
        predictor.n_best("cat")


def test_a_live_model_takes_any_search(exported: Path, live: Seq2Seq):
    assert load_predictor(live).search == "greedy"
    assert load_predictor(exported / "preset", search="beam:3").search == "beam:3"
    assert len(load_predictor(live, search="beam:3,max_length=3").n_best(["cat"])[0]) == 3


@pytest.mark.parametrize("place", PLACES[1:])
def test_an_export_holds_its_search(exported: Path, place: str):
    assert load_predictor(exported / place).search == "beam:2,max_length=6"
    for other in ("greedy", "beam:3,max_length=6", "beam:2,groups=2", "beam:2,max_length=6,min_length=2"):
        with pytest.raises(ExportError, match="holds the search 'beam:2,max_length=6' and no other") as error:
            load_predictor(exported / place, search=other)
        assert_one_line(error)
        assert f"set anew is max_length, length_penalty. Received: {other!r}" in str(error.value)
    with pytest.raises(ConfigError):
        load_predictor(exported / place, search="beem:5")


@pytest.mark.parametrize("place", PLACES[1:])
def test_what_an_export_takes_as_inputs_can_be_set_anew(exported: Path, live: Seq2Seq, search: BeamSearch, place: str):
    asked = BeamSearch(2, 3.0, 4)
    predictor = load_predictor(exported / place, search="beam:2,length_penalty=3.0,max_length=4")
    assert predictor.search == "beam:2,length_penalty=3.0,max_length=4"
    found, expected, held = predictor.n_best(TEXTS), *(live.n_best(TEXTS, each) for each in (asked, search))
    assert said(found) == said(expected) != said(held)
    for row, wanted in zip(found, expected, strict=True):
        assert [one.score for one in row] == pytest.approx([one.score for one in wanted], abs=1e-4)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.9, 0.999])
def test_a_truncated_onnx_file(exported: Path, tmp_path: Path, part: float):
    whole = (exported / "model.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ExportError, match="damaged") as error:
        load_predictor(path)
    assert_one_line(error)


@pytest.mark.parametrize("part", [0.001, 0.2, 0.4, 0.6, 0.8, 0.99])
def test_an_onnx_file_with_one_wrong_byte(exported: Path, tmp_path: Path, part: float):
    damaged = bytearray((exported / "model.onnx").read_bytes())
    damaged[int(len(damaged) * part)] ^= 0x55
    path = tmp_path / "model.onnx"
    path.write_bytes(damaged)
    with pytest.raises(ExportError) as error:
        load_predictor(path)
    assert_one_line(error)


FILES = [
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "assets.extra/kerass2s.json",
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_damaged_saved_model(exported: Path, tmp_path: Path, file: str, damage: str):
    path = tmp_path / "1"
    shutil.copytree(exported / "saved_model" / "1", path)
    content = bytearray((path / file).read_bytes())
    (path / file).unlink()
    if damage == "truncated":
        (path / file).write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        content[len(content) // 2] ^= 0x01
        (path / file).write_bytes(content)
    with pytest.raises(ExportError) as error:
        load_predictor(path)
    assert_one_line(error)


def test_a_file_that_is_no_export(tmp_path: Path):
    path = tmp_path / "words.tsv"
    path.write_text("cat\tK AE T\n")
    with pytest.raises(ExportError, match="not an ONNX file") as error:
        load_predictor(path)
    assert_one_line(error)


def test_nothing_there(tmp_path: Path):
    with pytest.raises(UserError, match="No such ONNX file") as error:
        load_predictor(tmp_path / "model.onnx")
    assert_one_line(error)
    with pytest.raises(PresetError) as error:
        load_predictor(tmp_path / "nowhere")
    assert_one_line(error)
