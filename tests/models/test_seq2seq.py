"""Seq2Seq as a user meets it: fit, generate, score, save, load, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import (
    BeamSearch,
    BucketByExamples,
    BucketByTokens,
    FreeRunningValidation,
    GreedySearch,
    Pair,
    Sampling,
    SentencePieceTokenizer,
    Seq2Seq,
    TokenCrossentropy,
    UserError,
    zoo,
)
from kerass2s.data import to_dataset
from kerass2s.files import sealed


@pytest.fixture
def make(source_tokenizer, target_tokenizer):
    """Build a tiny luong2015, or another architecture, from a fixed seed."""

    def build(name: str = "luong2015", **settings) -> Seq2Seq:
        keras.utils.set_random_seed(7)
        model = zoo.build(
            name,
            source_tokenizer=source_tokenizer,
            target_tokenizer=target_tokenizer,
            preset="tiny",
            **settings,
        )
        model.compile(optimizer=keras.optimizers.Adam(0.01, clipnorm=1.0), loss=TokenCrossentropy(0.05))
        return model

    return build


def outputs(model: Seq2Seq) -> np.ndarray:
    """Teacher-forced predictions of a fixed batch, whatever the model reads and writes."""
    codec, name = model.codec, model.decoder.target_name
    request = codec.request([codec.example(np.random.default_rng(0), 9)])
    target = np.array([[2, 4]], np.int32) if name == "target_ids" else np.ones([1, 2, codec.target_size], np.float32)
    return model({**codec.encoder_inputs(*codec.source(request)), name: target}).numpy()


def test_fit_repeats_exactly_with_the_same_seed(make, lexicon) -> None:
    runs = []
    for _ in range(2):
        model = make(dropout=0.2)
        history = model.fit(lexicon, epochs=3, batching=BucketByExamples(4), seed=5, verbose=0)
        runs.append((history.history["loss"], outputs(model)))
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


def test_a_token_that_stands_in_a_batch_often_moves_no_further_than_adam_moves_a_weight(make) -> None:
    model = make()
    model.compile(optimizer=keras.optimizers.Adam(0.001, epsilon=1e-20))
    tables = [weight for weight in model.trainable_weights if "embeddings" in weight.path]
    before = [weight.numpy() for weight in tables]
    model.fit([("aaab", "B B B B")] * 4, batching=BucketByExamples(4), verbose=0)
    for weight, old in zip(tables, before, strict=True):
        moved = np.abs(weight.numpy() - old)
        moved = moved[moved > 0]
        assert moved.size
        np.testing.assert_allclose(moved, 0.001, rtol=1e-3)


def test_fit_takes_a_dataset_of_strings_and_validates_both_ways(make, lexicon) -> None:
    model = make()
    history = model.fit(
        to_dataset([Pair(*pair) for pair in lexicon]),
        validation_data=lexicon[:4],
        batching=BucketByTokens(32),
        callbacks=[FreeRunningValidation([Pair(*pair) for pair in lexicon[:4]], BeamSearch(width=2, max_length=8))],
        epochs=2,
        verbose=0,
    ).history
    assert history["loss"][1] < history["loss"][0]
    expected = {"val_loss", "val_token_accuracy", "val_sequence_accuracy", "val_perplexity"}
    expected |= {f"val_free_{name}" for name in ("sequence_accuracy", "token_error_rate", "bleu", "chrf")}
    assert expected <= set(history)


def test_perplexity_is_that_of_the_given_targets(make, lexicon) -> None:
    model = make()
    found = model.evaluate(lexicon, verbose=0, return_dict=True, batching=BucketByExamples(5))["perplexity"]
    tokens = sum(len(target.split()) + 1 for _, target in lexicon)
    assert np.log(found) == pytest.approx(-model.score_pairs(lexicon, batch_size=5).sum() / tokens, abs=1e-5)


def test_score_equals_the_score_of_the_search(make, lexicon) -> None:
    model = make()
    words = [source for source, _ in lexicon]
    found = model.n_best(words, BeamSearch(width=3, max_length=30), batch_size=5)
    ended = [(word, best[0]) for word, best in zip(words, found, strict=True) if len(best[0].ids) < 30]
    scores = model.score_pairs([Pair(word, hypothesis.text) for word, hypothesis in ended])
    # An unknown has no text of its own that could be scored.
    clean = [i for i, (_, hypothesis) in enumerate(ended) if 1 not in hypothesis.ids]
    for i in clean:
        assert scores[i] == pytest.approx(ended[i][1].score, abs=1e-4)


def test_generate_keeps_order_and_count(make) -> None:
    model = make()
    words = ["stack", "", "it", "zzz", "it", "a b", "ﬁ\u00a0\u202f👩‍👩‍👧", "x" * 200]
    together = model.generate(words, GreedySearch(max_length=9), batch_size=3)
    assert together == [model.generate([word], GreedySearch(max_length=9))[0] for word in words]
    assert model.generate([]) == []


def test_subword_sampling_is_for_training_alone(lexicon) -> None:
    words = [source for source, _ in lexicon]
    sampled = SentencePieceTokenizer.train(words, "unigram", 40).with_sampling(Sampling(alpha=0.1))
    model = zoo.build("luong2015", source_tokenizer=sampled, target_tokenizer=sampled, units=16, embedding_size=8)
    model.compile()
    model.fit([Pair(word, word) for word in words], validation_data=[Pair("sat", "sat")], verbose=0)
    batches = {tuple(model.codec.source({"text": tf.constant(["stackstick"])})[0].numpy()[0]) for _ in range(20)}
    assert len(batches) == 1
    assert len({tuple(sampled.tokenize(tf.constant(["stackstick"])).to_list()[0]) for _ in range(20)}) > 1


def test_one_text_is_not_a_list_of_texts(make) -> None:
    with pytest.raises(UserError, match="list of texts"):
        make().generate("stack")


def test_keras_saving_keeps_answers_and_goes_on_training(make, lexicon, tmp_path: Path) -> None:
    model = make(dropout=0.0)
    model.fit(lexicon, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(model), outputs(again))
    assert again.loss.label_smoothing == 0.05
    first, second = (m.fit(lexicon, epochs=1, verbose=0).history["loss"] for m in (model, again))
    assert first == pytest.approx(second, abs=1e-6)


def test_a_killed_run_goes_on_with_keras_backup(make, lexicon, tmp_path: Path) -> None:
    def run(epochs: int) -> np.ndarray:
        model = make()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        model.fit(lexicon, epochs=epochs, verbose=0, callbacks=[backup])
        return outputs(model)

    once = run(2)
    np.testing.assert_array_equal(run(2), once)
    assert np.abs(run(3) - once).max() > 0


@pytest.mark.parametrize("name", zoo.names())
def test_a_preset_keeps_every_answer(make, name: str, tmp_path: Path) -> None:
    model = make(name)
    model.save_to_preset(tmp_path / "preset")
    again = Seq2Seq.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(outputs(model), outputs(again))
    assert again.config == model.config
    tokenizers = [f"{side}.spm" for side in ("source", "target") if side in model.codec.tokenizers()]
    found = sorted(path.name for path in (tmp_path / "preset").iterdir())
    assert found == ["config.json", "model.weights.h5", *tokenizers]


@pytest.mark.parametrize("file", ["model.weights.h5", "source.spm", "target.spm"])
def test_a_preset_with_a_missing_or_damaged_file_is_refused(make, file: str, tmp_path: Path) -> None:
    make().save_to_preset(tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"{file}: damaged"):
        Seq2Seq.from_preset(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=f"{file}: this file of the preset is missing"):
        Seq2Seq.from_preset(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{", "", "cannot be read as JSON"),
        ('"format": 2', '"format": 3', "reads format 2"),
        ('"architecture"', '"architektur"', "must have the keys"),
        ('"luong2015"', '"loung2015"', "No such architecture"),
        ('"units": 12', '"unitz": 16', "did you mean 'units'"),
        ('"units": 12', '"units": "12"', "must be of type int"),
        ('"units": 12', '"units": 13', "not the weights of this config"),
        ('"source.spm"', '"../source.spm"', "'files' must name"),
    ],
)
def test_a_preset_with_a_wrong_config_is_refused(make, old: str, new: str, message: str, tmp_path: Path) -> None:
    make().save_to_preset(tmp_path)
    path = tmp_path / "config.json"
    text = path.read_text().replace(old, new, 1)
    path.write_text(json.dumps(sealed(json.loads(text))) if text.startswith("{") else text)
    with pytest.raises(UserError, match=message):
        Seq2Seq.from_preset(tmp_path)


def test_unknown_presets_and_formats_are_refused(make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such preset"):
        Seq2Seq.from_preset("no_such_preset")
    with pytest.raises(UserError, match="not a preset directory"):
        Seq2Seq.from_preset(tmp_path)
    with pytest.raises(UserError, match="format must be one of"):
        make().export(tmp_path / "x", format="tflite")


def test_a_config_that_nothing_could_write_down_is_refused(make) -> None:
    made = make("luong2015")
    with pytest.raises(UserError, match=r"config must be a dataclass .*Received: None"):
        Seq2Seq(made.encoder, made.decoder, codec=made.codec, architecture="mine", config=None)


def test_unknown_settings_are_refused(source_tokenizer, target_tokenizer) -> None:
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
    for settings, message in [
        ({"unit": 3}, "did you mean 'units'"),
        ({"units": 0}, "at least 1"),
        ({"dropout": -0.1}, "at least 0"),
        ({"cell": "rnn"}, "lstm, gru"),
        ({"preset": "big"}, "has the presets tiny, paper"),
    ]:
        with pytest.raises(UserError, match=message):
            zoo.build("luong2015", **tokenizers, **settings)
    with pytest.raises(UserError, match="No such architecture"):
        zoo.build("luong2016", **tokenizers)


@pytest.mark.parametrize("name", zoo.names())
def test_a_setting_that_no_member_has_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="has no setting of that name") as error:
        zoo.configure(name, preset="tiny", no_such_setting=1)
    assert "Received: 'no_such_setting'" in str(error.value)


def test_every_member_cites_its_paper_and_has_its_sizes() -> None:
    for name in zoo.names():
        entry = zoo.entry(name)
        year = re.search(r"\d{4}$", name)
        assert re.search(year[0] if year else r"\b(19|20)\d{2}\b", entry.CITATION)
        assert "paper" in entry.PRESETS
        assert entry.__doc__.startswith(f"{name}: ")


def test_tensorflow_seeds_do_not_break_a_model_in_use(make) -> None:
    model = make()
    before = model.generate(["stack"], GreedySearch(max_length=5))
    tf.random.set_seed(1)  # drops the kernels of eager operations and what they own
    assert model.generate(["stack"], GreedySearch(max_length=5)) == before
