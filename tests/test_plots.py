"""Plots: files that are pictures, refusals that are clear, and tokens of any script as labels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from kerass2s.codec import TextCodec
from kerass2s.decoding import Hypothesis
from kerass2s.errors import UserError
from kerass2s.plots import (
    AttentionMap,
    attention_map,
    check_picture,
    save_attention,
    save_exposure,
    save_gradients,
    save_losses,
)
from kerass2s.text import SentencePieceTokenizer
from kerass2s.training import Exposure, GradientNorms

PNG = b"\x89PNG"


def weights(rows: int, columns: int) -> np.ndarray:
    values = np.random.default_rng(0).random((rows, columns))
    return values / values.sum(axis=1, keepdims=True)


def test_attention_of_several_predictions_is_one_picture(tmp_path: Path):
    maps = [
        AttentionMap("cat", ["K", "AE1", "T"], weights(3, 3)),
        AttentionMap(["日", "本", "$x^$", "🙂"], ["a"], weights(5, 9)),
        AttentionMap("none", [], np.zeros((0, 4))),
        AttentionMap("x" * 100, "y" * 90, weights(90, 100)),
    ]
    path = save_attention(tmp_path / "new" / "attention.png", maps)
    assert path.read_bytes().startswith(PNG)


def test_losses(tmp_path: Path):
    curves = {"train": [(1, 3.0), (2, 1.0)], "dev": [(1, 3.2)], "none": []}
    assert save_losses(tmp_path / "loss.png", curves).read_bytes().startswith(PNG)


def test_exposure(tmp_path: Path):
    first = Exposure(np.array([0.5, 0.6, 0.6]), np.array([0.5, 0.7, 0.9]), np.array([200, 150, 1]))
    last = Exposure(np.array([0.1, 0.1, 0.0]), np.array([0.1, 0.3, 1.0]), np.array([200, 150, 1]))
    assert save_exposure(tmp_path / "exposure.png", [first, last]).read_bytes().startswith(PNG)
    assert save_exposure(tmp_path / "one.png", [first]).read_bytes().startswith(PNG)


def test_gradients(tmp_path: Path):
    lower = np.tril(np.full([2, 2], 1e-3))
    found = GradientNorms(["a", "$b", "(end)"], ["A", "(end)"], ["(start)", "A"], np.ones([2, 3]), lower, lower)
    nothing = found._replace(source=np.zeros([2, 3]), fed=np.zeros([2, 2]), said=np.zeros([2, 2]))
    measured = {"teacher forcing": found, "none": nothing}
    assert save_gradients(tmp_path / "two.png", measured).read_bytes().startswith(PNG)
    assert save_gradients(tmp_path / "zeros.png", {"none": nothing}).read_bytes().startswith(PNG)


def test_a_hypothesis_names_its_tokens(
    source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer
):
    hypothesis = Hypothesis("K AE T", -1.0, target_tokenizer.encode("K AE T"), weights(3, 4))
    found = attention_map("cat", hypothesis, TextCodec("any", source_tokenizer, target_tokenizer))
    assert list(found.source_tokens) == ["c", "a", "t", "(end)"]
    assert list(found.target_tokens) == ["K", "AE", "T"]


def test_a_model_without_attention_is_refused(
    source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer
):
    hypothesis = Hypothesis("", 0.0, [], None)
    with pytest.raises(UserError, match="no attention"):
        attention_map("cat", hypothesis, TextCodec("any", source_tokenizer, target_tokenizer))


def test_nothing_to_draw_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="at least one"):
        save_attention(tmp_path / "a.png", [])
    with pytest.raises(UserError, match="at least one"):
        save_exposure(tmp_path / "e.png", [])
    with pytest.raises(UserError, match="at least one"):
        save_losses(tmp_path / "a.png", {"train": []})
    with pytest.raises(UserError, match="at least one"):
        save_gradients(tmp_path / "g.png", {})


def test_weights_that_do_not_cover_the_tokens_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"Received: shape \(2, 2\)"):
        save_attention(tmp_path / "a.png", [AttentionMap("abc", "ab", np.ones((2, 2)))])


def test_a_library_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(UserError, match=r"pip install 'kerass2s\[plots\]'. Received: "):
        check_picture(tmp_path / "a.png")


def test_an_unknown_picture_format_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"Received: .*a\.word"):
        save_losses(tmp_path / "a.word", {"train": [(1, 1.0)]})
    with pytest.raises(UserError, match=r"ends in one of \..*\.png.*Received: "):
        save_losses(tmp_path, {"train": [(1, 1.0)]})  # a directory: not its name and .png beside it
