"""A release: what is in NAME/, what its card says and `list` reads there, and the refusals before any work."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from kerass2s import GreedySearch, bundled, datasets, recipes, zoo
from kerass2s.data import Pair
from kerass2s.errors import ConfigError, UserError
from kerass2s.presets import load_preset, save_preset
from kerass2s.recipes.runs import HISTORY, RECIPE
from kerass2s.recipes.settling import settle
from kerass2s.release import release, shipped
from kerass2s.text import SentencePieceTokenizer

PAIRS = [Pair("ab", "a b"), Pair("ba", "b a"), Pair("aab", "a a b")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `train` leaves, of a model with fresh weights and two epochs of three quarters of an hour."""
    directory = tmp_path_factory.mktemp("run")
    source = SentencePieceTokenizer.train([pair.source for pair in PAIRS], "char", fold_case=True)
    target = SentencePieceTokenizer.train([pair.target for pair in PAIRS], "word")
    tiny = {"embedding_size": 8, "units": 12}
    zoo.build("luong2015", source_tokenizer=source, target_tokenizer=target, **tiny).save_to_preset(directory)
    changes = [f"config={json.dumps(tiny)}", "teacher={preset: large, sources: more.txt}"]
    recipe = recipes.to_dict(recipes.load("dates", changes))
    (directory / RECIPE).write_text(yaml.safe_dump(recipe), encoding="utf-8")
    epochs = [{"epoch": i, "seconds": 2700.0, "val_free_sequence_accuracy": rate} for i, rate in enumerate((0.7, 0.5))]
    (directory / HISTORY).write_text("".join(f"{json.dumps(each)}\n" for each in epochs), encoding="utf-8")
    return directory


def test_a_release_has_everything_and_its_card_is_read(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets, "load_split", lambda name: {"train": PAIRS, "dev": PAIRS[:2], "test": PAIRS})
    figures = release(run, tmp_path / "tiny", GreedySearch(max_length=5))
    assert [figures[part]["n"] for part in ("dev", "test")] == [2, 3]
    made = {path.relative_to(tmp_path / "tiny").as_posix() for path in (tmp_path / "tiny").rglob("*")}
    expected = {"preset/config.json", "saved_model/1/saved_model.pb", "model.onnx", "model.text.onnx", "manifest.json"}
    assert expected | {"README.md"} <= made

    text = (tmp_path / "tiny" / "README.md").read_text("utf-8")
    for said in (
        "2 epochs, 1.5 hours",
        "epoch 1,",
        "seed 0",
        "Unicode-3.0",
        "SHA-256",
        "train recipe.yaml --out DIR",
        "in float32",
        "what `large` answers (`greedy`) for more.txt, none of which is in dev or test",
    ):
        assert said in text

    monkeypatch.setattr(bundled, "PLACE", tmp_path)
    (found,) = shipped()
    assert (found.name, found.licence, found.data) == ("tiny", "apache-2.0", "dates")
    assert found.figures["test"]["word_error_rate"] == pytest.approx(figures["test"]["word_error_rate"], abs=1e-5)
    assert 0.01 < found.megabytes < 1
    assert any(each.startswith("test wrong outputs") for each in found.shown)


def test_a_preset_of_half_the_bytes_gives_what_it_holds(run: Path, tmp_path: Path):
    model = load_preset(run)
    wide, large = model.get_weights(), 1e6
    wide[0][0, 0] = large
    model.set_weights(wide)
    save_preset(model, tmp_path / "half", dtype="float16")
    kinds = set()
    with h5py.File(tmp_path / "half" / "model.weights.h5") as file:
        file.visititems(lambda _, item: kinds.add((item.dtype, item.size)) if isinstance(item, h5py.Dataset) else None)
    assert (np.dtype("float32"), wide[0].size) in kinds  # what float16 cannot hold
    assert len({kind for kind, _ in kinds if kind == np.float16}) == 1
    found = load_preset(tmp_path / "half").get_weights()
    np.testing.assert_array_equal(found[0], wide[0])
    for got, before in zip(found[1:], wide[1:], strict=True):
        assert got.dtype == before.dtype
        np.testing.assert_array_equal(got, before.astype(np.float16) if before.dtype == np.float32 else before)
    save_preset(load_preset(tmp_path / "half"), tmp_path / "again", dtype="float16")
    assert (tmp_path / "again" / "config.json").read_bytes() == (tmp_path / "half" / "config.json").read_bytes()
    with pytest.raises(ConfigError, match=r"float32 or float16\. Received: 'int8'"):
        save_preset(model, tmp_path / "half", dtype="int8")


def test_the_command_of_a_bundled_recipe_is_its_name():
    from kerass2s.release import _command

    assert _command(recipes.load("dates")) == "kerass2s train dates --out DIR"
    settled, _ = settle(recipes.load("g2p_en"), PAIRS)
    assert _command(settled) == "kerass2s train g2p_en --out DIR"
    changed = replace(settled, seed=settled.seed + 1)
    assert _command(changed) == "kerass2s train recipe.yaml --out DIR"


def test_a_release_is_refused_before_any_work(run: Path, tmp_path: Path):
    with pytest.raises(UserError, match="no recipe.yaml"):
        release(tmp_path, tmp_path / "x", GreedySearch())
    with pytest.raises(UserError, match="new or empty"):
        release(run, run, GreedySearch())
    other = shutil.copytree(run, tmp_path / "other")
    recipe: dict[str, Any] = yaml.safe_load((other / RECIPE).read_text("utf-8"))
    recipe["data"] = {"train": "a.tsv", "dev": "b.tsv"}
    (other / RECIPE).write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(ConfigError, match="whose data it is"):
        release(other, tmp_path / "x", GreedySearch())
