"""Minimum risk: its costs, its gradient against the closed form, and that fine-tuning lowers it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from copy_models import START, copies, copy_task

from kerass2s import MinimumRisk, TokenCrossentropy, UserError, zoo
from kerass2s.decoders.base import Start
from kerass2s.decoding import StepOutput
from kerass2s.training import mismatch, token_error_rate
from kerass2s.training.risk import expected_cost

END = 3


class OneToken:
    """A decoder that says one token by the logits [B, 6] it is told, the end among them, and then the end."""

    def __init__(self, logits: Any) -> None:
        self.logits = tf.Variable(logits)

    def start(self) -> Start:
        """Begin at position 0; the memory is each row's logits."""
        position = tf.zeros([self.logits.shape[0], 1], tf.int32)
        return Start({"t": position}, {"logits": tf.convert_to_tensor(self.logits)})

    def step(self, ids: Any, state: Any, memory: Any, training: bool = False) -> StepOutput:
        """Say the token at step 0 and the end later."""
        assert not training
        over = tf.broadcast_to(60 * tf.one_hot(END, 6), tf.shape(memory["logits"]))
        return StepOutput(tf.where(state["t"] == 0, memory["logits"], over), {"t": state["t"] + 1})

    def sequence(self, ids: Any, start: Start, training: bool) -> Any:
        """Do the same for all positions."""
        first = start.memory["logits"][:, None]
        over = tf.broadcast_to(60 * tf.one_hot(END, 6), [len(ids), ids.shape[1] - 1, 6])
        return tf.concat([first, over], 1)


# === Costs ===


def test_costs_are_edit_distances() -> None:
    #                         equal       replaced   too long     empty      empty ref.
    hypotheses = tf.constant([[7, 8, 0], [7, 4, 0], [7, 8, 9], [0, 0, 0], [7, 8, 9]])
    references = tf.constant([[7, 8], [7, 8], [7, 8], [7, 8], [0, 0]])
    np.testing.assert_allclose(token_error_rate(hypotheses, references), [0, 0.5, 0.5, 1, 3])
    np.testing.assert_array_equal(mismatch(hypotheses, references), [0, 1, 1, 1, 1])


def test_the_worked_example() -> None:
    said = tf.constant([[7, 8, 9, 5], [7, 4, 9, 0], [7, 8, 0, 0]])
    costs = token_error_rate(said, tf.tile([[7, 8, 9, 5]], [3, 1]))
    assert float(expected_cost(tf.constant([[-1.0, -2.0, -3.0]]), costs[None], 1.0)) == pytest.approx(0.167, abs=5e-4)


# === Gradients ===


@pytest.mark.parametrize("alpha", [1.0, 0.2])
def test_over_all_outputs_the_gradient_is_the_closed_form(alpha: float) -> None:
    logits = tf.Variable([[0.3, -1.0, 0.8, 0.1], [2.0, 0.0, -0.5, 0.4]])
    costs = np.array([[0, 1, 0.5, 1], [1, 0.25, 1, 0]], np.float32)
    with tf.GradientTape() as tape:
        risk = expected_cost(tf.nn.log_softmax(logits), tf.constant(costs), alpha)
    q = tf.nn.softmax(alpha * logits).numpy()
    each = (q * costs).sum(1, keepdims=True)
    assert float(risk) == pytest.approx(each.mean(), abs=1e-6)
    # Of REINFORCE's form: the chance of an output, times how much worse than expected it is.
    np.testing.assert_allclose(tape.gradient(risk, logits), alpha * q * (costs - each) / 2, atol=1e-6)


def test_sampled_with_a_small_alpha_the_gradient_is_that_of_the_expected_cost() -> None:
    probabilities = np.array([[0, 0.1, 0, 0.2, 0.3, 0.4], [0, 0.4, 0, 0.1, 0.4, 0.1]], np.float32)
    decoder, alpha = OneToken(np.log(probabilities + 1e-12)), 0.01
    target = tf.constant([[START, 4], [START, 5]])  # saying 4, or 5, costs nothing
    feeding = MinimumRisk(mismatch, samples=20000, alpha=alpha, seed=1)
    with tf.GradientTape() as tape:
        risk = feeding.objective(decoder, target, decoder.start())
    costs = np.ones((2, 6), np.float32)
    costs[[0, 1], [4, 5]] = 0
    expected = (probabilities * costs).sum(1, keepdims=True)
    assert float(risk) == pytest.approx(expected.mean(), abs=0.02)
    found = tape.gradient(risk, decoder.logits) / alpha
    np.testing.assert_allclose(found, probabilities * (costs - expected) / 2, atol=0.01)


