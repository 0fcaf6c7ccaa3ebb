"""The real-valued codecs: what stands at the ends of a model of vectors, and what is refused there."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import BeamSearch, GreedySearch, SentencePieceTokenizer
from kerass2s.codec import SeriesCodec, TextCodec, VectorTextCodec
from kerass2s.decoding import Rollout
from kerass2s.errors import ConfigError, DataError

SOURCE = tf.constant([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [9.0, 9.0]], [[9.0, 9.0], [9.0, 9.0]]])
LENGTHS = tf.constant([2, 1, 0])


def test_the_first_input_is_the_last_observed_vector_or_zeros() -> None:
    assert SeriesCodec(2, 1).first(SOURCE, LENGTHS).numpy().tolist() == [[3], [5], [0]]
    assert SeriesCodec(2, 2).first(SOURCE, LENGTHS).numpy().tolist() == [[3, 4], [5, 6], [0, 0]]
    assert SeriesCodec(2, 3, first="zeros").first(SOURCE, LENGTHS).numpy().tolist() == [[0] * 3] * 3


def test_a_first_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="first must be one of last, zeros. Received: 'next'"):
        SeriesCodec(1, 1, first="next")
    with pytest.raises(ConfigError, match="Received: source_size 1, target_size 2"):
        SeriesCodec(1, 2)


def test_requests_are_padded() -> None:
    request = SeriesCodec(1, 1).request([np.array([[1.0], [2.0]]), np.zeros([0, 1]), [[3.0]]])
    assert request["source_values"].numpy()[:, :, 0].tolist() == [[1, 2], [0, 0], [3, 0]]
    assert request["source_lengths"].numpy().tolist() == [2, 0, 1]


def test_a_source_without_a_step_is_one_step_of_zeros() -> None:
    inputs = SeriesCodec(2, 2).encoder_inputs(SOURCE, LENGTHS)
    assert inputs["source_lengths"].numpy().tolist() == [2, 1, 1]
    assert inputs["source_values"].numpy().tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]], [[0, 0], [0, 0]]]


def test_the_loss_and_the_metric_leave_padding_out() -> None:
    codec = SeriesCodec(2, 2)
    labels, predicted = np.zeros([1, 2, 2], "f"), np.array([[[1, 3], [100, 100]]], "f")
    weights = np.array([[1, 0]], "f")
    assert float(codec.loss()(labels, predicted, weights)) == 5
    (metric,) = codec.metrics()
    metric.update_state(labels, predicted, weights)
    assert float(metric.result()) == 2


def test_batches_leave_what_is_no_list_of_pairs_to_keras(target_tokenizer: SentencePieceTokenizer) -> None:
    pair = (np.zeros([3, 2]), "K AE T")
    codec = VectorTextCodec("some", 2, target_tokenizer)
    assert codec.batches([pair] * 5, None, 1).cardinality() == 1
    dataset = codec.batches([pair], None, None)
    for other in (dataset, {"source_values": 1}, ({"source_values": 1}, 2), None):
        assert codec.batches(other, None, 1) is other
    with pytest.raises(ConfigError, match="nothing to train"):
        codec.batches([], None, 1)
    with pytest.raises(DataError, match="pair 0, source: must be an array of floats.* Received: 'cat'"):
        codec.batches([("cat", "K AE T")], None, 1)


def test_a_search_for_other_targets_is_refused(
    source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer
) -> None:
    values = SeriesCodec(1, 1)
    assert values.settings(Rollout(7)) == {"horizon": np.int32(7)}
    for search in (GreedySearch(), BeamSearch()):
        with pytest.raises(ConfigError, match="rollout:24. Received: "):
            values.settings(search)
    for tokens in (VectorTextCodec("some", 1, target_tokenizer), TextCodec("some", source_tokenizer, target_tokenizer)):
        assert tokens.settings(BeamSearch()) == {"max_length": 256, "length_penalty": 0.0}
        with pytest.raises(ConfigError, match=r"greedy, beam or sample. Received: Rollout\(horizon=7\)"):
            tokens.settings(Rollout(7))


def test_the_target_tokenizer_is_needed() -> None:
    with pytest.raises(ConfigError, match="some needs a tokenizer: give target_tokenizer"):
        VectorTextCodec("some", 1, None)


@pytest.mark.parametrize("sources", ["cat", ["cat"], [np.zeros([3])], np.zeros([3, 2]), [np.zeros([3, 1])], [None]])
def test_sources_that_are_no_arrays_are_refused(sources: Any) -> None:
    with pytest.raises(DataError, match="^source 0: .*Received: "):
        SeriesCodec(2, 2).check(sources)


def test_positions_of_the_memory_are_named_by_what_they_join(target_tokenizer: SentencePieceTokenizer) -> None:
    plain, joined = (VectorTextCodec("some", 1, target_tokenizer, window) for window in (1, 4))
    assert plain.source_pieces(np.zeros([3, 1])) == ["0", "1", "2"]
    assert joined.source_pieces(np.zeros([9, 1])) == ["0-3", "4-7", "8"]
    assert joined.source_pieces(np.zeros([0, 1])) == []


def test_the_default_loss_is_kept_by_keras() -> None:
    kept = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(SeriesCodec(1, 1).loss()))
    assert kept.reduction == "mean_with_sample_weight"
