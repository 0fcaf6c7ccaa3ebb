"""The convolutional model's parts against numbers computed by hand, what each position sees, and its state."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s.convolution import GatedConvolution, ScaledSum
from kerass2s.decoders import ConvolutionalDecoder
from kerass2s.decoders.base import Start
from kerass2s.decoders.convolutional import RescaledDotAttention
from kerass2s.elements import Tokens, Vectors
from kerass2s.encoders import ConvolutionalEncoder
from kerass2s.encoders.convolutional import ScaleGradient
from kerass2s.positions import LearnedPositions

SIZES = {"units": 10, "layers": 2, "kernel_size": 3, "max_positions": 8}


def large(model: keras.Model) -> keras.Model:
    """The model with weights large enough for differences to show."""
    for variable in model.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, stddev=0.4, seed=len(variable.path)))
    return model


def encoder(**settings) -> ConvolutionalEncoder:
    """A small encoder."""
    return large(ConvolutionalEncoder(Tokens(9, 6), **{**SIZES, **settings}))


def decoder(**settings) -> ConvolutionalDecoder:
    """A small decoder for that encoder."""
    return large(ConvolutionalDecoder(Tokens(9, 6), 6, **{**SIZES, **settings}))


def encodings() -> dict[str, tf.Tensor]:
    """The encodings of two sources."""
    return encoder()({"source_ids": np.array([[4, 5, 6, 7, 3], [5, 4, 3, 0, 0]], np.int32)})


# === Parts ===


def test_a_gated_convolution_by_hand() -> None:
    layer = GatedConvolution(1, 2, "valid")
    layer(np.zeros([1, 2, 1], np.float32))
    layer.convolution.kernel.assign([[[1.0, 0.0]], [[2.0, 1.0]]])
    found = layer(np.array([[[3.0], [4.0], [-1.0]]], np.float32))

    def sigmoid(value: float) -> float:
        return 1 / (1 + np.exp(-value))

    np.testing.assert_allclose(np.ravel(found), [(3 + 8) * sigmoid(4), (4 - 2) * sigmoid(-1)], atol=1e-6)


def test_a_gated_convolution_starts_by_keeping_the_variance() -> None:
    vectors = np.random.default_rng(0).normal(size=[4, 200, 64]).astype(np.float32)
    for _ in range(3):
        vectors = np.asarray(ScaledSum()(GatedConvolution(64, 3, "same")(vectors), vectors))
    assert 0.5 < vectors.var() < 2


def test_attention_by_hand() -> None:
    query = np.array([[[1.0, 2.0]]], np.float32)
    keys = np.array([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]], np.float32)
    values = keys + np.array([[[10.0, 0.0], [0.0, 20.0], [9.0, 9.0]]], np.float32)
    context, alignment = RescaledDotAttention(2)(query, keys, values, np.array([[True, True, False]]))
    first = np.e / (np.e + np.e**2)  # scores 1 and 2
    np.testing.assert_allclose(alignment[0, 0], [first, 1 - first, 0], atol=1e-6)
    np.testing.assert_allclose(context[0, 0], np.sqrt(2) * np.array([11 * first, 21 * (1 - first)]), rtol=1e-5)


def test_the_gradient_is_scaled_and_the_value_is_not() -> None:
    values = tf.constant([1.1, -2.7, 3e8])
    with tf.GradientTape() as tape:
        tape.watch(values)
        same = ScaleGradient(0.125)(values)
    np.testing.assert_array_equal(same, values)
    np.testing.assert_array_equal(tape.gradient(same, values), [0.125] * 3)


def test_positions_beyond_the_table_share_its_last_row() -> None:
    layer = LearnedPositions(3)
    added = np.asarray(layer(np.zeros([1, 5, 2], np.float32)))[0]
    np.testing.assert_array_equal(added, np.asarray(layer.table)[[0, 1, 2, 2, 2]])
    later = np.asarray(layer(np.zeros([2, 2, 2], np.float32), np.array([0, 1], np.int32)))
    np.testing.assert_array_equal(later, np.asarray(layer.table)[[[0, 1], [1, 2]]])


# === Encoder ===


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
def test_padding_changes_nothing(kernel_size: int) -> None:
    made = encoder(kernel_size=kernel_size)
    ids = np.array([[4, 5, 3], [5, 3, 0]], np.int32)
    plain, wide = made({"source_ids": ids}), made({"source_ids": np.pad(ids, ((0, 0), (0, 6)))})
    for name in ("memory", "memory_values"):
        np.testing.assert_allclose(wide[name][:, :3], plain[name], atol=1e-5)
        assert not np.asarray(wide[name])[:, 3:].any()
    np.testing.assert_allclose(wide["summary"], plain["summary"], atol=1e-5)


def test_a_position_sees_its_neighbours_and_no_further() -> None:
    made = encoder()
    ids = np.full([1, 11], 4, np.int32)
    changed = ids.copy()
    changed[0, 5] = 7
    before, after = (np.asarray(made({"source_ids": each})["memory"])[0] for each in (ids, changed))
    seen = np.abs(before - after).max(-1) > 0
    np.testing.assert_array_equal(seen, [abs(position - 5) <= 2 for position in range(11)])  # 2 layers of width 3


def test_the_values_are_the_encodings_and_the_embeddings() -> None:
    made = encoder()
    ids = np.array([[4, 5, 3]], np.int32)
    context = made({"source_ids": ids})
    embedded = made.get_layer("source_embedding")(ids) + np.asarray(made.get_layer("source_positions").table)[:3]
    np.testing.assert_allclose(context["memory_values"] - context["memory"], embedded, atol=1e-5)


def test_a_source_of_vectors() -> None:
    made = ConvolutionalEncoder(Vectors(3), **SIZES)
    values = np.random.default_rng(0).normal(size=[2, 5, 3]).astype(np.float32)
    context = made({"source_values": values, "source_lengths": np.array([5, 2], np.int32)})
    assert context["memory"].shape == (2, 5, 3)
    assert not np.asarray(context["memory_values"])[1, 2:].any()


# === Decoder ===


def test_a_later_token_changes_no_earlier_logit() -> None:
    made = decoder()
    start = made.begin(encodings())
    target = np.array([[2, 4, 5, 6, 7]] * 2, np.int32)
    changed = target.copy()
    changed[:, 3] = 8
    before, after = (made.sequence(tf.constant(ids), start).numpy() for ids in (target, changed))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (np.abs(before - after)[:, 3:].max(-1) > 1e-4).all()


@pytest.mark.parametrize("settings", [{}, {"kernel_size": 1}, {"kernel_size": 4}, {"layers": 1}], ids=str)
def test_steps_equal_the_sequence_and_a_sequence_goes_on_from_them(settings: dict) -> None:
    made = decoder(**settings)
    start = made.begin(encodings())
    target = tf.constant(np.random.default_rng(0).integers(3, 9, [2, 12]).astype(np.int32))  # longer than the table
    whole, state = made.sequence(target, start).numpy(), start.state
    for position in range(10):
        prediction, state, _ = made.step(target[:, position], state, start.memory)
        np.testing.assert_allclose(prediction, whole[:, position], atol=1e-5)
    np.testing.assert_array_equal(state["position"], [10, 10])
    rest = made.sequence(target[:, 10:], Start(state, start.memory)).numpy()
    np.testing.assert_allclose(rest, whole[:, 10:], atol=1e-5)


def test_the_alignment_is_the_mean_of_the_layers() -> None:
    made = decoder()
    start = made.begin(encodings())
    found = made.step(tf.constant([2, 2]), start.state, start.memory).alignment.numpy()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert not found[1, 3:].any()
