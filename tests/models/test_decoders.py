"""The seam of every zoo member: steps equal the sequence, padding changes nothing, gradients reach the encoder."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import BeamSearch, GreedySearch, SentencePieceTokenizer, Seq2Seq, zoo

SOURCE = np.array([[4, 5, 6, 7, 3], [5, 4, 3, 0, 0], [3, 0, 0, 0, 0]], np.int32)
TARGET = np.array([[2, 4, 5, 6, 5], [2, 6, 4, 0, 0], [2, 0, 0, 0, 0]], np.int32)


def variants() -> list[tuple[str, dict]]:
    """Every zoo member at its default, and those with a choice of cell or depth at another."""
    return [
        *((name, {}) for name in zoo.names()),
        ("bahdanau2015", {"cell": "lstm", "encoder_layers": 2}),
        ("luong2015", {"cell": "gru", "encoder_layers": 2, "decoder_layers": 2, "residual": True}),
        ("luong2015", {"encoder_layers": 3, "decoder_layers": 2, "residual": True, "bidirectional": False}),
        ("sutskever2014", {"reverse_source": False, "layers": 3}),
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


def stepwise(model: Seq2Seq, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, list]:
    """Logits [B, T, V] and alignments of the target, one step at a time."""
    start = model.decoder.begin(model.encoder({"source_ids": source}))
    state, logits, alignments = start.state, [], []
    for position in range(target.shape[1]):
        made = model.decoder.step(tf.constant(target[:, position]), state, start.memory)
        state = made.state
        logits.append(made.prediction.numpy())
        alignments.append(made.alignment)
    return np.stack(logits, 1), alignments


def test_step_by_step_equals_the_whole_sequence(model: Seq2Seq) -> None:
    whole = model({"source_ids": SOURCE, "target_ids": TARGET}).numpy()
    steps, _ = stepwise(model, SOURCE, TARGET)
    assert np.ptp(whole) > 0.1
    np.testing.assert_allclose(steps, whole, atol=1e-5)


def test_more_padding_changes_nothing(model: Seq2Seq) -> None:
    wide = {"source_ids": np.pad(SOURCE, ((0, 0), (0, 7))), "target_ids": np.pad(TARGET, ((0, 0), (0, 4)))}
    plain = model({"source_ids": SOURCE, "target_ids": TARGET}).numpy()
    np.testing.assert_allclose(model(wide).numpy()[:, : TARGET.shape[1]], plain, atol=1e-5)


def test_the_batch_changes_nothing(model: Seq2Seq) -> None:
    together = model({"source_ids": SOURCE, "target_ids": TARGET}).numpy()
    alone = model({"source_ids": SOURCE[1:2, :3], "target_ids": TARGET[1:2, :3]}).numpy()
    np.testing.assert_allclose(together[1:2, :3], alone, atol=1e-5)


def test_alignments_are_distributions_over_real_positions(model: Seq2Seq) -> None:
    _, alignments = stepwise(model, SOURCE, TARGET)
    if model.architecture in ("sutskever2014", "cho2014"):
        assert alignments == [None] * TARGET.shape[1]
        return
    for alignment in alignments:
        np.testing.assert_allclose(alignment.numpy().sum(1), 1, atol=1e-6)
        assert not alignment.numpy()[SOURCE == 0].any()


def gradients(model: Seq2Seq, cut: bool) -> list[tf.Tensor | None]:
    """The loss's gradient in each encoder weight, with the context let through or cut."""
    with tf.GradientTape() as tape:
        context = model.encoder({"source_ids": SOURCE})
        if cut:
            context = {name: tf.stop_gradient(value) for name, value in context.items()}
        logits = model.decoder.sequence(tf.constant(TARGET), model.decoder.begin(context))
        loss = tf.reduce_sum(tf.nn.log_softmax(logits)[:, :, 4])
    return tape.gradient(loss, model.encoder.trainable_variables)


def test_the_loss_flows_through_the_context_into_every_encoder_weight(model: Seq2Seq) -> None:
    for variable, gradient in zip(model.encoder.trainable_variables, gradients(model, cut=False), strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path


def test_a_cut_context_gives_the_encoder_no_gradient(model: Seq2Seq) -> None:
    for gradient in gradients(model, cut=True):
        assert gradient is None or not np.abs(tf.convert_to_tensor(gradient)).any()


def test_every_weight_is_trained_once(model: Seq2Seq) -> None:
    paths = [id(variable) for variable in model.trainable_variables]
    assert len(paths) == len(set(paths))
    assert len(paths) == len(model.encoder.trainable_variables) + len(model.decoder.trainable_variables)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model({"source_ids": SOURCE, "target_ids": TARGET})[:, :, 4] ** 2)
    names = [variable.path for variable in model.trainable_variables]
    found = tape.gradient(loss, model.trainable_variables)
    assert not [name for name, gradient in zip(names, found, strict=True) if gradient is None]


def test_ids_beyond_the_length_are_ignored(model: Seq2Seq) -> None:
    noisy = np.where(SOURCE == 0, 6, SOURCE)
    lengths = (SOURCE != 0).sum(1).astype(np.int32)
    for search in (GreedySearch(max_length=6), BeamSearch(width=2, max_length=6)):
        clean = model.search_graph(tf.constant(SOURCE), tf.constant(lengths), search)
        noise = model.search_graph(tf.constant(noisy), tf.constant(lengths), search)
        np.testing.assert_array_equal(clean.ids, noise.ids)
        np.testing.assert_allclose(clean.scores, noise.scores, atol=1e-5)


def test_search_scores_are_the_log_probabilities_of_teacher_forcing(model: Seq2Seq) -> None:
    lengths = (SOURCE != 0).sum(1).astype(np.int32)
    found = model.search_graph(tf.constant(SOURCE), tf.constant(lengths), BeamSearch(width=3, max_length=5))
    for row in range(len(SOURCE)):
        for beam in range(3):
            ids = found.ids[row, beam, : found.lengths[row, beam]].numpy().tolist()
            labels = ids + [3] * (len(ids) < 5)
            fed = {"source_ids": SOURCE[row : row + 1], "target_ids": np.array([[2, *labels[:-1]]], np.int32)}
            logits = model(fed)[0].numpy()
            total = sum(tf.nn.log_softmax(logits[i])[label].numpy() for i, label in enumerate(labels))
            np.testing.assert_allclose(found.scores[row, beam], total, atol=1e-4)


def test_encoder_and_decoder_are_functional(model: Seq2Seq) -> None:
    lines: list[str] = []
    model.encoder.summary(print_fn=lines.append)
    model.decoder.summary(print_fn=lines.append)
    assert "source_embedding" in "".join(lines) and "target_embedding" in "".join(lines)
    assert model.encoder.get_layer("source_embedding") and model.decoder.get_layer("target_embedding")
