"""Truncated back-propagation through time: the same predictions, and a gradient that goes back to the cut alone."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from copy_models import START, copies, copy_task

from kerass2s import (
    ConstantDecay,
    FreeRunning,
    MinimumRisk,
    ScheduledSampling,
    Seq2Seq,
    TeacherForcing,
    TruncatedBackPropagation,
    TwoPass,
)
from kerass2s.decoders.base import Start
from kerass2s.errors import ConfigError
from kerass2s.recipes import build, load
from kerass2s.training import Feeding
from kerass2s.training.truncation import _CutDecoder

ENTRIES = [
    ("sutskever2014", {}),
    ("cho2014", {}),
    ("luong2015", {}),
    ("luong2015", {"input_feeding": True, "decoder_layers": 2}),
    ("bahdanau2015", {}),
    ("gnmt2016", {}),
    ("pointer_generator2017", {}),
    ("hard_monotonic2019", {}),
]
TARGET = [START, 7, 8, 9, 5]  # as in the docstring's example
LABELS = [7, 8, 9, 5, 6]
INPUTS = {"source_ids": np.array([[4, 5, 6, 3]], np.int32), "target_ids": np.array([TARGET], np.int32)}


@pytest.fixture(scope="module", params=ENTRIES, ids=lambda entry: "-".join(map(str, (entry[0], *entry[1]))))
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    """A tiny model with weights large enough for gradients to show."""
    name, settings = request.param
    model = copies(name=name, **settings)
    for index, variable in enumerate(model.trainable_variables):
        variable.assign(keras.random.normal(variable.shape, stddev=0.3, seed=index))
    return model


def losses(model: Seq2Seq, feeding: Feeding) -> tf.Tensor:
    """The loss of each of the five positions."""
    model.feeding = feeding
    return tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, model(INPUTS, training=True)[0])


def gradients(model: Seq2Seq, feeding: Feeding, variables: list[Any], position: int | None = None) -> list[np.ndarray]:
    """The gradient of one position's loss, from 1 on, or of their sum; zeros where there is none."""
    with tf.GradientTape() as tape:
        each = losses(model, feeding)
        loss = tf.reduce_sum(each) if position is None else each[position - 1]
    found = tape.gradient(loss, variables, unconnected_gradients="zero")
    return [tf.convert_to_tensor(gradient).numpy() for gradient in found]


def reached(model: Seq2Seq, feeding: Feeding, position: int) -> list[int]:
    """The positions whose input's embedding has a gradient from the loss of one; each input is another token."""
    (table,) = gradients(model, feeding, model.decoder.get_layer("target_embedding").trainable_variables, position)
    return [place + 1 for place, token in enumerate(TARGET) if table[token].any()]


# === Every recurrent decoder ===


def test_predictions_are_those_of_the_feeding_alone(model: Seq2Seq) -> None:
    whole, cut, uncut = (
        losses(model, feeding).numpy()
        for feeding in (TeacherForcing(), TruncatedBackPropagation(2), TruncatedBackPropagation(100))
    )
    np.testing.assert_array_equal(cut, uncut)
    np.testing.assert_allclose(cut, whole, atol=1e-5)


