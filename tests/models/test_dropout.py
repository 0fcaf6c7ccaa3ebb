"""Dropout that a sequence keeps: one mask at all its steps, others in other rows and batches, and none in inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from kerass2s import ConstantDecay, GreedySearch, ScheduledSampling, Seq2Seq, zoo
from kerass2s.data.padding import padded
from kerass2s.decoders.base import Start
from kerass2s.dropout import SEED, Dropping, HeldGRUCell, HeldLSTMCell, SequenceSeed, held
from kerass2s.elements import Vectors
from kerass2s.encoders import RecurrentEncoder
from kerass2s.errors import ConfigError
from kerass2s.export.onnx import convert

BOTH = {"dropout": 0.4, "recurrent_dropout": 0.4, "variational_dropout": True}
ENTRIES = [
    ("sutskever2014", {}),
    ("cho2014", {}),
    ("luong2015", {}),
    ("luong2015", {"cell": "gru", "input_feeding": True, "decoder_layers": 2}),
    ("bahdanau2015", {}),
    ("gnmt2016", {}),
    ("pointer_generator2017", {"coverage": True}),
    ("hard_monotonic2019", {}),
    ("listen_attend2016", {}),
    ("series2series", {}),
]
SEEDS = tf.constant([[1, 2, 3, 4]])


@pytest.fixture(scope="module")
def make(source_tokenizer, target_tokenizer) -> Callable[..., Seq2Seq]:
    """Builds a tiny model whose weights are large enough for differences to show, the same for any dropout."""

    def build(name: str, **settings: Any) -> Seq2Seq:
        keras.utils.set_random_seed(3)
        tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
        model = zoo.build(name, **tokenizers, preset="tiny", **settings)
        for index, variable in enumerate(model.trainable_variables):
            variable.assign(keras.random.normal(variable.shape, stddev=0.4, seed=index))
        return model

    return build


@pytest.fixture(scope="module", params=ENTRIES, ids=lambda entry: "-".join(map(str, (entry[0], *entry[1]))))
def model(request: pytest.FixtureRequest, make) -> Seq2Seq:
    """A model of each entry with every kind of held mask."""
    name, settings = request.param
    return make(name, **BOTH, **settings)


def batch(model: Seq2Seq) -> tuple[dict[str, Any], tf.Tensor]:
    """Two equal rows: what the encoder reads, and what the decoder is fed, [2, 5]."""
    random = np.random.default_rng(1)
    source, lengths = padded(model.codec.rows([model.codec.example(random, 6)] * 2))
    if model.decoder.target_name == "target_ids":
        target = tf.constant([[2, 4, 5, 6, 5]] * 2)
    else:
        target = tf.constant([random.normal(size=(5, model.codec.target_size)).astype(np.float32)] * 2)
    return model.codec.encoder_inputs(tf.constant(source), tf.constant(lengths)), target


def stepwise(model: Seq2Seq, target: tf.Tensor, start: Start) -> np.ndarray:
    """The training predictions [B, T, V], one step at a time."""
    state, predictions = start.state, []
    for position in range(target.shape[1]):
        made = model.decoder.step(target[:, position], state, start.memory, training=True)
        state = made.state
        predictions.append(made.prediction)
    return np.stack(predictions, 1)


# === Masks ===


def test_a_mask_keeps_the_right_share_and_the_mean() -> None:
    mask = held(tf.ones([200, 500]), 0.3, tf.tile(SEEDS, [200, 1]), "here").numpy()
    assert set(np.unique(mask.round(5))) == {0.0, np.float32(1 / 0.7).round(5)}
    assert (mask > 0).mean() == pytest.approx(0.7, abs=0.006)  # 4 standard deviations
    assert np.abs(np.corrcoef(mask[:2])[0, 1]) < 0.2
    assert (mask[0] != mask[1]).any()


def test_a_mask_depends_on_seed_and_place_alone_and_is_one_for_all_times() -> None:
    seeds = tf.tile(SEEDS, [3, 1])
    mask = held(tf.ones([3, 40]), 0.5, seeds, "here").numpy()
    over_time = held(tf.ones([3, 7, 40]), 0.5, tf.cast(seeds, tf.bfloat16), "here").numpy()
    np.testing.assert_array_equal(over_time, np.repeat(mask[:, None], 7, axis=1))
    assert (held(tf.ones([3, 40]), 0.5, seeds, "there").numpy() != mask).any()
    for byte in range(4):
        other = seeds + tf.one_hot(byte, 4, dtype=tf.int32)
        assert (held(tf.ones([3, 40]), 0.5, other, "here").numpy() != mask).any()


def test_a_seed_is_drawn_for_each_batch_in_training_alone() -> None:
    layer = SequenceSeed()
    drawn = [layer(tf.zeros([3, 5]), training=True).numpy() for _ in range(2)]
    assert drawn[0].shape == (3, 4) and (drawn[0] == drawn[0][0]).all()
    assert drawn[0].min() >= 0 and drawn[0].max() < 256
    assert (drawn[0] != drawn[1]).any()
    assert not layer(tf.zeros([3, 5])).numpy().any()


@pytest.mark.parametrize(
    ("ours", "theirs", "carried"),
    [(HeldLSTMCell, keras.layers.LSTMCell, 2), (HeldGRUCell, keras.layers.GRUCell, 1)],
)
def test_a_cell_computes_what_keras_does_under_the_same_mask(ours: Any, theirs: Any, carried: int) -> None:
    """Keras' own cell has a mask for each gate; here they are all one."""
    cell, other = ours(6, 0.5, name="cell"), theirs(6, recurrent_dropout=0.5)
    inputs, seeds = tf.random.normal([3, 4]), tf.tile(SEEDS, [3, 1])
    states = [tf.random.normal([3, 6]) for _ in range(carried)]
    cell(inputs, [*states, seeds])
    other(inputs, states)
    other.set_weights([keras.random.normal(weight.shape, seed=1) for weight in cell.trainable_variables])
    cell.set_weights(other.get_weights())
    other._recurrent_dropout_mask = [held(tf.ones([3, 6]), 0.5, seeds, "cell")] * 4
    for training in (True, False):
        output, following = cell(inputs, [*states, seeds], training=training)
        expected, wanted = other(inputs, states, training=training)
        np.testing.assert_allclose(output, expected, atol=1e-6)
        for found, want in zip(following, [*wanted, seeds], strict=True):
            np.testing.assert_allclose(found, want, atol=1e-6)
    assert np.abs(cell(inputs, [*states, seeds], training=True)[0] - output).max() > 0.01


