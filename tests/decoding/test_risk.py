"""Minimum Bayes risk: utilities by hand, an order by them, and exports that refuse it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from kerass2s import zoo
from kerass2s.decoding import MinimumBayesRisk, MinLength, SamplingSearch, parse_search, search_spec
from kerass2s.decoding.risk import METRICS, expected_utilities
from kerass2s.errors import ConfigError, ExportError
from kerass2s.export import load_predictor
from kerass2s.seq2seq import Seq2Seq

WORDS = ["cat", "", "stack", "zz"]


@pytest.fixture(scope="module")
def model(source_tokenizer, target_tokenizer) -> Seq2Seq:
    """A tiny model of all sorts of opinions."""
    keras.utils.set_random_seed(7)
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
    return zoo.build("luong2015", **tokenizers, preset="tiny")


def test_a_text_counts_as_often_as_it_was_drawn_and_not_against_itself() -> None:
    # "a b" against "a b" 0 and "a c" 1/2; "a c" against "a b" twice 1/2.
    assert expected_utilities(["a b", "a c", "a b"], METRICS["token_error_rate"]) == [-0.25, -0.5, -0.25]
    # Edits over the tokens of the other: 2 of 3 and 2 of 2 against 2 of 1 for the short one.
    rates = expected_utilities(["a", "a b c", "d b"], METRICS["token_error_rate"])
    assert rates == pytest.approx([-(2 / 3 + 2 / 2) / 2, -(2 / 1 + 2 / 2) / 2, -(2 / 1 + 2 / 3) / 2])


def test_chrf_is_sacrebleus() -> None:
    from sacrebleu import sentence_chrf

    texts = ["the cat sat", "the cat", "a dog"]
    expected = [sum(sentence_chrf(text, [other]).score for other in texts if other != text) / 2 for text in texts]
    assert expected_utilities(texts, METRICS["chrf"]) == pytest.approx(expected)
    assert expected_utilities(["ab", "ab", ""], METRICS["chrf"]) == [50.0, 50.0, 0.0]


def test_one_alone_is_compared_with_itself_and_none_is_none() -> None:
    assert expected_utilities(["a b"], METRICS["chrf"]) == [100.0]
    assert expected_utilities(["a b"], METRICS["token_error_rate"]) == [0.0]
    assert expected_utilities([], METRICS["chrf"]) == []


def test_equals_keep_the_models_order_and_what_is_no_output_stays_last() -> None:
    answer = {
        "text": np.array([b"x", b"a b", b"a b", b"a c", b""], object),
        "scores": np.array([-1.0, -2.0, -3.0, -4.0, -np.inf], np.float32),
        "target_ids": np.array([[9], [5], [6], [7], [0]]),
    }
    ordered = MinimumBayesRisk(5, metric="token_error_rate").ordered(answer)
    assert ordered["target_ids"][:, 0].tolist() == [5, 6, 9, 7, 0]
    # "a b": 2 of 1 against "x", nothing against its twin, 1 of 2 against "a c". "x" and "a c" tie.
    assert ordered["scores"].tolist() == pytest.approx([-2.5 / 3, -2.5 / 3, -3.0 / 3, -3.0 / 3, -np.inf])


def test_hypotheses_are_the_samples_in_another_order(model: Seq2Seq) -> None:
    search = MinimumBayesRisk(6, temperature=0.8, seed=3, max_length=5)
    assert search.sampling() == SamplingSearch(6, temperature=0.8, seed=3, max_length=5)
    found, samples = model.n_best(WORDS, search), model.n_best(WORDS, search.sampling())
    for row, drawn in zip(found, samples, strict=True):
        utilities = expected_utilities([each.text for each in drawn], METRICS["chrf"])
        order = sorted(range(6), key=lambda k: -utilities[k])
        assert [each.ids for each in row] == [drawn[k].ids for k in order]
        assert [each.token_scores for each in row] == [drawn[k].token_scores for k in order]
        assert [each.score for each in row] == pytest.approx([utilities[k] for k in order])
    assert any(
        [each.ids for each in row] != [each.ids for each in drawn] for row, drawn in zip(found, samples, strict=True)
    )
    assert model.generate(WORDS, search) == [row[0].text for row in found]
    assert load_predictor(model, search=search_spec(search)).generate(WORDS) == model.generate(WORDS, search)


def test_its_spec_comes_back_and_mistakes_are_refused() -> None:
    spec = "mbr:16,metric=token_error_rate,temperature=0.8,seed=1,min_length=2"
    search = parse_search(spec)
    assert search == MinimumBayesRisk(16, metric="token_error_rate", temperature=0.8, seed=1, filters=(MinLength(2),))
    assert search_spec(search) == spec and search_spec(MinimumBayesRisk()) == "mbr:16"
    for wrong, what in {
        "mbr:1": "samples must be a whole number from 2",
        "mbr:8,metric=bleu": "chrf, token_error_rate",
        "mbr:8,temperature=0": "temperature must be from",
        "mbr:8,length_penalty=1": "Unknown key",
        "mbt:8": "did you mean 'mbr'",
    }.items():
        with pytest.raises(ConfigError, match=what):
            parse_search(wrong)


@pytest.mark.parametrize(("format", "name"), [("onnx", "model.onnx"), ("tf_saved_model", "saved")])
def test_an_export_refuses_it_and_says_what_to_export(model: Seq2Seq, tmp_path: Path, format: str, name: str) -> None:
    with pytest.raises(ExportError, match=r"export its samples, 'sample:4,seed=2'. Received: mbr:4,seed=2"):
        model.export(tmp_path / name, format, MinimumBayesRisk(4, seed=2))
    assert not list(tmp_path.iterdir())
