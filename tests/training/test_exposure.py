"""Exposure bias: the shares by position by hand, a model against its own outputs, and what `fit` logs."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kerass2s import ExposureBias, GreedySearch, UserError, zoo
from kerass2s.data import Pair
from kerass2s.errors import DataError
from kerass2s.training import compare_outputs, measure_exposure


def test_shares_by_hand() -> None:
    labels = np.array([[7, 8, 9, 3], [7, 8, 3, 0]])
    forced = np.array([[7, 8, 8, 3], [7, 8, 3, 9]])
    free = np.array([[7, 9, 8, 3, 0], [7, 8, 5, 5, 3]])
    found = compare_outputs(labels, forced, free)
    assert found.counts.tolist() == [2, 2, 2, 1]
    assert found.forced.tolist() == [0, 0, 0.5, 0]
    assert found.free.tolist() == [0, 0.5, 1, 0]
    assert found.forced_error == pytest.approx(1 / 7)
    assert found.free_error == pytest.approx(3 / 7)
    assert found.gap == pytest.approx(2 / 7)


def test_an_output_that_ends_early_is_wrong_from_there_on_and_padding_counts_nowhere() -> None:
    labels = np.array([[7, 8, 9, 3, 0, 0]])
    found = compare_outputs(labels, labels, np.array([[7, 3]]))
    assert found.free.tolist() == [0, 1, 1, 1]
    assert found.forced.tolist() == [0, 0, 0, 0]


def test_nothing_to_measure_is_refused(trained) -> None:
    with pytest.raises(DataError, match="nothing to measure"):
        compare_outputs(np.zeros([2, 0]), np.zeros([2, 0]), np.zeros([2, 0]))
    with pytest.raises(UserError, match="nothing to measure"):
        measure_exposure(trained[0], [])


@pytest.fixture(scope="module")
def trained(lexicon, source_tokenizer, target_tokenizer):
    """A model that was trained a little, and its callback, with two pairs at once so that batches differ in length."""
    keras.utils.set_random_seed(1)
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
    model = zoo.build("luong2015", **tokenizers, preset="tiny")
    model.compile(keras.optimizers.Adam(0.01))
    exposure = ExposureBias(lexicon, GreedySearch(max_length=12), batch_size=5)
    history = model.fit(lexicon, epochs=30, verbose=0, callbacks=[exposure]).history
    return model, exposure, history


def test_fit_logs_the_gap_of_each_epoch(trained) -> None:
    _, exposure, history = trained
    assert len(exposure.measured) == 30
    assert history["val_exposure_gap"] == [each.gap for each in exposure.measured]
    assert history["val_exposure_free"] == [each.free_error for each in exposure.measured]
    assert history["val_exposure_forced"][0] > history["val_exposure_forced"][-1]


def test_the_teacher_forced_share_is_what_token_accuracy_is_missing(trained, lexicon) -> None:
    model, exposure, _ = trained
    accuracy = model.evaluate(lexicon, return_dict=True, verbose=0)["token_accuracy"]
    assert exposure.measured[-1].forced_error == pytest.approx(1 - accuracy, abs=1e-6)


def test_a_model_makes_no_error_against_its_own_outputs(trained, lexicon) -> None:
    """Teacher forcing with the model's own greedy output is free running, END and all."""
    model, exposure, _ = trained
    own = model.generate([source for source, _ in lexicon], exposure.search)
    pairs = [Pair(source, text) for (source, _), text in zip(lexicon, own, strict=True) if len(text.split()) < 12]
    assert pairs
    assert any(pair.target for pair in pairs)
    found = measure_exposure(model, pairs, exposure.search)
    assert found.forced_error == found.free_error == found.gap == 0


def test_a_hypothesis_cut_at_the_greatest_length_has_no_end(trained, lexicon) -> None:
    model, _, _ = trained
    own = model.generate([source for source, _ in lexicon], GreedySearch(max_length=1))
    pairs = [Pair(source, text) for (source, _), text in zip(lexicon, own, strict=True) if text]
    found = measure_exposure(model, pairs, GreedySearch(max_length=1))
    assert found.free.tolist() == [0, 1]
