"""Plots: files that are pictures, refusals that are clear, and tokens of any script as labels."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from matplotlib import image
from tensorflow.core.util import event_pb2

from kerass2s import zoo
from kerass2s.analysis import outcomes
from kerass2s.codec import TextCodec
from kerass2s.data import Pair
from kerass2s.decoding import BeamSearch, Hypothesis
from kerass2s.errors import UserError
from kerass2s.plots import (
    AttentionMap,
    BeamTree,
    TensorBoardPictures,
    attention_map,
    beam_tree,
    check_picture,
    save_attention,
    save_beam_tree,
    save_errors,
    save_exposure,
    save_gradients,
    save_losses,
    save_training,
)
from kerass2s.presets import load_preset
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
        AttentionMap("x" * 70, "y" * 61, weights(61, 70)),
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


HISTORY = [
    {"epoch": 4, "loss": 2.0, "val_loss": 1.5, "val_token_accuracy": 0.4, "val_free_token_error_rate": 0.7},
    {"epoch": 5, "loss": 1.0, "val_loss": 1.1, "val_token_accuracy": 0.6, "val_free_token_error_rate": 0.5},
]


def test_a_training_shows_what_was_measured_of_it(tmp_path: Path):
    assert save_training(tmp_path / "a.png", HISTORY).read_bytes().startswith(PNG)
    assert save_training(tmp_path / "b.png", [{"loss": 1.0}]).read_bytes().startswith(PNG)


def test_a_picture_leaves_the_ground_open_and_the_users_settings_as_they_are(tmp_path: Path):
    before = dict(matplotlib.rcParams)
    pixels = image.imread(save_training(tmp_path / "a.png", HISTORY))
    assert dict(matplotlib.rcParams) == before
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3]
    assert corners.tolist() == [0, 0, 0, 0], "it shows on light and on dark ground alike"
    inks = pixels[pixels[..., 3] == 1][:, :3]
    for ground in (0.0, 1.0):
        assert np.abs(inks.mean(axis=1) - ground).min() > 0.15, "and nothing is drawn in the colour of either"


def test_errors_of_one_model_of_two_and_of_none(source_tokenizer: SentencePieceTokenizer, tmp_path: Path):
    pairs = [Pair("cat", "K AE T"), Pair("stick", "S T IH K"), Pair("it", "IH T")]
    wrong = outcomes(["K IH T S", "T IH K", "IH T"], pairs, [-1.0] * 3)
    right = outcomes([pair.target for pair in pairs], pairs, [-1.0] * 3)
    for models in ({"one": wrong}, {"one": wrong, "two $x$": right}, {"right": right}):
        path = save_errors(tmp_path / f"{len(models)}.png", models, source_tokenizer)
        assert path.read_bytes().startswith(PNG)
    with pytest.raises(UserError, match="at least one pair"):
        save_errors(tmp_path / "none.png", {"none": []}, source_tokenizer)


def ends(tree: BeamTree, prefix: tuple[str, ...] = ()) -> dict[str, BeamTree]:
    """Return the complete outputs of a tree by their text."""
    if tree.token == "(end)":
        return {" ".join(prefix): tree}
    inside = (*prefix, tree.token) if tree.token else prefix
    return {text: end for branch in tree.branches for text, end in ends(branch, inside).items()}


def leaves(tree: BeamTree) -> list[BeamTree]:
    """Return the nodes that nothing follows."""
    return [leaf for branch in tree.branches for leaf in leaves(branch)] if tree.branches else [tree]


def test_a_beam_tree_ends_in_what_the_search_found_and_shows_what_it_gave_up(pronouncer: Path, tmp_path: Path):
    model, search = load_preset(pronouncer), BeamSearch(3)
    tree = beam_tree(model, "pharaohs", search)
    found = model.n_best(["pharaohs"], search)[0]
    kept = {text: end.log_probability for text, end in ends(tree).items() if end.kept}
    assert kept == pytest.approx({each.text: each.score for each in found}, abs=1e-4)
    assert [text for text, end in ends(tree).items() if end.best] == [found[0].text]
    given_up = [leaf for leaf in leaves(tree) if not leaf.kept]
    assert given_up, "three beams of the first step do not all win"
    assert all(leaf.log_probability < 0 and leaf.token for leaf in given_up)
    assert tree.leaves == len(leaves(tree))
    assert save_beam_tree(tmp_path / "tree.png", tree, "pharaohs").read_bytes().startswith(PNG)


def test_tensorboard_gets_a_picture_of_each_kind(
    lexicon, source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer, tmp_path: Path
):
    model = zoo.build("luong2015", source_tokenizer=source_tokenizer, target_tokenizer=target_tokenizer, preset="tiny")
    pictures = TensorBoardPictures(tmp_path, lexicon[:4], every=2, search=BeamSearch(2, max_length=5))
    pictures.set_model(model)
    pictures.on_train_begin()
    for epoch, logs in enumerate(HISTORY):
        pictures.on_epoch_end(epoch, logs)
    pictures.on_train_end()
    shown = {}
    for file in (tmp_path / "pictures").iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = event_pb2.Event.FromString(record.numpy())
            shown |= {value.tag: (event.step, value.tensor.string_val[2][:4]) for value in event.summary.value}
    assert shown == dict.fromkeys(("training", "errors", "attention", "beams"), (1, PNG))


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
        save_training(tmp_path / "t.png", [])
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