def test_a_k_of_the_targets_length_cuts_nothing(model: Seq2Seq) -> None:
    variables = model.trainable_variables
    found, expected, cut = (
        gradients(model, feeding, variables)
        for feeding in (TruncatedBackPropagation(5), TeacherForcing(), TruncatedBackPropagation(4))
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert max(np.abs(one - other).max() for one, other in zip(cut, expected, strict=True)) > 1e-3


@pytest.mark.parametrize("position", [2, 4, 5])
def test_the_loss_reaches_back_to_the_cut(model: Seq2Seq, position: int) -> None:
    everything = [*range(1, position + 1)]
    assert reached(model, TeacherForcing(), position) == everything
    wanted = {2: [1, 2], 4: [3, 4], 5: [5]}[position]  # the docstring's example
    assert reached(model, TruncatedBackPropagation(2), position) == wanted
    assert reached(model, TruncatedBackPropagation(1), position) == [position]


# === What is kept and what is cut ===


def of_encoder(model: Seq2Seq, feeding: Feeding, position: int) -> bool:
    """Whether the loss of a position reaches the encoder."""
    return any(gradient.any() for gradient in gradients(model, feeding, model.encoder.trainable_variables, position))


@pytest.mark.parametrize("name", ["cho2014", "luong2015", "bahdanau2015"])
def test_context_and_memory_are_not_cut(name: str) -> None:
    assert of_encoder(copies(name=name), TruncatedBackPropagation(2), 5)


def test_without_them_what_is_beyond_the_cut_teaches_the_encoder_nothing() -> None:
    model = copies(name="sutskever2014")
    reaches = [of_encoder(model, TruncatedBackPropagation(2), position) for position in range(1, 6)]
    assert reaches == [True, True, False, False, False]
    assert of_encoder(model, TeacherForcing(), 5)


def test_what_is_fed_is_cut_with_the_state() -> None:
    """Values and mixtures of tokens carry a gradient of their own from step to step."""
    for feeding in (FreeRunning(), ScheduledSampling(ConstantDecay(0), "soft", seed=1)):
        name = "series2series" if isinstance(feeding, FreeRunning) else "sutskever2014"
        model = copies(name=name)
        values = isinstance(feeding, FreeRunning)
        target = tf.random.normal([1, 4, model.codec.target_size]) if values else tf.constant([TARGET[:4]])
        context = {"summary": tf.random.normal([1, model.decoder._graphs.start.input["summary"].shape[-1]])}
        for steps, reaches in ((2, False), (4, True)):
            with tf.GradientTape() as tape:
                tape.watch(context)
                fed = TruncatedBackPropagation(steps, feeding)(model.decoder, target, model.decoder.begin(context))
                loss = tf.reduce_sum(fed[:, 2] ** 2)
            gradient = tape.gradient(loss, context["summary"], unconnected_gradients="zero")
            assert gradient.numpy().any() == reaches


def test_rows_of_a_batch_are_cut_alike_and_in_a_graph() -> None:
    model = copies()
    inputs, labels = copy_task(3)
    model.compile(keras.optimizers.SGD(0.1), feeding=TruncatedBackPropagation(2), run_eagerly=False)
    before = model.evaluate(inputs, labels, verbose=0)[0]
    history = model.fit(inputs, labels, epochs=3, verbose=0).history["loss"]
    assert history[0] == pytest.approx(before, abs=1e-4)  # teacher forced, and without dropout
    assert history[-1] < history[0]


# === Around another feeding ===


def test_the_feeding_inside_is_what_it_was() -> None:
    model = copies()
    inner = ScheduledSampling(ConstantDecay(0.3), "argmax", seed=4)
    for feeding in (inner, TwoPass(ConstantDecay(0.3), seed=4)):
        found, expected = (losses(model, each).numpy() for each in (TruncatedBackPropagation(2, feeding), feeding))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert float(TruncatedBackPropagation(2, inner).report(7)["sampling_probability"]) == pytest.approx(0.7)


def test_an_objective_is_cut_too() -> None:
    model, (inputs, _) = copies(name="sutskever2014"), copy_task(2)
    risk = MinimumRisk(samples=2, seed=3)
    start = model.decoder.begin(model.encoder({"source_ids": inputs["source_ids"]}))
    found, expected = (
        each.objective(model.decoder, inputs["target_ids"], start) for each in (TruncatedBackPropagation(2, risk), risk)
    )
    assert TruncatedBackPropagation(2, risk).likelihood == risk.likelihood
    assert float(found) == pytest.approx(float(expected), abs=1e-5)


def test_it_is_kept_with_its_feeding() -> None:
    made = TruncatedBackPropagation(3, ScheduledSampling(ConstantDecay(0.3), seed=4))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert again.steps == 3 and isinstance(again.feeding, ScheduledSampling)
    assert again.get_config() == made.get_config()
    assert isinstance(TruncatedBackPropagation(3).feeding, TeacherForcing)


def test_a_recipe_names_it() -> None:
    inner = "{name: scheduled_sampling, decay: {name: linear, c: 0.1}}"
    sets = [f"feeding={{name: truncated_back_propagation, steps: 20, feeding: {inner}}}", "seed=4"]
    feeding = build.feeding(load("g2p_luong2015", sets))
    assert feeding.steps == 20 and feeding.feeding.seed == 4 and feeding.feeding.decay.c == 0.1
    with pytest.raises(ConfigError, match=r"`feeding\.feeding\.name` must be one of"):
        build.feeding(load("g2p_luong2015", ["feeding={name: truncated_back_propagation, steps: 2, feeding: {a: 1}}"]))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="steps must be a whole number from 1 to"):
        TruncatedBackPropagation(0)
    with pytest.raises(ConfigError, match=r"feeding must be a Feeding, such as TeacherForcing\(\)\. Received: 'free'"):
        TruncatedBackPropagation(2, "free")


def test_what_is_not_trained_runs_all_positions_at_once():
    class Whole:
        def sequence(self, target: str, start: Start, training: bool = False) -> tuple[str, Start, bool]:
            return target, start, training

    start = Start({"carried": "state", "age": "none"}, {"memory": "memory"})
    found = _CutDecoder(Whole(), 2).sequence("target", start)
    assert found == ("target", Start("state", {"memory": "memory"}), False)
