"""Feedings: what is fed at each position, by which probability, with which gradient, and how a curriculum goes on."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from copy_models import START, copies, copy_task

from kerass2s import (
    ConstantDecay,
    ExponentialDecay,
    FreeRunning,
    InverseSigmoidDecay,
    LinearDecay,
    MultiStep,
    ScheduledSampling,
    Seq2Seq,
    TeacherForcing,
    TeacherForcingRatio,
    TokenCrossentropy,
    TwoPass,
    UserError,
    zoo,
)
from kerass2s.decoders.base import Start
from kerass2s.decoding import StepOutput
from kerass2s.training import Feeding
from kerass2s.training.feedback import MIXTURES
from kerass2s.training.feeding import run_steps

TARGET = [START, 7, 8, 9, 5]  # [7, 8, 9, 5, 6], shifted right


class Teller:
    """A decoder that says the given tokens whatever it is fed, and tells what it was fed in the column of PAD."""

    def __init__(self, says: list[int], width: int = 12) -> None:
        self.says = tf.constant(says)
        self.width = width

    def step(self, ids: Any, state: Any, memory: Any, training: bool) -> StepOutput:
        """Say token t at step t; PAD and START get the highest scores of all, which no choice may heed."""
        assert training
        said = tf.fill(tf.shape(ids), self.says[state["t"][0, 0]])
        logits = 50 * tf.one_hot(said, self.width) + 90 * tf.one_hot(START, self.width)
        logits += tf.cast(ids + 100, tf.float32)[:, None] * tf.one_hot(0, self.width)
        return StepOutput(logits, {"t": state["t"] + 1})

    def sequence(self, ids: Any, start: Start, training: bool) -> tf.Tensor:
        """Say all tokens at once."""
        logits = tf.broadcast_to(50 * tf.one_hot(self.says, self.width), [*ids.shape, self.width])
        return logits + tf.cast(ids + 100, tf.float32)[:, :, None] * tf.one_hot(0, self.width)


def fed(feeding: Feeding, rows: int = 1, says: tuple[int, ...] = (7, 4, 9, 5, 5), step: int = 0) -> np.ndarray:
    """What `Teller` is fed, [rows, 5], for `TARGET` in every row."""
    target = tf.tile(tf.constant([TARGET]), [rows, 1])
    start = Start({"t": tf.zeros([rows, 1], tf.int32)}, {})
    told = tf.function(lambda step: feeding(Teller(list(says)), target, start, step))(tf.constant(step))
    assert told.shape[1:] == [5, 12]
    return told.numpy()[:, :, 0].astype(int) - 100


# === What is fed ===


def test_free_running_feeds_what_the_model_said() -> None:
    np.testing.assert_array_equal(fed(FreeRunning()), [[START, 7, 4, 9, 5]])


def test_free_running_goes_on_after_an_early_end() -> None:
    np.testing.assert_array_equal(fed(FreeRunning(), says=(7, 3, 3, 4, 3)), [[START, 7, 3, 3, 4]])


def test_a_coin_per_sequence_is_one_for_the_whole_row() -> None:
    rows = fed(TeacherForcingRatio(0.3, seed=1), rows=4000)
    true = (rows == TARGET).all(1)
    own = (rows == [START, 7, 4, 9, 5]).all(1)
    assert (true ^ own).all()
    assert true.mean() == pytest.approx(0.3, abs=0.03)  # 4 standard deviations


def test_a_coin_per_token_is_its_own_at_each_position() -> None:
    rows = fed(TeacherForcingRatio(0.3, "token", seed=1), rows=4000, says=(4, 4, 4, 4, 4))
    true = rows[:, 1:] == TARGET[1:]
    assert ((rows[:, 1:] == 4) ^ true).all()
    np.testing.assert_allclose(true.mean(0), 0.3, atol=0.03)
    np.testing.assert_allclose(np.corrcoef(true.T) - np.eye(4), 0, atol=0.07)


def test_each_training_step_tosses_new_coins_and_the_same_step_the_same() -> None:
    feeding = TeacherForcingRatio(0.5, seed=1)
    first, again, later = (fed(feeding, rows=64, step=step) for step in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()


def test_a_schedule_mixes_by_its_step() -> None:
    feeding = ScheduledSampling(LinearDecay(c=0.1), "argmax", seed=2)
    for step, share in ((0, 1.0), (4, 0.6), (10, 0.0)):
        rows = fed(feeding, rows=4000, says=(4, 4, 4, 4, 4), step=step)
        np.testing.assert_allclose((rows[:, 1:] == TARGET[1:]).mean(), share, atol=0.02)
        assert float(feeding.report(step)["sampling_probability"]) == pytest.approx(1 - share, abs=1e-6)


def test_samples_follow_the_models_distribution_without_pad_and_start() -> None:
    probabilities = np.array([0.3, 0.1, 0.3, 0.06, 0.24], np.float32)

    def step(ids: Any, state: Any, memory: Any, training: bool) -> StepOutput:
        logits = tf.tile(tf.math.log(probabilities)[None], [len(ids), 1])
        return StepOutput(tf.concat([logits, tf.cast(ids, tf.float32)[:, None] - 99], 1), state)

    target = tf.zeros([5000, 3], tf.int32)
    told = ScheduledSampling(ConstantDecay(0), seed=4)(SimpleNamespace(step=step), target, Start({}, {}))
    drawn = np.rint(told[:, 1:, -1] + 99).astype(int)
    for position in range(2):
        shares = np.bincount(drawn[:, position], minlength=5) / len(drawn)
        np.testing.assert_allclose(shares, [0, 0.25, 0, 0.15, 0.6], atol=0.03)
    assert (drawn[:, 0] != drawn[:, 1]).any()


def test_a_prediction_may_be_wider_than_the_vocabulary_and_its_ids_are_fed() -> None:
    def step(ids: Any, state: Any, memory: Any, training: bool) -> StepOutput:
        width = 5 + tf.shape(memory["copied"])[1]  # known when it runs
        seen = tf.one_hot(0, width) * (tf.cast(ids, tf.float32)[:, None] + 100)
        return StepOutput(tf.one_hot(tf.fill(tf.shape(ids), width - 1), width) + seen, state)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.int32)])
    def run(target: tf.Tensor, copied: tf.Tensor) -> tf.Tensor:
        return FreeRunning()(SimpleNamespace(step=step), target, Start({}, {"copied": copied}))

    told = run(tf.constant([[START, 4, 4]]), tf.zeros([1, 4], tf.int32))
    np.testing.assert_array_equal(told[0, :, 0] - 100, [START, 8, 8])


def test_a_state_may_grow() -> None:
    def step(ids: Any, state: Any, memory: Any, training: bool) -> StepOutput:
        cache = tf.concat([state["cache"], tf.one_hot(ids, 12)[:, None]], 1)
        return StepOutput(tf.reduce_sum(cache, 1), {"cache": cache})

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def run(target: tf.Tensor) -> tf.Tensor:
        cache = tf.zeros([tf.shape(target)[0], 0, 12])
        return TeacherForcingRatio(1)(SimpleNamespace(step=step), target, Start({"cache": cache}, {}))

    seen = run(tf.constant([TARGET, [START, 4, 4, 3, 0]]))
    np.testing.assert_array_equal(seen[1, -1], np.bincount([START, 4, 4, 3, 0], minlength=12))
    assert run(tf.constant([[START]])).shape == (1, 1, 12)


def test_multi_step_feeds_the_truth_at_every_kth_position_of_some_rows() -> None:
    rows = fed(MultiStep(3, 0.5, seed=1), rows=6000, says=(4, 4, 4, 4, 4))[:, 1:]
    seen = {tuple(row): 0 for row in rows.tolist()}
    for row in rows.tolist():
        seen[tuple(row)] += 1
    # Offsets 0, 1 and 2 of the docstring, each a sixth, and teacher forcing.
    assert set(seen) == {(4, 4, 9, 4), (7, 4, 4, 5), (4, 8, 4, 4), (7, 8, 9, 5)}
    for row, count in seen.items():
        assert count / 6000 == pytest.approx(1 / 2 if row == (7, 8, 9, 5) else 1 / 6, abs=0.03)


def test_multi_step_draws_new_offsets_at_each_training_step() -> None:
    feeding = MultiStep(2, 1.0, seed=1)
    first, again, later = (fed(feeding, rows=64, says=(4, 4, 4, 4, 4), step=step) for step in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()


@pytest.mark.parametrize(
    "feeding",
    [
        TeacherForcingRatio(0.5, seed=3),
        ScheduledSampling(ConstantDecay(0.5), seed=3),
        MultiStep(2, 0.5, seed=3),
        TwoPass(ConstantDecay(0.5), seed=3),
    ],
    ids=["ratio", "scheduled", "multi", "passes"],
)
def test_the_step_is_the_first_where_none_is_told(feeding: Feeding) -> None:
    start = Start({"t": tf.zeros([64, 1], tf.int32)}, {})
    told = feeding(Teller([4, 4, 4, 4, 4]), tf.tile(tf.constant([TARGET]), [64, 1]), start)
    first, second = (fed(feeding, rows=64, says=(4, 4, 4, 4, 4), step=step) for step in (0, 1))
    np.testing.assert_array_equal(told.numpy()[:, :, 0].astype(int) - 100, first)
    assert (first != second).any()


def test_two_passes_mix_in_what_the_first_one_said() -> None:
    feeding = TwoPass(LinearDecay(c=0.1), seed=2)
    for step, share in ((0, 1.0), (4, 0.6), (10, 0.0)):
        rows = fed(feeding, rows=4000, says=(4, 6, 10, 11, 4), step=step)
        assert (rows[:, 0] == START).all()
        true = rows[:, 1:] == TARGET[1:]
        np.testing.assert_allclose(true.mean(0), share, atol=0.03)
        assert ((rows[:, 1:] == [4, 6, 10, 11]) ^ true).all()
        assert float(feeding.report(step)["sampling_probability"]) == pytest.approx(1 - share, abs=1e-6)


def test_two_passes_draw_from_the_first_and_leave_padding_alone() -> None:
    chances = tf.math.log([0.3, 0.1, 0.3, 0.06, 0.24])
    seen = []

    def sequence(ids: Any, start: Start, training: bool) -> tf.Tensor:
        seen.append((ids.numpy(), training))
        return tf.broadcast_to(chances, [*ids.shape, 5])

    target = tf.tile(tf.constant([[START, 1, 1, 0]]), [4000, 1])
    TwoPass(ConstantDecay(0), "sample", seed=1)(SimpleNamespace(sequence=sequence), target, Start({}, {}))
    (first, first_training), (mixed, training) = seen
    np.testing.assert_array_equal(first, target)
    assert (first_training, training) == (False, True)
    assert (mixed[:, 0] == START).all()
    assert (mixed[:, 3] == 0).all()
    np.testing.assert_allclose(np.bincount(mixed[:, 2], minlength=5) / 4000, [0, 0.25, 0, 0.15, 0.6], atol=0.03)


# === Losses and gradients ===


def loss_and_gradients(model: Seq2Seq, feeding: Feeding) -> list[np.ndarray]:
    """The loss of the copy task under a feeding, and its gradient in every weight."""
    inputs, labels = copy_task(rows=6)

    @tf.function
    def run() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = TokenCrossentropy()(labels, model(inputs, training=True))
        return [loss, *map(tf.convert_to_tensor, tape.gradient(loss, model.trainable_variables))]

    model.feeding = feeding
    return [value.numpy() for value in run()]


@pytest.mark.parametrize("name", ["luong2015", "bahdanau2015", "transformer2017"])
def test_ratio_1_is_teacher_forcing_and_ratio_0_free_running(name: str) -> None:
    model = copies(name=name)
    forced, free = (loss_and_gradients(model, feeding) for feeding in (TeacherForcing(), FreeRunning()))
    assert abs(forced[0] - free[0]) > 1e-4
    for feeding, expected in (
        (TeacherForcingRatio(1.0), forced),
        (TeacherForcingRatio(0.0, "token"), free),
    ):
        for found, wanted in zip(loss_and_gradients(model, feeding), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["luong2015", "pointer_generator2017", "hard_monotonic2019", "convs2s2017"])
def test_two_passes_at_probability_0_are_teacher_forcing(name: str) -> None:
    model = copies(name=name)
    forced = loss_and_gradients(model, TeacherForcing())
    for found, wanted in zip(loss_and_gradients(model, TwoPass(ConstantDecay(1))), forced, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-7)
    assert abs(loss_and_gradients(model, TwoPass(ConstantDecay(0)))[0] - forced[0]) > 1e-5


@pytest.mark.parametrize("feeding", [MultiStep(1, 1.0), MultiStep(2, 0.0, "soft")])
def test_multi_step_of_one_step_or_no_weight_is_teacher_forcing(feeding: Feeding) -> None:
    model = copies()
    forced = loss_and_gradients(model, TeacherForcing())
    for found, wanted in zip(loss_and_gradients(model, feeding), forced, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


class Regressor:
    """A recurrent decoder of vectors in float64: h = tanh(W x + U h), prediction O h."""

    def __init__(self) -> None:
        numbers = np.random.default_rng(1)
        self.weights = [tf.Variable(numbers.normal(size=shape)) for shape in ((2, 3), (3, 3), (3, 2))]
        self.start = Start({"h": tf.constant(numbers.normal(size=(4, 3)))}, {})
        self.target = tf.constant(numbers.normal(size=(4, 5, 2)))

    def step(self, values: Any, state: Any, memory: Any, training: bool) -> StepOutput:
        """Run one position, values [B, 2]."""
        w, u, o = self.weights
        hidden = tf.tanh(values @ w + state["h"] @ u)
        return StepOutput(hidden @ o, {"h": hidden})

    def sequence(self, values: Any, start: Start, training: bool) -> tf.Tensor:
        """Run all positions."""
        return run_steps(self.step, values, start, lambda t, true, previous: true)

    def loss(self, feeding: Feeding) -> tf.Tensor:
        """Squared error of the last prediction alone: all else reaches it through what was fed or carried."""
        return tf.reduce_sum((feeding(self, self.target, self.start)[:, -1] - 1) ** 2)


@pytest.mark.parametrize("feeding", [FreeRunning(), TeacherForcingRatio(0.5, "token", seed=3), MultiStep(3, 1.0)])
def test_gradients_through_the_models_own_values_are_the_numeric_ones(feeding: Feeding) -> None:
    decoder = Regressor()
    with tf.GradientTape() as tape:
        loss = decoder.loss(feeding)
    for variable, gradient in zip(decoder.weights, tape.gradient(loss, decoder.weights), strict=True):
        value, numeric = variable.numpy(), np.zeros(variable.shape)
        for place in np.ndindex(*value.shape):
            nudge = np.zeros(value.shape)
            nudge[place] = 1e-6
            sides = []
            for side in (value + nudge, value - nudge):
                variable.assign(side)
                sides.append(float(decoder.loss(feeding)))
            numeric[place] = (sides[0] - sides[1]) / 2e-6
        variable.assign(value)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7)


def test_two_passes_mix_values_and_the_first_has_no_gradient() -> None:
    decoder = Regressor()
    own = decoder.sequence(decoder.target, decoder.start, training=False)
    mixed = tf.concat([decoder.target[:, :1], own[:, :-1]], 1)
    with tf.GradientTape(persistent=True) as tape:
        loss = decoder.loss(TwoPass(ConstantDecay(0)))
        expected = tf.reduce_sum((decoder.sequence(mixed, decoder.start, training=True)[:, -1] - 1) ** 2)
    pairs = (tape.gradient(made, decoder.weights) for made in (loss, expected))
    for found, wanted in zip(*pairs, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_a_sample_of_values_is_refused() -> None:
    with pytest.raises(UserError, match="feedback 'argmax'. Received: a target of float64"):
        Regressor().loss(ScheduledSampling(ConstantDecay(0.5)))


# === Mixtures of tokens ===

MIXED = ["luong2015", "bahdanau2015", "keras_lstm_seq2seq", "transformer2017", "convs2s2017"]


@pytest.mark.parametrize("name", MIXED)
def test_a_mixture_that_is_never_fed_is_teacher_forcing(name: str) -> None:
    model = copies(name=name)
    forced = loss_and_gradients(model, TeacherForcing())
    mixed = loss_and_gradients(model, ScheduledSampling(ConstantDecay(1), "soft"))
    for found, wanted in zip(mixed, forced, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.parametrize("name", ["luong2015", "keras_lstm_seq2seq"])
def test_a_sharp_mixture_is_the_likeliest_token(name: str) -> None:
    model = copies(name=name)
    sharp, hard = (
        loss_and_gradients(model, ScheduledSampling(ConstantDecay(0.3), *feedback, seed=2))[0]
        for feedback in (("soft", 1e-7), ("argmax",))
    )
    assert sharp == pytest.approx(hard, abs=1e-5)


def test_a_straight_through_draw_is_a_token_with_the_gradient_of_the_relaxed_one() -> None:
    logits, seed = tf.tile(tf.math.log([[0.3, 0.1, 0.3, 0.06, 0.2, 0.04]]), [4000, 1]), [3, 4]
    weights = tf.random.stateless_normal([6], [5, 6])
    found = {}
    for name in ("gumbel", "straight_through"):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            made = MIXTURES[name](logits, 0.7, seed)
            total = tf.reduce_sum(made * weights)
        found[name] = made.numpy(), tape.gradient(total, logits).numpy()
    (relaxed, gradient), (hard, same) = found.values()
    np.testing.assert_allclose(gradient, same, atol=1e-6)
    np.testing.assert_array_equal(hard.argmax(1), relaxed.argmax(1))
    np.testing.assert_allclose(np.sort(hard)[:, -2:], np.tile([0.0, 1.0], [4000, 1]), atol=1e-6)
    # Gumbel's maximum is a draw from the distribution, PAD and START left out.
    np.testing.assert_allclose(hard.mean(0), [0, 0.25, 0, 0.15, 0.5, 0.1], atol=0.03)


@pytest.mark.parametrize("feedback", ["soft", "gumbel"])
def test_the_gradient_through_a_mixture_is_the_numeric_one(feedback: str) -> None:
    model = copies(name="luong2015")
    inputs, labels = copy_task(rows=6)
    for variable in model.trainable_variables:  # livelier than a fresh model, so that what is fed has a say
        variable.assign(3 * variable)
    model.feeding = ScheduledSampling(ConstantDecay(0), feedback, seed=1)
    last = np.where(np.arange(labels.shape[1]) == labels.shape[1] - 1, 1.0, np.zeros(labels.shape)).astype("float32")
    loss_of = tf.function(lambda: TokenCrossentropy()(labels, model(inputs, training=True), last))
    with tf.GradientTape() as tape:
        loss = loss_of()
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]
    norm = tf.linalg.global_norm(gradients)
    # Along the gradient the slope is its norm.
    kept = [variable.numpy() for variable in model.trainable_variables]
    sides = []
    for side in (3e-3, -3e-3):
        for variable, value, gradient in zip(model.trainable_variables, kept, gradients, strict=True):
            variable.assign(value + side * gradient / norm)
        sides.append(float(loss_of()))
    assert (sides[0] - sides[1]) / 6e-3 == pytest.approx(float(norm), rel=5e-3)


@pytest.mark.parametrize(("name", "feedback"), [("hard_monotonic2019", "soft"), ("pointer_generator2017", "gumbel")])
def test_a_mixture_is_refused_by_decoders_that_look_at_the_ids(name: str, feedback: str) -> None:
    model = copies(name=name)
    model.compile(feeding=ScheduledSampling(ConstantDecay(0.5), feedback))
    with pytest.raises(UserError, match="reads each token by its embedding alone; .* 'sample' or 'argmax'. Received: "):
        model.fit([("abc", "abc"), ("de", "de")], verbose=0)


def test_a_mixture_is_refused_by_a_decoder_of_vectors() -> None:
    model = zoo.build("series2series", preset="tiny")
    model.compile(feeding=ScheduledSampling(ConstantDecay(0.5), "soft"))
    with pytest.raises(UserError, match="A mixture of tokens"):
        model.fit([(np.zeros((3, 3), "float32"), np.zeros((2, model.decoder.output.shape[-1]), "float32"))], verbose=0)


# === Decays ===


@pytest.mark.parametrize(
    ("decay", "step", "expected"),
    [
        (ConstantDecay(0.25), 10**6, 0.25),
        (LinearDecay(c=0.001), 0, 1.0),
        (LinearDecay(c=0.001), 250, 0.75),
        (LinearDecay(c=0.001, k=0.9, epsilon=0.2), 300, 0.6),
        (LinearDecay(c=0.001, k=0.9, epsilon=0.2), 5000, 0.2),
        (ExponentialDecay(0.99), 0, 1.0),
        (ExponentialDecay(0.99), 100, 0.99**100),
        (ExponentialDecay(0.5), 10**6, 0.0),
        (InverseSigmoidDecay(1), 0, 0.5),
        (InverseSigmoidDecay(2000), 0, 2000 / 2001),
        (InverseSigmoidDecay(2000), 15202, 0.5),  # k ln k = 15201.8
        (InverseSigmoidDecay(10), 50, 10 / (10 + math.exp(5))),
        (InverseSigmoidDecay(2), 10**6, 0.0),
    ],
)
def test_decays_are_the_papers_formulas(decay: Any, step: int, expected: float) -> None:
    assert float(decay(tf.constant(step, tf.int64))) == pytest.approx(expected, abs=1e-4)
    assert decay(step).dtype == tf.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConstantDecay(1.5), r"in \[0, 1\]. Received: 1.5"),
        (lambda: LinearDecay(c=0), "above 0. Received: 0"),
        (lambda: LinearDecay(c=1, k=2), r"in \(0, 1\]. Received: 2"),
        (lambda: LinearDecay(c=1, epsilon=1), r"in \[0, 1\). Received: 1"),
        (lambda: ExponentialDecay(1), r"in \(0, 1\). Received: 1"),
        (lambda: InverseSigmoidDecay(0.5), "at least 1. Received: 0.5"),
        (lambda: TeacherForcingRatio(-0.1), r"in \[0, 1\]. Received: -0.1"),
        (lambda: TeacherForcingRatio(0.5, "batch"), "per must be one of sequence, token. Received: 'batch'"),
        (lambda: ScheduledSampling(0.5), "must be a Decay, .* Received: 0.5"),
        (lambda: ScheduledSampling(ConstantDecay(1), "beam"), "one of argmax, sample, soft, gumbel, .*: 'beam'"),
        (lambda: TwoPass(0.5), "must be a Decay, .* Received: 0.5"),
        (lambda: TwoPass(ConstantDecay(1), "soft"), "one of argmax, sample. Received: 'soft'"),
        (lambda: MultiStep(0), "k must be a whole number from 1 .* Received: 0"),
        (lambda: MultiStep(2, 1.5), r"weight must be in \[0, 1\]. Received: 1.5"),
        (lambda: ScheduledSampling(ConstantDecay(1), "soft", temperature=0), "above 0, .* Received: 0 with 'soft'"),
        (
            lambda: ScheduledSampling(ConstantDecay(1), "argmax", 0.5),
            "is for feedback soft, gumbel, .*: 0.5 with 'argmax'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


# === In fit ===


@pytest.mark.parametrize(
    ("name", "feeding"),
    [
        ("luong2015", FreeRunning()),
        ("luong2015", TeacherForcingRatio(0.5)),
        ("bahdanau2015", ScheduledSampling(InverseSigmoidDecay(40))),
        ("luong2015", ScheduledSampling(InverseSigmoidDecay(40), "gumbel")),
        ("luong2015", MultiStep(2, 0.5)),
        ("convs2s2017", TwoPass(InverseSigmoidDecay(40))),
    ],
    ids=["free", "ratio", "scheduled", "gumbel", "multi", "passes"],
)
def test_a_model_learns_to_copy_under_the_feeding(name: str, feeding: Feeding) -> None:
    model = copies(name=name)
    model.compile(keras.optimizers.Adam(0.01), feeding=feeding, weighted_metrics=[])
    inputs, labels = copy_task(rows=128, length=3)
    losses = model.fit(inputs, labels, batch_size=32, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < losses[5] < losses[0] - 0.3


def fit(model: Seq2Seq, epochs: int, **options: Any) -> dict[str, list[float]]:
    """Train on the copy task, two batches an epoch in a fixed order."""
    inputs, labels = copy_task(rows=8)
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "epochs": epochs, **options}
    return model.fit(inputs, labels, **options).history


def scheduled(**options: Any) -> Seq2Seq:
    """A tiny model, compiled with a schedule that is half over after two epochs of `fit`."""
    model = copies()
    feeding = ScheduledSampling(LinearDecay(c=0.125))
    model.compile(keras.optimizers.Adam(0.05), feeding=feeding, **options)
    return model


def test_fit_repeats_exactly_with_the_same_seed() -> None:
    first, again = (fit(scheduled(), 3)["loss"] for _ in range(2))
    assert first == again


def test_a_saved_run_and_a_killed_run_go_on_with_the_curriculum(tmp_path: Path) -> None:
    whole = fit(scheduled(run_eagerly=True), 4)
    assert whole["sampling_probability"] == [0.125, 0.375, 0.625, 0.875]  # after batches 2, 4, 6, 8

    model = scheduled(run_eagerly=True)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    fit(model, 2, callbacks=[backup])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.feeding.get_config() == model.feeding.get_config()
    for later in (fit(loaded, 2), fit(scheduled(run_eagerly=True), 4, callbacks=[backup])):
        for name, values in later.items():
            assert values == pytest.approx(whole[name][2:], abs=1e-6), name


@pytest.mark.parametrize(
    "feeding",
    [
        TeacherForcing(),
        FreeRunning(),
        TeacherForcingRatio(0.5, "token"),
        *(ScheduledSampling(decay) for decay in (ConstantDecay(0.5), ExponentialDecay(0.9), InverseSigmoidDecay(9.0))),
        ScheduledSampling(LinearDecay(c=0.1, epsilon=0.2), "argmax", seed=3),
        ScheduledSampling(LinearDecay(c=0.1), "gumbel", temperature=0.5),
        MultiStep(3, 0.25, "soft", 0.5),
        TwoPass(LinearDecay(c=0.1), "sample"),
    ],
)
def test_feedings_are_serialised_with_their_seed(feeding: Feeding) -> None:
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(feeding))
    assert type(again) is type(feeding)
    assert again.get_config() == feeding.get_config()


def test_multi_step_trains_half_of_the_rows_so_unless_told_otherwise() -> None:
    assert MultiStep(3, seed=1).get_config() == {
        "k": 3,
        "weight": 0.5,
        "feedback": "argmax",
        "temperature": 1.0,
        "seed": 1,
    }
