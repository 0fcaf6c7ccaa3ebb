"""Gradient norms: equal to those of the tables' rows and to softmax minus label, and zero where no path leads."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from copy_models import copies

from kerass2s import (
    ConstantDecay,
    FreeRunning,
    MinimumRisk,
    ScheduledSampling,
    SentencePieceTokenizer,
    TeacherForcing,
    TwoPass,
    UserError,
    gradient_norms,
    zoo,
)
from kerass2s.errors import DataError

PAIR = ("abcd", "efg")  # no token twice, so that a row of a table is a position
SOFT = ScheduledSampling(ConstantDecay(0.0), "soft")
RECURRENT = ["sutskever2014", "cho2014", "bahdanau2015", "luong2015", "gnmt2016", "pytorch_tutorial2017"]
OTHERS = ["transformer2017", "convs2s2017", "pointer_generator2017", "hard_monotonic2019", "keras_lstm_seq2seq"]


def below(norms: np.ndarray) -> np.ndarray:
    """Those of earlier steps."""
    return norms[np.tril_indices(len(norms), -1)]


@pytest.mark.parametrize("name", [*RECURRENT, *OTHERS])
def test_every_loss_reaches_every_source_position_and_no_later_step(name: str) -> None:
    (found,) = gradient_norms(copies(name=name), [PAIR], TeacherForcing())
    assert found.source_tokens == ["a", "b", "c", "d", "(end)"]
    assert found.target_tokens == ["e", "f", "g", "(end)"]
    assert found.fed_tokens == ["(start)", "e", "f", "g"]
    assert found.source.shape == (4, 5)
    assert (found.source > 0).all()
    assert not np.triu(found.fed, 1).any()
    assert not np.triu(found.said, 1).any()
    assert not below(found.said).any()
    assert (found.said.diagonal() > 0).all()
    assert (np.tril(found.fed) > 0).sum() == 10


def test_norms_are_those_of_the_rows_of_the_tables() -> None:
    model = copies()
    (found,) = gradient_norms(model, [PAIR], TeacherForcing())
    inputs, labels, _ = next(iter(model.codec.batches([PAIR], None, None)))
    tables = [
        layer.embeddings.value
        for layer in (model.encoder.get_layer("source_embedding"), model.decoder.get_layer("target_embedding"))
    ]
    for t in range(4):
        with tf.GradientTape() as tape:
            logits = model(inputs)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[0, t], logits[0, t])
        source, fed = (np.linalg.norm(tf.convert_to_tensor(each), axis=1) for each in tape.gradient(loss, tables))
        np.testing.assert_allclose(found.source[t], source[inputs["source_ids"][0].numpy()], rtol=1e-4)
        np.testing.assert_allclose(found.fed[t], fed[inputs["target_ids"][0].numpy()], rtol=1e-4)
        error = tf.nn.softmax(logits[0, t]) - tf.one_hot(labels[0, t], logits.shape[2])
        np.testing.assert_allclose(found.said[t, t], np.linalg.norm(error), rtol=1e-4)


def test_a_token_cuts_the_way_to_earlier_predictions_and_a_mixture_does_not() -> None:
    model = copies()
    wrong = model.target_tokenizer.encode("h")[-1]
    bias = model.decoder.get_layer("logits").bias
    bias.assign(tf.one_hot(wrong, bias.shape[0], 4.0))  # now the model says h, mostly
    (free,), (soft,) = (gradient_norms(model, [PAIR], feeding) for feeding in (FreeRunning(), SOFT))
    assert free.fed_tokens == soft.fed_tokens == ["(start)", "h", "h", "h"]
    assert free.target_tokens == ["e", "f", "g", "(end)"]
    assert not below(free.said).any()
    assert (below(soft.said) > 0).all()
    assert (below(free.fed) > 0).all()
    assert not np.triu(soft.said, 1).any()


def test_only_the_second_of_two_passes_counts() -> None:
    model = copies(name="transformer2017")
    (forced,), (twice,), (own,) = (
        gradient_norms(model, [PAIR], feeding)
        for feeding in (TeacherForcing(), TwoPass(ConstantDecay(1.0)), TwoPass(ConstantDecay(0.0)))
    )
    assert twice.fed_tokens == forced.fed_tokens != own.fed_tokens
    for place in ("source", "fed", "said"):
        np.testing.assert_allclose(getattr(twice, place), getattr(forced, place), rtol=1e-5, atol=1e-8)
    assert not below(own.said).any()


def test_padding_has_no_part_in_it() -> None:
    model = copies()
    pairs = [("ab", "c"), PAIR, ("", "")]
    for feeding in (TeacherForcing(), FreeRunning(), SOFT):
        together = gradient_norms(model, pairs, feeding)
        for pair, found in zip(pairs, together, strict=True):
            (alone,) = gradient_norms(model, [pair], feeding)
            assert found[:3] == alone[:3]
            for norms, expected in zip(found[3:], alone[3:], strict=True):
                np.testing.assert_allclose(norms, expected, rtol=1e-4, atol=1e-7)


def test_the_model_is_left_as_it_was_and_its_own_feeding_is_the_default() -> None:
    model = copies()
    model.compile(feeding=FreeRunning())
    weights, logits = model.get_weights(), model.decoder.sequence
    (own,), (free,) = gradient_norms(model, [PAIR]), gradient_norms(model, [PAIR], FreeRunning())
    np.testing.assert_array_equal(own.source, free.source)
    assert model.decoder.sequence == logits
    assert "call" not in vars(model.encoder.get_layer("source_embedding"))
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_sources_may_be_vectors() -> None:
    keras.utils.set_random_seed(5)
    tokenizer = SentencePieceTokenizer.train(["abcdefgh"], "char")
    model = zoo.build("listen_attend2016", target_tokenizer=tokenizer, preset="tiny", dropout=0.0)
    frames = np.random.default_rng(0).normal(size=[9, model.codec.source_size]).astype(np.float32)
    (found,) = gradient_norms(model, [(frames, "ab")])
    assert found.source_tokens == [str(s) for s in range(9)]
    assert found.source.shape == (3, 9)
    assert (found.source > 0).all()


def test_what_has_no_gradient_by_position_is_refused() -> None:
    model = copies()
    with pytest.raises(UserError, match="Received: MinimumRisk"):
        gradient_norms(model, [PAIR], MinimumRisk(samples=2))
    with pytest.raises(DataError, match="Received: no pairs"):
        gradient_norms(model, [])
    with pytest.raises(UserError, match="gradient norms"):
        gradient_norms(zoo.build("series2series", preset="tiny"), [(np.zeros([3, 1]), np.zeros([2, 1]))])