def test_samples_are_the_models_and_change_with_the_step() -> None:
    seen = []

    def cost(hypotheses: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
        seen.append((hypotheses.numpy(), references.numpy()))
        return token_error_rate(hypotheses, references)

    chances = tf.math.log([[0.25, 0.15, 0.25, 0.1, 0.05, 0.2], [1e-9, 1e-9, 1e-9, 1.0, 1e-9, 1e-9]])
    decoder, feeding = OneToken(chances), MinimumRisk(cost, samples=4000, seed=1)
    for step in (3, 3, 4):
        feeding.objective(decoder, tf.constant([[START, 4], [START, 0]]), decoder.start(), step)
    (first, references), (again, _), (later, _) = seen
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()
    shares = np.bincount(first[:4000, 0], minlength=6) / 4000
    np.testing.assert_allclose(shares, [0.2, 0.3, 0, 0, 0.1, 0.4], atol=0.03)  # PAD is where the end was said
    assert not first[4000:].any()
    assert not first[:, 1:].any()
    np.testing.assert_array_equal(references[[0, 4000]], [[4, 0], [0, 0]])


# === In fit ===


def test_fine_tuning_lowers_the_risk() -> None:
    model = copies()
    inputs, labels = copy_task(rows=64, length=2)
    model.compile(keras.optimizers.Adam(0.02), weighted_metrics=[])
    model.fit(inputs, labels, batch_size=32, epochs=15, verbose=0)
    model.compile(keras.optimizers.Adam(0.01), feeding=MinimumRisk(samples=12, seed=1), weighted_metrics=[])
    losses = model.fit(inputs, labels, batch_size=64, epochs=15, verbose=0).history["loss"]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


@pytest.mark.parametrize("name", ["transformer2017", "pointer_generator2017"])
def test_the_risk_reaches_the_weights_of_other_architectures(name: str) -> None:
    model = copies(name=name)
    inputs, _ = copy_task(rows=4)
    model.feeding = MinimumRisk(samples=5, alpha=1.0)

    @tf.function
    def run() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            model(inputs, training=True)
            risk = model.losses[0]
        return [risk, *map(tf.convert_to_tensor, tape.gradient(risk, model.trainable_variables))]

    risk, *gradients = run()
    assert 0 < float(risk) < 3
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.abs(gradient).sum() > 0 for gradient in gradients[:2])  # the encoder's


def test_the_compiled_loss_is_added_by_the_likelihood() -> None:
    model, likelihood = copies(), 0.25
    inputs, labels = copy_task(rows=6)
    model.compile(
        keras.optimizers.SGD(0.0), feeding=MinimumRisk(likelihood=likelihood, seed=2), weighted_metrics=["accuracy"]
    )
    crossentropy = float(TokenCrossentropy()(labels, model(inputs, training=False)))
    model(inputs, training=True)
    (risk,) = map(float, model.losses)
    whole = model.fit(inputs, labels, shuffle=False, verbose=0).history["loss"][0]
    assert whole == pytest.approx(likelihood * crossentropy + risk, abs=1e-5)
    assert model.evaluate(inputs, labels, verbose=0)[0] == pytest.approx(crossentropy, abs=1e-5)


# === Options ===


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinimumRisk("bleu"), "metric must be a function, .* Received: 'bleu'"),
        (lambda: MinimumRisk(samples=1), "at least 2: .* Received: 1"),
        (lambda: MinimumRisk(samples=2.5), "samples must be a whole number .* Received: 2.5"),
        (lambda: MinimumRisk(alpha=0), "alpha must be above 0. Received: 0"),
        (lambda: MinimumRisk(likelihood=-1), "likelihood must be at least 0. Received: -1"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_values_are_refused() -> None:
    model = zoo.build("series2series", preset="tiny")
    start = Start({}, {})
    with pytest.raises(UserError, match="MinimumRisk samples tokens. Received: a target of float32"):
        MinimumRisk().objective(model.decoder, tf.zeros([1, 2, 1]), start)


def test_it_is_serialised() -> None:
    feeding = MinimumRisk(mismatch, samples=3, alpha=0.5, likelihood=0.1)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(feeding))
    assert again.get_config() == feeding.get_config()
    assert again.metric is mismatch
