"""The transformer's parts against numbers computed by hand, its masks, and its cache."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s.decoders import TransformerDecoder
from kerass2s.decoders.base import Start
from kerass2s.elements import OneHotTokens, Tokens, Vectors
from kerass2s.encoders import TransformerEncoder
from kerass2s.errors import ConfigError
from kerass2s.positions import SinusoidalPositions, sinusoids
from kerass2s.transformer import CausalMask, MultiHeadAttention, Residual, ScaledDotProductAttention

SIZES = {"units": 8, "heads": 2, "feed_forward_units": 10, "layers": 2}


def encodings(batch: int = 2, length: int = 4) -> dict[str, tf.Tensor]:
    """What an encoder might say: random memory, the last row one shorter than the others."""
    mask = np.ones([batch, length], bool)
    mask[-1, -1] = False
    memory = np.random.default_rng(1).normal(size=[batch, length, 8]).astype(np.float32) * mask[..., None]
    return {"memory": tf.constant(memory), "memory_mask": tf.constant(mask)}


def decoder(**settings) -> TransformerDecoder:
    """A small decoder with weights large enough for differences to show."""
    made = TransformerDecoder(Tokens(9, 8), 8, **{**SIZES, **settings})
    for variable in made.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, stddev=0.4, seed=len(variable.path)))
    return made


# === Attention ===


def test_one_head_attends_as_computed_by_hand() -> None:
    query = np.array([[[[2.0, 0.0, 0.0, 2.0]]]], np.float32)
    keys = np.array([[[[1.0, 5.0, 5.0, 0.0], [0.0, 5.0, 5.0, 3.0]]]], np.float32)
    values = np.array([[[[1.0, 0.0], [0.0, 10.0]]]], np.float32)
    answer, alignment = ScaledDotProductAttention()(query, keys, values, np.ones([1, 1, 2], bool))
    # scores: 2 and 6, over sqrt(4): 1 and 3
    first = np.e / (np.e + np.e**3)
    np.testing.assert_allclose(alignment[0, 0, 0], [first, 1 - first], atol=1e-6)
    np.testing.assert_allclose(answer[0, 0, 0], [first, 10 * (1 - first)], atol=1e-5)


def test_heads_see_their_own_share_of_the_units() -> None:
    attention = MultiHeadAttention(4, 2)
    generator = np.random.default_rng(0)
    query, memory = generator.normal(size=[2, 3, 4]), generator.normal(size=[2, 5, 6])
    mask = np.array([[[True] * 5], [[True, True, False, False, False]]])
    keys, values = attention.project(memory)
    found, alignment = attention(query, keys, values, mask)
    wq, wk, wv, wo = (
        np.asarray(getattr(attention, f"{role}_projection").kernel) for role in ("query", "key", "value", "output")
    )
    heads, weights = [], []
    for share in (slice(0, 2), slice(2, 4)):
        scores = (query @ wq[:, share]) @ (memory @ wk[:, share]).transpose(0, 2, 1) / np.sqrt(2)
        powers = np.exp(scores) * mask
        weights.append(powers / powers.sum(-1, keepdims=True))
        heads.append(weights[-1] @ (memory @ wv[:, share]))
    np.testing.assert_allclose(found, np.concatenate(heads, -1) @ wo, atol=1e-5)
    np.testing.assert_allclose(alignment, np.mean(weights, 0), atol=1e-6)


def test_heads_that_do_not_share_evenly_are_refused() -> None:
    with pytest.raises(ConfigError, match="Received: 3"):
        MultiHeadAttention(8, 3)


def test_the_causal_mask() -> None:
    mask = CausalMask()(np.zeros([1, 2, 4], np.float32), np.zeros([1, 1, 4], np.float32))
    np.testing.assert_array_equal(mask, [[[True, True, False], [True, True, True]]])


# === Positions ===


@pytest.mark.parametrize("units", [6, 7])
def test_sinusoids_are_the_formula(units: int) -> None:
    found = np.asarray(sinusoids(np.arange(300), units))
    for position in (0, 1, 17, 299):
        for i in range(units):
            angle = position / 10000 ** (i // 2 * 2 / units)
            assert found[position, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=2e-5)


def test_positions_go_on_after_a_cache() -> None:
    vectors = np.zeros([1, 9, 6], np.float32)
    layer = SinusoidalPositions()
    np.testing.assert_array_equal(layer(vectors[:, :5], vectors[:, :4]), layer(vectors)[:, 4:])


# === Residuals ===


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_residual_normalises_after_or_before(norm: str) -> None:
    vectors = np.array([[[1.0, 2.0, 6.0]]], np.float32)

    def normal(values: np.ndarray) -> np.ndarray:
        return (values - values.mean()) / values.std()

    found = Residual(norm, 0.0, "part")(vectors, lambda given: 10 * given)
    expected = normal(11 * vectors) if norm == "post" else vectors + 10 * normal(vectors)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ConfigError, match="post, pre"):
        TransformerEncoder(Tokens(9, 8), **SIZES, norm="both")


# === Encoder and decoder ===


def test_a_source_of_vectors_is_mapped_to_the_units() -> None:
    encoder = TransformerEncoder(Vectors(3), **SIZES)
    values = np.random.default_rng(0).normal(size=[2, 5, 3]).astype(np.float32)
    made = encoder({"source_values": values, "source_lengths": np.array([5, 2], np.int32)})
    assert made["memory"].shape == (2, 5, 8)
    assert not np.asarray(made["memory"])[1, 2:].any()
    np.testing.assert_allclose(made["summary"][1], np.asarray(made["memory"])[1, :2].mean(0), atol=1e-6)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_later_token_changes_no_earlier_logit(norm: str) -> None:
    made = decoder(norm=norm)
    start = made.begin(encodings())
    target = np.array([[2, 4, 5, 6, 7]] * 2, np.int32)
    changed = target.copy()
    changed[:, 3] = 8
    before, after = (made.sequence(tf.constant(ids), start).numpy() for ids in (target, changed))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (np.abs(before - after)[:, 3:].max(-1) > 1e-3).all()


def test_a_sequence_goes_on_from_a_cache() -> None:
    made = decoder()
    start = made.begin(encodings())
    target = tf.constant([[2, 4, 5, 6, 7], [2, 8, 8, 4, 3]])
    whole = made.sequence(target, start).numpy()
    state = start.state
    for position in range(3):
        assert {name: tuple(value.shape) for name, value in state.items()} == dict.fromkeys(state, (2, position, 8))
        state = made.step(target[:, position], state, start.memory).state
    rest = made.sequence(target[:, 3:], Start(state, start.memory)).numpy()
    np.testing.assert_allclose(rest, whole[:, 3:], atol=1e-5)


def test_keys_of_the_memory_are_made_once() -> None:
    made = decoder()
    start = made.begin(encodings())
    expected = {"memory_mask", *(f"memory_{part}_{i}" for part in ("keys", "values") for i in range(2))}
    assert set(start.memory) == expected
    assert "memory" not in made.input


def test_the_alignment_is_the_mean_of_the_last_layers_heads() -> None:
    made = decoder(layers=1, heads=2)
    start = made.begin(encodings())
    found = made.step(tf.constant([2, 2]), start.state, start.memory).alignment.numpy()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert found[1, 3] == 0


def test_tied_logits_use_the_embedding() -> None:
    made = decoder()
    start = made.begin(encodings())
    table = made.get_layer("target_embedding").embeddings
    before = made.sequence(tf.constant([[2], [2]]), start).numpy()
    assert [variable.shape for variable in made.trainable_variables].count((9, 8)) == 1
    table.assign(np.concatenate([table[:8], 3 * table[8:]]))
    after = made.sequence(tf.constant([[2], [2]]), start).numpy()
    np.testing.assert_allclose(after[..., 8], 3 * before[..., 8], rtol=1e-4)
    np.testing.assert_array_equal(after[..., :8], before[..., :8])


@pytest.mark.parametrize("elements", [OneHotTokens(8), Vectors(8)])
def test_only_an_embedding_can_be_tied(elements: object) -> None:
    with pytest.raises(ConfigError, match="learned embedding"):
        TransformerDecoder(elements, 8, **SIZES)


def test_a_tied_embedding_must_be_as_wide_as_the_decoder() -> None:
    with pytest.raises(ConfigError, match="as wide as what is read out of the decoder, 8"):
        TransformerDecoder(Tokens(9, 6), 8, **SIZES)


def test_a_target_of_vectors_is_predicted_as_vectors() -> None:
    made = TransformerDecoder(Vectors(3), 8, **SIZES, tie_embeddings=False)
    start = made.begin(encodings())
    target = tf.constant(np.random.default_rng(2).normal(size=[2, 4, 3]).astype(np.float32))
    whole, state = made.sequence(target, start).numpy(), start.state
    for position in range(4):
        prediction, state, _ = made.step(target[:, position], state, start.memory)
        np.testing.assert_allclose(prediction, whole[:, position], atol=1e-5)


def test_dropout_is_for_training_alone() -> None:
    made = decoder(dropout=0.5)
    start = made.begin(encodings())
    target = tf.constant([[2, 4], [2, 5]])
    plain = made.sequence(target, start).numpy()
    np.testing.assert_array_equal(made.sequence(target, start).numpy(), plain)
    assert np.abs(made.sequence(target, start, training=True).numpy() - plain).max() > 0.01
    first = made.step(target[:, 0], start.state, start.memory, training=True).prediction
    assert np.abs(first.numpy() - plain[:, 0]).max() > 0.01
