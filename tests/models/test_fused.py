"""Fused layers train as Keras' own do: the same outputs, states and gradients, and the same weights in files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import fused

LENGTHS = [5, 2, 0, 4]
"""Of the rows of a batch; one is empty."""


def values(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(sum(shape)).normal(size=shape), tf.float32)


def trained(layer: keras.layers.Layer, states: int, masked: bool) -> dict[str, list[np.ndarray]]:
    """Run a layer in training from first states, as many as said, and differentiate a sum over all that it gives."""
    given = [values(4, 5, 3), *(values(4, 6 + i)[:, :6] for i in range(states))]
    mask = tf.sequence_mask(LENGTHS, 5) if masked else None

    @tf.function(autograph=False)
    def run() -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(given)
            made = layer(given[0], initial_state=given[1:] or None, mask=mask, training=True)
            total = sum(tf.reduce_sum(each * values(*each.shape)) for each in made)
        return made, tape.gradient(total, [*given, *(weight.value for weight in layer.weights)])

    made, gradients = run()
    return {"made": [each.numpy() for each in made], "gradients": [each.numpy() for each in gradients]}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("begin", ["zero", "given"])
@pytest.mark.parametrize("way", ["forward", "backward", "both"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_fused_layer_equals_the_one_of_keras(kind, way, begin, masked, monkeypatch):
    layer = getattr(fused, kind)(6, return_sequences=True, return_state=True, go_backwards=way == "backward")
    whole = keras.layers.Bidirectional(layer) if way == "both" else layer
    whole.build((None, None, 3))
    for i, weight in enumerate(whole.weights):
        weight.assign(values(*weight.shape) * 0.5 + 0.1 * i)
    states = {"zero": 0, "given": {"LSTM": 2, "GRU": 1}[kind] * (1 + (way == "both"))}[begin]
    plain = trained(whole, states, masked)
    runs, run_layer = [], fused.run_layer
    monkeypatch.setattr(fused, "run_layer", lambda *given: runs.append(given) or run_layer(*given))
    fused.set_fused(keras.Sequential([whole]), True)
    quick = trained(whole, states, masked)
    assert len(runs) == 1 + (way == "both")
    for name, expected in plain.items():
        for one, other in zip(quick[name], expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5, err_msg=name)
