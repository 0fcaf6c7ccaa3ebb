"""The seam of every zoo member: steps equal the sequence, padding changes nothing, gradients reach the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import BeamSearch, GreedySearch, SentencePieceTokenizer, Seq2Seq, zoo
from kerass2s.data.padding import padded
from kerass2s.decoding import Rollout

LENGTHS = (7, 5, 1)
TARGET_IDS = np.array([[2, 4, 5, 6, 5], [2, 6, 4, 0, 0], [2, 0, 0, 0, 0]], np.int32)
WITHOUT_ATTENTION = {"cho2014", "keras_lstm_seq2seq", "series2series", "sutskever2014"}


def variants() -> list[tuple[str, dict]]:
    """Every zoo member at its default, and those with a choice of cell or depth at another."""
    return [
        *((name, {}) for name in zoo.names()),
        ("bahdanau2015", {"cell": "lstm", "encoder_layers": 2}),
        ("luong2015", {"cell": "gru", "encoder_layers": 2, "decoder_layers": 2, "residual": True}),
        ("luong2015", {"encoder_layers": 3, "decoder_layers": 2, "residual": True, "bidirectional": False}),
        ("luong2015", {"attention": "concat", "alignment": "local_p", "window": 1}),
        ("luong2015", {"attention": "dot", "bidirectional": False, "reverse_source": True, "bridge": "pass"}),
        ("luong2015", {"input_feeding": True, "alignment": "local_p", "decoder_layers": 2, "residual": True}),
        ("luong2015", {"input_feeding": True, "attention": "concat", "cell": "gru"}),
        ("sutskever2014", {"reverse_source": False, "layers": 3}),
        ("transformer2017", {"norm": "post", "tie_embeddings": False}),
        ("pointer_generator2017", {"coverage": True}),
        ("hard_monotonic2019", {"transitions": "jumps"}),
        ("hard_monotonic2019", {"transitions": "free", "cell": "gru"}),
        ("listen_attend2016", {"pyramid_layers": 1, "speller_layers": 1}),
        ("series2series", {"cell": "gru", "first": "zeros", "layers": 1}),
    ]


@pytest.fixture(scope="module", params=variants(), ids=lambda variant: "-".join(map(str, (variant[0], *variant[1]))))
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    """A small model with weights large enough for differences to show."""
    name, settings = request.param
    keras.utils.set_random_seed(3)
    model = zoo.build(
        name,
        source_tokenizer=SentencePieceTokenizer.train(["abcd"], "char"),
        target_tokenizer=SentencePieceTokenizer.train(["A B C"], "word"),
        preset="tiny",
        **settings,
    )
    for variable in model.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, stddev=0.4, seed=len(variable.path)))
    return model


@dataclass(frozen=True)
class Batch:
    """A padded source [B, S, ...], its lengths [B], and the decoder's input [B, T, ...]: tokens or vectors."""

    source: np.ndarray
    lengths: np.ndarray
    target: np.ndarray

    def inputs(self, model: Seq2Seq) -> dict[str, Any]:
        """The model's inputs."""
        return {**self.read(model), model.decoder.target_name: tf.constant(self.target)}

    def read(self, model: Seq2Seq) -> dict[str, Any]:
        """The encoder's inputs."""
        return model.codec.encoder_inputs(tf.constant(self.source), tf.constant(self.lengths))

    def padded(self, source: int, target: int) -> Batch:
        """The same with more padding."""
        return Batch(along(self.source, source), self.lengths, along(self.target, target))

    def row(self, index: int, target: int) -> Batch:
        """One row alone, without padding, and the first positions of its target."""
        one = slice(index, index + 1)
        return Batch(self.source[one, : self.lengths[index]], self.lengths[one], self.target[one, :target])


def along(values: np.ndarray, more: int) -> np.ndarray:
    """Zeros after the second axis."""
    return np.pad(values, [(0, 0), (0, more)] + [(0, 0)] * (values.ndim - 2))


@pytest.fixture(scope="module")
def batch(model: Seq2Seq) -> Batch:
    """Three rows of different length of whatever the model reads and writes."""
    random = np.random.default_rng(1)
    source, lengths = padded(model.codec.rows([model.codec.example(random, length) for length in LENGTHS]))
    values = random.normal(size=(*TARGET_IDS.shape, model.codec.target_size)).astype(np.float32)
    return Batch(source, lengths, TARGET_IDS if writes_tokens(model) else values)


def writes_tokens(model: Seq2Seq) -> bool:
    return model.decoder.target_name == "target_ids"


def searches(model: Seq2Seq) -> list[Any]:
    return [GreedySearch(max_length=6), BeamSearch(width=2, max_length=6)] if writes_tokens(model) else [Rollout(6)]


def assert_same(given: np.ndarray, expected: np.ndarray) -> None:
    """Two predictions [..., V] are the same; a copied source makes V as wide as the batch's longest."""
    width = min(given.shape[-1], expected.shape[-1])
    np.testing.assert_allclose(given[..., :width], expected[..., :width], atol=1e-5)


def stepwise(model: Seq2Seq, batch: Batch) -> tuple[np.ndarray, list, np.ndarray]:
    """Predictions [B, T, V] and alignments of the target, one step at a time, and the memory's mask [B, M]."""
    context = model.encoder(batch.read(model))
    start = model.decoder.begin(context)
    state, predictions, alignments = start.state, [], []
    for position in range(batch.target.shape[1]):
        made = model.decoder.step(tf.constant(batch.target[:, position]), state, start.memory)
        state = made.state
        predictions.append(made.prediction.numpy())
        alignments.append(made.alignment)
    return np.stack(predictions, 1), alignments, context["memory_mask"].numpy()


