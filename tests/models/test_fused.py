"""Fused layers train as Keras' own do: the same outputs, states and gradients, and the same weights in files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerass2s
from kerass2s import fused, zoo
from kerass2s.text import SentencePieceTokenizer

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


PAIRS = [("abc", "x y z"), ("ab", "x y"), ("cab", "z x y"), ("b", "y")]


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, SentencePieceTokenizer]:
    texts = list(zip(*PAIRS, strict=True))
    kinds = {"source_tokenizer": "char", "target_tokenizer": "word"}
    return {
        name: SentencePieceTokenizer.train(list(text), kind=kinds[name])
        for name, text in zip(kinds, texts, strict=True)
    }


def fitted(tokenizers: dict[str, SentencePieceTokenizer], optimizer=None, **options) -> kerass2s.Seq2Seq:
    keras.utils.set_random_seed(3)
    model = zoo.build("luong2015", preset="tiny", **tokenizers)
    model.compile(optimizer or keras.optimizers.SGD(0.5), **options)
    model.fit(PAIRS, epochs=3, verbose=0)
    return model


def test_a_model_trains_to_the_same_weights_with_and_without(tokenizers, tmp_path):
    quick, plain = fitted(tokenizers, fused=True), fitted(tokenizers)
    for one, other in zip(quick.weights, plain.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5, err_msg=one.path)
    quick.save(tmp_path / "quick.keras")
    reloaded = keras.models.load_model(tmp_path / "quick.keras")
    assert reloaded.fused and not plain.fused
    assert all(layer.fused for layer in reloaded._flatten_layers() if isinstance(layer, fused.LSTM))


OPTIMIZERS = {
    "schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 1, 0.5), epsilon=1e-3),
    "clipped": lambda: keras.optimizers.AdamW(0.01, global_clipnorm=0.1, epsilon=1e-3),
    "averaged": lambda: keras.optimizers.SGD(0.5, use_ema=True, ema_overwrite_frequency=2),
    "accumulated": lambda: keras.optimizers.SGD(0.5, gradient_accumulation_steps=2),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_compiled_update_is_that_of_the_optimizer(name, tokenizers, monkeypatch):
    compiled = []
    asked = kerass2s.Seq2Seq._updates_compiled
    monkeypatch.setattr(
        kerass2s.Seq2Seq, "_updates_compiled", lambda self: compiled.append(asked(self)) or compiled[-1]
    )
    quick, plain = fitted(tokenizers, OPTIMIZERS[name](), fused=True), fitted(tokenizers, OPTIMIZERS[name]())
    assert compiled and compiled[0] and not compiled[-1]
    for one, other in zip(quick.optimizer.variables, plain.optimizer.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5, err_msg=one.path)
    for one, other in zip(quick.weights, plain.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5, err_msg=one.path)


def test_updates_of_large_weights_and_eager_ones_are_not_compiled(tokenizers, monkeypatch):
    model = fitted(tokenizers, fused=True, run_eagerly=True)
    assert not model._updates_compiled()
    traced = tf.function(lambda: tf.constant(model._updates_compiled()), autograph=False)
    assert traced()
    monkeypatch.setattr("kerass2s.seq2seq.COMPILED", 10)
    assert not tf.function(lambda: tf.constant(model._updates_compiled()), autograph=False)()


def test_weights_of_kerass_own_layers_load_into_these_and_back(tmp_path):
    def stack(lstm: type, gru: type) -> keras.Model:
        inputs = keras.Input((None, 3))
        read = keras.layers.Bidirectional(lstm(4, return_sequences=True, name="reader"), name="both")(inputs)
        return keras.Model(inputs, gru(5, name="top")(read))

    ours, theirs = stack(fused.LSTM, fused.GRU), stack(keras.layers.LSTM, keras.layers.GRU)
    for giver, taker in ((ours, theirs), (theirs, ours)):
        for weight in giver.weights:
            weight.assign(weight + 1)
        giver.save_weights(tmp_path / "a.weights.h5")
        taker.load_weights(tmp_path / "a.weights.h5")
        for one, other in zip(giver.weights, taker.weights, strict=True):
            assert one.path.split("/")[1:] == other.path.split("/")[1:]
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_inputs_that_do_not_know_their_width_are_run():
    layer = fused.LSTM(6, return_sequences=True)
    layer.build((None, None, 3))
    inputs = values(4, 5, 3)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None])], autograph=False)
    def run(given: tf.Tensor) -> tf.Tensor:
        return layer(given, training=True)

    layer.fused = True
    np.testing.assert_allclose(run(inputs), layer(inputs, training=False), atol=1e-6)


def test_an_eager_run_can_be_differentiated_twice():
    layer = fused.LSTM(6, return_sequences=True)
    layer.build((None, None, 3))
    inputs, mask = values(4, 5, 3), tf.sequence_mask(LENGTHS, 5)
    found = []
    for layer.fused in (True, False):
        with tf.GradientTape(persistent=True) as tape:
            made = layer(inputs, mask=mask, training=True)
            totals = [tf.reduce_sum(made[:, t] ** 2) for t in (1, 4)]
        found.append([tape.gradient(total, layer.cell.kernel.value).numpy() for total in totals])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_in_bfloat16_the_gradients_are_nearer_to_float32_than_those_of_keras():
    inputs, errors = values(4, 5, 3), {}
    for policy in ("float32", "mixed_bfloat16"):
        layer = fused.LSTM(6, return_sequences=True, return_state=True, dtype=policy)
        layer.build((None, None, 3))
        for weight in layer.weights:
            weight.assign(values(*weight.shape))
        for quick in (False, True):
            layer.fused = quick
            with tf.GradientTape() as tape:
                made = layer(tf.cast(inputs, layer.compute_dtype), training=True)
                total = sum(tf.reduce_sum(tf.cast(each, tf.float32)) for each in made)
            gradients = tape.gradient(total, [weight.value for weight in layer.weights])
            errors[policy, quick] = np.concatenate([each.numpy().ravel() for each in gradients])
    exact = errors["float32", False]
    plain, quick = (np.abs(errors["mixed_bfloat16", way] - exact).mean() for way in (False, True))
    assert quick < plain