# === Decoders ===


def test_steps_and_sequence_share_the_masks_of_their_start(model: Seq2Seq) -> None:
    source, target = batch(model)
    context = model.encoder(source)
    start, other = (model.decoder.begin(context, training=True) for _ in range(2))
    whole = model.decoder.sequence(target, start, training=True).numpy()
    np.testing.assert_allclose(stepwise(model, target, start), whole, atol=1e-5)
    assert np.abs(model.decoder.sequence(target, other, training=True) - whole).max() > 0.01
    assert np.abs(whole[0] - whole[1]).max() > 0.01, "equal rows have masks of their own"


def test_inference_is_that_of_the_model_without_dropout(model: Seq2Seq, make) -> None:
    source, target = batch(model)
    nothing = {"dropout": 0.0, "recurrent_dropout": 0.0, "variational_dropout": False}
    plain = make(model.architecture, **{**asdict(model.config), **nothing})
    for ours, theirs in zip(model.trainable_variables, plain.trainable_variables, strict=True):
        theirs.assign(ours)
    start = model.decoder.begin(model.encoder(source))
    assert not start.memory[SEED].numpy().any()
    found = model.decoder.sequence(target, start)
    expected = plain.decoder.sequence(target, plain.decoder.begin(plain.encoder(source)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_weight_has_a_gradient_through_the_masks(model: Seq2Seq) -> None:
    source, target = batch(model)
    with tf.GradientTape() as tape:
        logits = model({**source, model.decoder.target_name: target}, training=True)
        loss = tf.reduce_sum(tf.maximum(logits, -1e3) * tf.range(1.0, logits.shape[-1] + 1.0))
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert gradient is not None and np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.path


@pytest.mark.parametrize("settings", [{"recurrent_dropout": 0.5}, {"dropout": 0.5, "variational_dropout": True}])
def test_either_kind_alone_is_held(make, settings: dict) -> None:
    model = make("bahdanau2015", **{"dropout": 0.0, **settings})
    source, target = batch(model)
    start = model.decoder.begin(model.encoder(source), training=True)
    runs = [model.decoder.sequence(target, start, training=flag).numpy() for flag in (True, True, False)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 0.01


def test_a_fresh_dropout_stays_fresh_beside_a_held_state(make) -> None:
    model = make("luong2015", dropout=0.5, recurrent_dropout=0.5)
    source, target = batch(model)
    start = model.decoder.begin(model.encoder(source), training=True)
    runs = [model.decoder.sequence(target, start, training=True).numpy() for _ in range(2)]
    assert np.abs(runs[0] - runs[1]).max() > 0.01


def test_without_held_masks_a_decoder_is_given_no_seed(make) -> None:
    for settings in ({"dropout": 0.5}, {"dropout": 0.0, "variational_dropout": True}):
        model = make("bahdanau2015", **settings)
        assert SEED not in model.decoder.begin(model.encoder(batch(model)[0]), training=True).memory


def test_the_masks_live_through_half_precision(make) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make("bahdanau2015", **BOTH)
    finally:
        keras.config.set_dtype_policy("float32")
    source, target = batch(model)
    context = model.encoder(source)
    starts = [model.decoder.begin(context, training=True) for _ in range(2)]
    whole, other = (model.decoder.sequence(target, start, training=True).numpy() for start in starts)
    np.testing.assert_allclose(stepwise(model, target, starts[0]), whole, atol=0.1)
    assert np.abs(whole - other).max() > 0.5


# === Encoders ===


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_keras_draws_the_masks_of_an_encoder_once_for_a_sequence(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {"lstm": keras.layers.LSTMCell, "gru": keras.layers.GRUCell}[cell]
    drawn: list[np.ndarray] = []
    draw = kind._create_dropout_mask

    def recorded(self: Any, like: Any, rate: float) -> Any:
        masks = draw(self, like, rate)
        drawn.append(np.stack(masks))
        return masks

    encoder = RecurrentEncoder(Vectors(3), cell=cell, units=50, dropout=Dropping(0.0, recurrent=0.5))
    monkeypatch.setattr(kind, "_create_dropout_mask", recorded)
    inputs = {"source_values": np.ones([2, 7, 3], np.float32), "source_lengths": np.array([7, 7], np.int32)}
    memories = [encoder(inputs, training=True)["memory"].numpy() for _ in range(2)]
    assert [mask.shape[1:] for mask in drawn] == [(2, 50)] * 2  # one draw for seven steps
    assert (drawn[0] != drawn[1]).any() and (drawn[0][:, 0] != drawn[0][:, 1]).any()
    assert np.abs(memories[0] - memories[1]).max() > 0.001
    np.testing.assert_array_equal(encoder(inputs)["memory"], encoder(inputs)["memory"])


def test_an_encoder_drops_the_same_inputs_at_all_times() -> None:
    layer = Dropping(0.5, variational=True).reader("dropout")
    dropped = layer(tf.ones([3, 7, 40]), training=True).numpy()
    np.testing.assert_array_equal(dropped, np.repeat(dropped[:, :1], 7, axis=1))
    assert (dropped[0] != dropped[1]).any()


# === Models ===


def test_fit_trains_step_by_step_too(make, lexicon) -> None:
    model = make("cho2014", dropout=0.1, recurrent_dropout=0.1, variational_dropout=True)
    model.compile(keras.optimizers.Adam(0.01), feeding=ScheduledSampling(ConstantDecay(0.5), seed=1))
    pairs = [pair for pair in lexicon if len(pair[0]) == 3]  # of one shape
    losses = model.fit(pairs, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def operators(graph: onnx.GraphProto) -> Counter:
    """How often each operator stands in a graph and in those inside it."""
    inside = (at.g for node in graph.node for at in node.attribute if at.type == onnx.AttributeProto.GRAPH)
    return sum(map(operators, inside), Counter(node.op_type for node in graph.node))


def test_nothing_of_it_is_left_in_an_export(make) -> None:
    settings = {"cell": "gru", "input_feeding": True}
    plain, dropping = (
        convert(make("luong2015", **settings, **rates), GreedySearch(max_length=5)).graph for rates in ({}, BOTH)
    )
    assert operators(dropping) == operators(plain)
    for node in dropping.node:
        assert "Random" not in node.op_type and "Bernoulli" not in node.op_type


def test_a_saved_model_keeps_its_rates_and_its_answers(make, tmp_path) -> None:
    model = make("bahdanau2015", **BOTH)
    model.save_to_preset(tmp_path / "preset")
    again = Seq2Seq.from_preset(tmp_path / "preset")
    assert again.config == model.config and again.config.recurrent_dropout == 0.4
    source, target = batch(again)
    runs = [again({**source, "target_ids": target}, training=flag).numpy() for flag in (True, True, False)]
    np.testing.assert_allclose(runs[2], model({**source, "target_ids": target}), atol=1e-6)
    assert np.abs(runs[0] - runs[1]).max() > 0.01 and np.abs(runs[0] - runs[2]).max() > 0.01


@pytest.mark.parametrize("rates", [{"dropout": 1.0}, {"recurrent_dropout": 1.0}])
def test_a_rate_is_less_than_one(make, rates: dict) -> None:
    with pytest.raises(ConfigError, match=rf"{next(iter(rates))} must be in \[0, 1\)\. Received: 1\.0"):
        make("luong2015", **rates)
