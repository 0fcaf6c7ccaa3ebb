"""Recurrent layers as native ONNX nodes: they equal masked Keras layers, with no Loop and no sequence_lens."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx.reference import ReferenceEvaluator

from kerass2s.errors import ExportError
from kerass2s.export.conversion import to_onnx
from kerass2s.export.onnx import session
from kerass2s.export.recurrent import portable_encoder

IDS = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [0, 0, 0, 0, 0], [2, 0, 0, 0, 0]], np.int32)
RANDOM = {"bias_initializer": "random_normal", "kernel_initializer": keras.initializers.RandomNormal(0, 0.7, seed=1)}


def encoder_of(*layers: keras.layers.Layer, residual: bool = False, masked: bool = True) -> keras.Model:
    """Stacks recurrent layers over an embedding; outputs `outputs` (zero at padding) and each final state."""
    source_ids = keras.Input([None], dtype="int32", name="source_ids")
    mask = keras.ops.not_equal(source_ids, 0)
    hidden, outputs = keras.layers.Embedding(9, 4, embeddings_initializer="random_normal")(source_ids), {}
    for i, layer in enumerate(layers):
        result, *states = layer(hidden, mask=mask) if masked else layer(hidden)
        outputs |= {f"state_{i}_{j}": state for j, state in enumerate(states)}
        hidden = hidden + result if residual and i else result
    if len(hidden.shape) == 3 and masked:
        hidden = hidden * keras.ops.cast(mask, "float32")[:, :, None]
    return keras.Model(source_ids, {"outputs": hidden, **outputs})


def convert(encoder: keras.Model) -> onnx.ModelProto:
    """Converts the portable form of an encoder."""
    return to_onnx(portable_encoder(encoder), [tf.TensorSpec([None, None], tf.int32, name="source_ids")])


def assert_equal(encoder: keras.Model, model: onnx.ModelProto, ids: np.ndarray) -> None:
    runtime = session(model.SerializeToString())
    names = [output.name for output in runtime.get_outputs()]
    given = dict(zip(names, runtime.run(names, {"source_ids": ids}), strict=True))
    expected = {name: value.numpy() for name, value in encoder(ids).items()}
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(given[name], value, atol=1e-5, err_msg=name)


def layer_of(kind: str, direction: str, **options: Any) -> keras.layers.Layer:
    make = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[kind]
    options = {"return_sequences": True, "return_state": True, **RANDOM, **options}
    if direction == "bidirectional":
        return keras.layers.Bidirectional(make(3, **options))
    return make(3, go_backwards=direction == "reverse", **options)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_one_native_node_equals_the_masked_layer(kind: str, direction: str):
    encoder = encoder_of(layer_of(kind, direction))
    model = convert(encoder)
    onnx.checker.check_model(model, full_check=True)
    (node,) = [node for node in model.graph.node if node.op_type in ("LSTM", "GRU")]
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert node.op_type == kind.upper()
    assert attributes["direction"] == direction.encode()
    assert len(node.input) == 4 or not node.input[4], "sequence_lens is what some runtimes ignore"
    assert not {"Loop", "Scan", "If"} & {node.op_type for node in model.graph.node}
    if direction != "reverse":  # Keras turns its padded outputs to the front there, where the mask does not look
        assert_equal(encoder, model, IDS)
    assert_equal(encoder, model, IDS[1:2])
    assert_equal(encoder, model, IDS[:1, :1])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_final_states_of_a_lone_reverse_layer(kind: str):
    layer = layer_of(kind, "reverse")
    encoder = encoder_of(layer)
    states_only = keras.Model(encoder.input, {k: v for k, v in encoder.output.items() if k != "outputs"})
    assert_equal(states_only, convert(states_only), IDS)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_stacked_bidirectional_and_residual(kind: str):
    encoder = encoder_of(*(layer_of(kind, "bidirectional") for _ in range(3)), residual=True)
    model = convert(encoder)
    assert [node.op_type for node in model.graph.node].count(kind.upper()) == 3
    assert_equal(encoder, model, IDS)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_other_runtimes_need_no_sequence_lens(kind: str):
    encoder = encoder_of(layer_of(kind, "forward"))
    model = convert(encoder)
    evaluator = ReferenceEvaluator(model)  # ignores sequence_lens, silently
    with np.errstate(over="ignore"):  # its sigmoid of a closed gate: 1 / (1 + inf) is the 0 that it should be
        given = dict(zip(evaluator.output_names, evaluator.run(None, {"source_ids": IDS}), strict=True))
    for name, value in encoder(IDS).items():
        np.testing.assert_allclose(given[name], value.numpy(), atol=1e-5, err_msg=name)


@pytest.mark.parametrize("mode", ["sum", "ave", "mul"])
def test_merge_modes(mode: str):
    layer = keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True, return_state=True), merge_mode=mode)
    encoder = encoder_of(layer)
    assert_equal(encoder, convert(encoder), IDS)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_without_the_sequence(kind: str, direction: str):
    encoder = encoder_of(layer_of(kind, direction, return_sequences=False))
    assert_equal(encoder, convert(encoder), IDS)


def test_without_a_mask():
    encoder = encoder_of(layer_of("lstm", "bidirectional"), masked=False)
    assert_equal(encoder, convert(encoder), IDS)


def test_without_a_bias():
    encoder = encoder_of(layer_of("gru", "forward", use_bias=False), layer_of("lstm", "forward", use_bias=False))
    assert_equal(encoder, convert(encoder), IDS)


def test_gru_that_resets_before_its_product():
    encoder = encoder_of(layer_of("gru", "bidirectional", reset_after=False))
    assert_equal(encoder, convert(encoder), IDS)


def test_the_encoder_is_left_as_it_was():
    encoder = encoder_of(layer_of("gru", "bidirectional"))
    before = {name: value.numpy() for name, value in encoder(IDS).items()}
    portable_encoder(encoder)
    assert len(encoder.weights) == 7
    for name, value in encoder(IDS).items():
        np.testing.assert_array_equal(value.numpy(), before[name])


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.LSTM(3, activation="relu", return_sequences=True, return_state=True),
        keras.layers.GRU(3, recurrent_activation="tanh", return_sequences=True, return_state=True),
        keras.layers.SimpleRNN(3, return_sequences=True, return_state=True),
        keras.layers.Bidirectional(keras.layers.SimpleRNN(3, return_sequences=True, return_state=True)),
    ],
    ids=lambda layer: layer.name,
)
def test_what_the_operator_does_not_compute_is_refused(layer: keras.layers.Layer):
    with pytest.raises(ExportError, match=r"Received: "):
        portable_encoder(encoder_of(layer))