def test_step_by_step_equals_the_whole_sequence(model: Seq2Seq, batch: Batch) -> None:
    whole = model(batch.inputs(model)).numpy()
    steps, *_ = stepwise(model, batch)
    assert np.ptp(whole) > 0.1
    np.testing.assert_allclose(steps, whole, atol=1e-5)


def test_more_padding_changes_nothing(model: Seq2Seq, batch: Batch) -> None:
    wide = model(batch.padded(7, 4).inputs(model)).numpy()
    assert_same(wide[:, : batch.target.shape[1]], model(batch.inputs(model)).numpy())


def test_the_batch_changes_nothing(model: Seq2Seq, batch: Batch) -> None:
    together = model(batch.inputs(model)).numpy()
    assert_same(together[1:2, :3], model(batch.row(1, 3).inputs(model)).numpy())


def test_alignments_are_distributions_over_real_positions(model: Seq2Seq, batch: Batch) -> None:
    _, alignments, mask = stepwise(model, batch)
    if model.architecture in WITHOUT_ATTENTION:
        assert alignments == [None] * batch.target.shape[1]
        return
    for alignment in alignments:
        np.testing.assert_allclose(alignment.numpy().sum(1), 1, atol=1e-6)
        assert not alignment.numpy()[~mask].any()


def some_number(prediction: tf.Tensor) -> tf.Tensor:
    """A number to which every column adds another share, except what the model holds impossible."""
    return tf.reduce_sum(tf.maximum(prediction, -1e3) * tf.range(1.0, prediction.shape[-1] + 1.0))


def gradients(model: Seq2Seq, batch: Batch, cut: bool) -> list[tf.Tensor | None]:
    """A prediction's gradient in each encoder weight, with the context let through or cut."""
    with tf.GradientTape() as tape:
        context = model.encoder(batch.read(model))
        if cut:
            context = {name: tf.stop_gradient(value) for name, value in context.items()}
        loss = some_number(model.decoder.sequence(tf.constant(batch.target), model.decoder.begin(context)))
    return tape.gradient(loss, model.encoder.trainable_variables)


def test_the_loss_flows_through_the_context_into_every_encoder_weight(model: Seq2Seq, batch: Batch) -> None:
    found = gradients(model, batch, cut=False)
    for variable, gradient in zip(model.encoder.trainable_variables, found, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path


def test_a_cut_context_gives_the_encoder_no_gradient(model: Seq2Seq, batch: Batch) -> None:
    for gradient in gradients(model, batch, cut=True):
        assert gradient is None or not np.abs(tf.convert_to_tensor(gradient)).any()


def test_every_weight_is_trained_once(model: Seq2Seq, batch: Batch) -> None:
    paths = [id(variable) for variable in model.trainable_variables]
    assert len(paths) == len(set(paths))
    assert len(paths) == len(model.encoder.trainable_variables) + len(model.decoder.trainable_variables)
    with tf.GradientTape() as tape:
        loss = some_number(model(batch.inputs(model)))
    names = [variable.path for variable in model.trainable_variables]
    found = tape.gradient(loss, model.trainable_variables)
    assert not [name for name, gradient in zip(names, found, strict=True) if gradient is None]


def test_what_stands_beyond_the_length_is_ignored(model: Seq2Seq, batch: Batch) -> None:
    noisy = batch.source.copy()
    for row, length in zip(noisy, batch.lengths, strict=True):
        row[length:] = 6
    for search in searches(model):
        clean = model.search_graph(tf.constant(batch.source), tf.constant(batch.lengths), search).named()
        noise = model.search_graph(tf.constant(noisy), tf.constant(batch.lengths), search).named()
        for name, expected in clean.items():
            np.testing.assert_allclose(noise[name], expected, atol=0 if expected.dtype.is_integer else 1e-5)


def test_search_finds_what_teacher_forcing_says_of_it(model: Seq2Seq, batch: Batch) -> None:
    source, lengths = tf.constant(batch.source), tf.constant(batch.lengths)
    if not writes_tokens(model):
        found = model.search_graph(source, lengths, Rollout(5)).values.numpy()
        fed = np.concatenate([model.codec.first(source, lengths)[:, None], found[:, :-1]], axis=1)
        np.testing.assert_allclose(model(Batch(batch.source, batch.lengths, fed).inputs(model)), found, atol=1e-5)
        return
    found = model.search_graph(source, lengths, BeamSearch(width=3, max_length=5))
    for row in range(len(batch.source)):
        for beam in range(3):
            ids = found.ids[row, beam, : found.lengths[row, beam]].numpy().tolist()
            labels = ids + [3] * (len(ids) < 5)
            one = slice(row, row + 1)
            fed = Batch(batch.source[one], batch.lengths[one], np.array([[2, *labels[:-1]]], np.int32))
            log_probs = tf.nn.log_softmax(model(fed.inputs(model))[0]).numpy()
            total = sum(log_probs[place, label] for place, label in enumerate(labels))
            np.testing.assert_allclose(found.scores[row, beam], total, atol=1e-4)


def test_encoder_and_decoder_are_functional(model: Seq2Seq) -> None:
    lines: list[str] = []
    model.encoder.summary(print_fn=lines.append)
    model.decoder.summary(print_fn=lines.append)
    assert "source_embedding" in "".join(lines) and "target_embedding" in "".join(lines)
    assert model.encoder.get_layer("source_embedding") and model.decoder.get_layer("target_embedding")
