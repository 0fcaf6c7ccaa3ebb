"""Ensembles: the average that was worked out by hand, one search, one file, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import BeamSearch, Ensemble, GreedySearch, Hypothesis, Pair, SentencePieceTokenizer, Seq2Seq, distill, zoo
from kerass2s.data.pipeline import shift
from kerass2s.errors import ConfigError, PresetError
from kerass2s.export import load_predictor, verify
from kerass2s.export.fresh import FreshProcess
from kerass2s.presets import average_checkpoints, load_preset
from kerass2s.text import PAD_ID

WORDS = ["stick", "", "cat", "zz", "a"]
SEARCH = BeamSearch(width=3, length_penalty=0.6, max_length=6)
Make = Callable[..., Seq2Seq]


@pytest.fixture(scope="module")
def make(source_tokenizer, target_tokenizer) -> Make:
    """Build a tiny model with opinions: large weights, which another seed changes."""

    def build(
        name: str = "luong2015", seed: int = 1, target: SentencePieceTokenizer | None = None, **config
    ) -> Seq2Seq:
        keras.utils.set_random_seed(seed)
        tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target or target_tokenizer}
        model = zoo.build(name, **tokenizers, preset="tiny", **config)
        model.set_weights([3 * weight for weight in model.get_weights()])
        return model

    return build


@pytest.fixture(scope="module")
def two(make: Make) -> list[Seq2Seq]:
    """Two architectures; tests leave them as they are."""
    return [make("luong2015", 1), make("sutskever2014", 2)]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    powers = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def averaged(logits: list[np.ndarray], average: str) -> np.ndarray:
    """The mean that an ensemble documents, worked out in NumPy."""
    probabilities = [softmax(each) for each in logits]
    if average == "probability":
        return sum(probabilities) / len(probabilities)
    product = np.prod(probabilities, axis=0) ** (1 / len(probabilities))
    return product / product.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("average", ["log_probability", "probability"])
def test_a_step_and_a_score_are_the_members_average(two: list[Seq2Seq], lexicon, average: str):
    ensemble = Ensemble(two, average)
    request = ensemble.codec.request([source for source, _ in lexicon])
    source = ensemble.codec.encoder_inputs(*ensemble.codec.source(request))
    labels = ensemble.codec.labels(tf.constant([target for _, target in lexicon]), request).to_tensor(PAD_ID)
    inputs, _, real = shift(source, labels)

    starts = [model.decoder.begin(model.encoder(source)) for model in two]
    ids = inputs["target_ids"][:, 0]
    steps = [
        model.decoder.step(ids, start.state, start.memory).prediction for model, start in zip(two, starts, strict=True)
    ]
    joined = ensemble.decoder.begin(ensemble.encoder(source))
    step = ensemble.decoder.step(ids, joined.state, joined.memory)
    np.testing.assert_allclose(softmax(step.prediction), averaged(steps, average), atol=1e-6)
    assert step.alignment is None, "one of the members has none"

    forced = averaged([model(inputs).numpy() for model in two], average)
    log_probs = np.log(np.take_along_axis(forced, labels.numpy()[:, :, None], axis=2)[:, :, 0])
    scores = ensemble.score_pairs([Pair(*pair) for pair in lexicon], batch_size=5)
    np.testing.assert_allclose(scores, (log_probs * real.numpy()).sum(axis=1), rtol=1e-5)
    differ = [model.score_pairs([Pair(*pair) for pair in lexicon]) for model in two]
    assert all(np.abs(scores - each).max() > 0.1 for each in differ), "an average of the same shows nothing"


@pytest.mark.parametrize(("copies", "average"), [(1, "log_probability"), (2, "probability")])
def test_copies_of_one_model_are_that_model(two: list[Seq2Seq], copies: int, average: str):
    found, expected = Ensemble(two[:1] * copies, average).n_best(WORDS, SEARCH), two[0].n_best(WORDS, SEARCH)
    assert_same(found, expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[0].alignment, other[0].alignment, atol=1e-6)


def test_mates_in_a_batch_change_nothing_and_scores_are_those_of_the_search(two: list[Seq2Seq]):
    ensemble = Ensemble(two)
    search = BeamSearch(width=3, max_length=40)
    together = ensemble.n_best(WORDS, search)
    for word, row in zip(WORDS, together, strict=True):
        (alone,) = ensemble.n_best([word], search)
        assert [one.ids for one in row] == [one.ids for one in alone]
        np.testing.assert_allclose([one.score for one in row], [one.score for one in alone], atol=1e-4)
        # An unknown has no text of its own that could be scored, and what is cut has no END.
        whole = [one for one in row if 1 not in one.ids and len(one.ids) < 40]
        scores = ensemble.score_pairs([Pair(word, one.text) for one in whole])
        np.testing.assert_allclose(scores, [one.score for one in whole], atol=1e-4)


def test_what_copies_words_averages_over_them_too(make: Make):
    models = [make("pointer_generator2017", seed) for seed in (1, 2)]
    ensemble = Ensemble(models, "probability")
    pairs = [Pair("z-z", "z K -"), Pair("z-z", "q")]
    own = [np.exp([tokens[0] for tokens in model.score_tokens(pairs)]) for model in models]
    # "z" is a token that no vocabulary has, and of a source without "q" that is unknown.
    np.testing.assert_allclose(
        np.exp([tokens[0] for tokens in ensemble.score_tokens(pairs)]), np.mean(own, axis=0), 1e-5
    )


def test_exports_answer_as_the_live_ensemble(two: list[Seq2Seq], tmp_path: Path, fresh: FreshProcess):
    ensemble = Ensemble(two, "probability")
    ensemble.export(tmp_path / "model.onnx", "onnx", SEARCH)
    ensemble.export(tmp_path / "saved_model" / "1", search=SEARCH)
    report = verify(tmp_path, ensemble, fresh)
    assert report.ok and len(report.checks) == 2, str(report)
    expected = ensemble.n_best(WORDS, SEARCH)
    assert len({row[0].text for row in expected}) > 1
    for place in ("model.onnx", "saved_model/1"):
        predictor = load_predictor(tmp_path / place)
        assert predictor.description["architecture"] == "ensemble"
        assert json.loads(predictor.description["config"])["average"] == "probability"
        assert_same(predictor.n_best(WORDS, batch_size=2), expected)


def assert_same(given: list[list[Hypothesis]], expected: list[list[Hypothesis]]) -> None:
    """Two lists of answers are the same."""
    for row, other in zip(given, expected, strict=True):
        assert [(one.ids, one.text) for one in row] == [(one.ids, one.text) for one in other]
        np.testing.assert_allclose([one.score for one in row], [one.score for one in other], atol=1e-4)


def test_a_preset_of_an_ensemble_is_one_directory(two: list[Seq2Seq], tmp_path: Path):
    ensemble = Ensemble(two, "probability")
    for _ in range(2):  # over itself, too
        ensemble.save_to_preset(tmp_path / "both")
    again = load_preset(tmp_path / "both")
    assert (again.average, len(again.members)) == ("probability", 2)
    pairs = [Pair("cat", "K AE T"), Pair("a", "T")]
    np.testing.assert_array_equal(again.score_pairs(pairs), ensemble.score_pairs(pairs))
    members = [tmp_path / "both" / f"member_{number}" for number in range(2)]
    np.testing.assert_array_equal(
        Ensemble.from_presets(members, "probability").score_pairs(pairs), ensemble.score_pairs(pairs)
    )
    for load in (Seq2Seq.from_preset, lambda name: average_checkpoints([name])):
        with pytest.raises(PresetError, match="one model, not of an ensemble"):
            load(tmp_path / "both")

    weights = members[1] / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(PresetError, match=r"member_1/model.weights.h5: damaged"):
        load_preset(tmp_path / "both")
    weights.unlink()
    (members[1] / "config.json").unlink()
    with pytest.raises(PresetError, match=r"member_1/config.json: this file of the preset is missing"):
        load_preset(tmp_path / "both")


def test_a_student_learns_from_an_ensemble(two: list[Seq2Seq]):
    ensemble = Ensemble(two)
    search = GreedySearch(max_length=6)
    pairs = distill(ensemble, WORDS, search)
    assert [pair.source for pair in pairs] == WORDS
    assert [pair.target for pair in pairs] == ensemble.generate(WORDS, search)


def test_models_that_read_or_write_differently_are_refused(make: Make, two: list[Seq2Seq]):
    other = make(target=SentencePieceTokenizer.train(["A B C"], kind="word"))
    with pytest.raises(
        ConfigError, match=r"the target vocabulary of model 3 differ.*Received: luong2015 and luong2015"
    ):
        Ensemble([*two, other])
    with pytest.raises(ConfigError, match="codec of model 2"):
        Ensemble([two[0], make("pointer_generator2017")])
    with pytest.raises(ConfigError, match="Received: none"):
        Ensemble([])
    with pytest.raises(ConfigError, match="Received: Ensemble"):
        Ensemble([Ensemble(two)])
    with pytest.raises(ConfigError, match=r"average must be one of log_probability, probability.*'mean'"):
        Ensemble(two, "mean")
    with pytest.raises(ConfigError, match="Received: an ensemble"):
        Ensemble([zoo.build("series2series", preset="tiny")])
