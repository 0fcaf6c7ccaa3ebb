"""Tied embeddings: one table reads the previous token and scores the next one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from kerass2s import BeamSearch, Seq2Seq, zoo
from kerass2s.errors import ConfigError
from kerass2s.export import export_onnx, export_saved_model, load_predictor

ENTRIES = [
    ("sutskever2014", {"embedding_size": 12}),
    ("cho2014", {"embedding_size": 6}),
    ("luong2015", {"embedding_size": 12}),
    ("luong2015", {"embedding_size": 12, "input_feeding": True}),
    ("bahdanau2015", {"embedding_size": 6}),
    ("gnmt2016", {"embedding_size": 12}),
    ("pointer_generator2017", {"embedding_size": 12}),
]
INPUTS = {
    "source_ids": np.array([[4, 5, 6, 3], [5, 3, 0, 0]], np.int32),
    "target_ids": np.array([[2, 4, 5], [2, 4, 0]], np.int32),
}


@pytest.fixture(scope="module")
def make(source_tokenizer, target_tokenizer) -> Callable[..., Seq2Seq]:
    """Builds a tiny model of a fixed seed, without dropout."""

    def build(name: str, **settings: Any) -> Seq2Seq:
        keras.utils.set_random_seed(3)
        tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
        return zoo.build(name, **tokenizers, preset="tiny", **{"dropout": 0.0, **settings})

    return build


def gradients(model: Seq2Seq, variables: list[Any]) -> list[np.ndarray]:
    """The gradient of some loss at every position and token."""
    with tf.GradientTape() as tape:
        logits = model(INPUTS, training=True)
        loss = tf.reduce_sum(tf.maximum(logits, -1e3) * tf.sin(tf.range(1.0, logits.shape[-1] + 1.0)))
    return [tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(loss, variables)]


@pytest.mark.parametrize(("name", "settings"), ENTRIES)
def test_one_table_with_the_gradient_of_both_its_ends(make, name: str, settings: dict) -> None:
    """A model with a table of its own at each end, both filled alike, says what each end adds."""
    tied, apart = (make(name, **settings, tie_embeddings=tie) for tie in (True, False))
    table, bias = tied.decoder.get_layer("target_embedding").embeddings, tied.decoder.get_layer("logits").bias
    size, width = table.shape
    assert apart.count_params() - tied.count_params() == size * width
    bias.assign(keras.random.normal(bias.shape, seed=1))
    table.assign(keras.random.normal(table.shape, stddev=0.5, seed=2))
    ends = apart.decoder.get_layer("target_embedding").embeddings, apart.decoder.get_layer("logits").kernel
    values = iter([variable for variable in tied.trainable_variables if variable is not bias])
    for variable in apart.trainable_variables:
        if variable is ends[1]:
            variable.assign(tf.transpose(table))
        elif variable is apart.decoder.get_layer("logits").bias:
            variable.assign(bias)
        else:
            variable.assign(next(values))
    np.testing.assert_allclose(tied(INPUTS), apart(INPUTS), atol=1e-5)
    whole = gradients(tied, [table])[0]
    below, above = gradients(apart, list(ends))
    np.testing.assert_allclose(whole, below + above.T, atol=1e-4)
    assert np.abs(below).max() > 1e-4 and np.abs(above).max() > 1e-4


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sutskever2014", {}, "12. Received: an embedding of 8"),
        ("cho2014", {}, "6. Received: an embedding of 8"),
        ("luong2015", {"embedding_size": 9}, "12. Received: an embedding of 9"),
        ("bahdanau2015", {"readout_units": 5}, "5. Received: an embedding of 8"),
    ],
)
def test_widths_that_differ_are_refused_with_both(make, name: str, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=f"as wide as what is read out of the decoder, {message}"):
        make(name, **settings, tie_embeddings=True)


def test_a_tied_model_is_kept_and_trained_on(make, lexicon, tmp_path: Path) -> None:
    model = make("luong2015", embedding_size=12, tie_embeddings=True)
    model.compile(keras.optimizers.Adam(0.02))
    pairs = [pair for pair in lexicon if len(pair[0]) == 3]  # of one shape
    losses = model.fit(pairs, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.decoder.get_layer("logits").embedding is again.decoder.get_layer("target_embedding")
    np.testing.assert_allclose(again(INPUTS), model(INPUTS), atol=1e-6)
    again.save_to_preset(tmp_path / "preset")
    np.testing.assert_allclose(Seq2Seq.from_preset(tmp_path / "preset")(INPUTS), model(INPUTS), atol=1e-6)


def test_exports_of_a_tied_model_with_every_dropout_answer_as_the_live_one(make, tmp_path: Path) -> None:
    rates = {"dropout": 0.3, "recurrent_dropout": 0.3, "variational_dropout": True}
    model = make("bahdanau2015", embedding_size=6, tie_embeddings=True, **rates)
    for weight in model.trainable_weights:
        weight.assign(3 * weight)
    search, words = BeamSearch(3, max_length=8), ["stack", "", "it", "tickstick"]
    export_onnx(model, tmp_path / "model.onnx", search)
    export_saved_model(model, tmp_path / "saved_model" / "1", search)
    table = model.decoder.get_layer("target_embedding").embeddings.numpy()
    stored = [onnx.numpy_helper.to_array(each) for each in onnx.load_model(tmp_path / "model.onnx").graph.initializer]
    assert sum(sorted(each.shape) == sorted(table.shape) for each in stored if each.ndim == 2) == 1
    expected = model.n_best(words, search)
    assert len({best[0].text for best in expected}) > 1
    for path in (tmp_path / "model.onnx", tmp_path / "saved_model" / "1"):
        found = load_predictor(path).n_best(words, 4)
        assert [[one.ids for one in row] for row in found] == [[one.ids for one in row] for row in expected]
        for row, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose([one.score for one in row], [one.score for one in wanted], atol=1e-4)
