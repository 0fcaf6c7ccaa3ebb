"""The pointer-generator: its mixture by hand, its counts, and names that it has never seen."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import BeamSearch, BucketByExamples, GreedySearch, Pair, SentencePieceTokenizer, Seq2Seq, zoo
from kerass2s.decoders.pointer import Coverage, Mixture
from kerass2s.encoders.pointer import CopyIds
from kerass2s.export import export_onnx, export_saved_model, load_predictor
from kerass2s.export.saved_model import load_signatures

# Ids of 7 and more are tokens that the source's tokenizer does not know.
SOURCE = np.array([[4, 8, 6, 8, 3], [7, 4, 3, 0, 0], [3, 0, 0, 0, 0]], np.int32)
TARGET = np.array([[2, 8, 5, 6, 5], [2, 7, 4, 0, 0], [2, 0, 0, 0, 0]], np.int32)


@pytest.fixture(params=[False, True], ids=["plain", "coverage"])
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    """A tiny model, V = V' = 7, with weights large enough for differences to show."""
    tokenizer = SentencePieceTokenizer.train(["abc"], "char")
    model = zoo.build(
        "pointer_generator2017",
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        preset="tiny",
        coverage=request.param,
        dropout=0.0,
    )
    for variable in model.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, stddev=0.4, seed=len(variable.path)))
    return model


def stepwise(model: Seq2Seq, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions [B, T, V + S] and alignments [B, T, S], one step at a time."""
    start = model.decoder.begin(model.encoder({"source_ids": source}))
    state, predictions, alignments = start.state, [], []
    for position in range(target.shape[1]):
        made = model.decoder.step(tf.constant(target[:, position]), state, start.memory)
        state = made.state
        predictions.append(made.prediction)
        alignments.append(made.alignment)
    return np.stack(predictions, 1), np.stack(alignments, 1)


# === Mixture ===


def test_copy_ids_are_those_of_the_docstring() -> None:
    layer = CopyIds([0, -1, -1, 3, 9, -1], 10)
    found = layer(tf.constant([[5, 4, 7, 5, 7, 3, 0], [1, 8, 1, 4, 3, 0, 0]]))
    assert found.numpy().tolist() == [[10, 9, 12, 10, 12, 3, 0], [10, 11, 10, 9, 3, 0, 0]]
    again = CopyIds.from_config(layer.get_config())
    np.testing.assert_array_equal(again(tf.constant([[5, 4, 7]])), [[10, 9, 12]])


def test_the_mixture_by_hand() -> None:
    """V = 5, sources "x e x end pad": x is new and stands in column 5 + 0, e is the target's 4."""
    logits = np.log([[[0.1, 0.2, 0.1, 0.2, 0.4]]]).astype(np.float32)
    gate = np.array([[[np.log(3)]]], np.float32)  # p_gen = 3 / 4
    alignment = np.array([[[0.1, 0.3, 0.2, 0.4, 0.0]]], np.float32)
    found = Mixture()(logits, gate, alignment, tf.constant([[5, 4, 5, 3, 0]])).numpy()
    expected = [0.075, 0.15, 0.075, 0.15 + 0.25 * 0.4, 0.3 + 0.25 * 0.3, 0.25 * 0.3, 0, 0, 0, 0]
    np.testing.assert_allclose(np.exp(found[0, 0]), expected, atol=1e-6)
    assert (found[0, 0, 6:] < -1e8).all()


def test_a_copy_that_gets_no_mass_keeps_a_finite_loss_and_gradient() -> None:
    alignment = tf.constant([[[1.0, 0.0]]])
    with tf.GradientTape() as tape:
        tape.watch(alignment)
        found = Mixture()(tf.zeros([1, 1, 5]), tf.zeros([1, 1, 1]), alignment, tf.constant([[5, 6]]))
        loss = -found[0, 0, 6]
    assert 60 < float(loss) < 80
    assert np.isfinite(tape.gradient(loss, alignment)).all()


def test_predictions_are_distributions_over_what_is_possible(model: Seq2Seq) -> None:
    found = model({"source_ids": SOURCE, "target_ids": TARGET}).numpy()
    assert found.shape == (3, 5, 7 + 5)
    np.testing.assert_allclose(np.exp(found).sum(-1), 1, atol=1e-5)
    # The first row's 8 stands at 1 and 3; the second's 7 at 0. What the target knows is not in a column of its own.
    possible = found[:, 0, 7:] > -1e8
    assert possible.tolist() == [[False, True] + 3 * [False], [True] + 4 * [False], 5 * [False]]


def test_step_by_step_equals_the_whole_sequence(model: Seq2Seq) -> None:
    whole = model({"source_ids": SOURCE, "target_ids": TARGET}).numpy()
    steps, alignments = stepwise(model, SOURCE, TARGET)
    np.testing.assert_allclose(steps, whole, atol=1e-5)
    np.testing.assert_allclose(alignments.sum(-1), 1, atol=1e-6)


def test_more_padding_adds_impossible_columns_only(model: Seq2Seq) -> None:
    plain = model({"source_ids": SOURCE, "target_ids": TARGET}).numpy()
    wide = model({"source_ids": np.pad(SOURCE, ((0, 0), (0, 3))), "target_ids": TARGET}).numpy()
    np.testing.assert_allclose(wide[:, :, :12], plain, rtol=1e-6, atol=1e-5)
    assert (wide[:, :, 12:] < -1e8).all()


def test_unknown_tokens_are_embedded_alike(model: Seq2Seq) -> None:
    """Equal up to which of them is which: another new token in the source or the target changes no other column."""
    fed = {"source_ids": np.where(SOURCE == 8, 11, SOURCE), "target_ids": np.where(TARGET == 8, 10, TARGET)}
    plain = model({"source_ids": SOURCE, "target_ids": TARGET}).numpy()
    np.testing.assert_allclose(model(fed).numpy(), plain, atol=1e-6)


# === Coverage ===


def test_the_coverage_loss_by_hand() -> None:
    """Row 1 attends to 0.7 and 0.3, then to 0.4 and 0.6: it repeats 0.4 + 0.3. Row 2 ends after its first output."""
    alignment = np.array([[[0.7, 0.3], [0.4, 0.6]], [[1.0, 0.0], [1.0, 0.0]]], np.float32)
    layer = Coverage(2.0)
    layer(tf.zeros([2, 2, 3]), alignment, tf.constant([[2, 5], [2, 0]]), training=True)
    assert float(layer.losses[0]) == pytest.approx(2.0 * 0.7 / 3)
    still = Coverage(2.0)
    still(tf.zeros([2, 2, 3]), alignment, tf.constant([[2, 5], [2, 0]]), training=False)
    assert still.losses == []


def test_coverage_is_the_sum_of_the_alignments_and_costs_in_training_only(model: Seq2Seq) -> None:
    model({"source_ids": SOURCE, "target_ids": TARGET})
    assert not model.losses
    model({"source_ids": SOURCE, "target_ids": TARGET}, training=True)
    assert len(model.losses) == (1 if model.config.coverage else 0)
    if not model.config.coverage:
        return
    start = model.decoder.begin(model.encoder({"source_ids": SOURCE}))
    first = model.decoder.step(tf.constant(TARGET[:, 0]), start.state, start.memory)
    second = model.decoder.step(tf.constant(TARGET[:, 1]), first.state, start.memory)
    np.testing.assert_allclose(second.state["coverage"], first.alignment + second.alignment, atol=1e-6)


# === Sizes ===


def test_the_paper_counts() -> None:
    """Section 5: 21,499,600 weights, 1153 more to point, 512 for coverage. The embedding is one there and two here."""
    ends = SimpleNamespace(source_size=50_000, target_size=50_000, copy_table=lambda: [-1] * 50_000)
    entry = zoo.entry("pointer_generator2017")
    encoder, decoder = entry.build(entry.PRESETS["paper"], ends)
    assert encoder.count_params() + decoder.count_params() == 21_499_600 + 1_153 + 512 + 50_000 * 128
    assert decoder.get_layer("p_gen").count_params() == 1_153


# === Names ===

FRAMES = [("my name is {}", "hello {}"), ("{} is my name", "hello {}"), ("call {} now", "calling {}")]


def name(draw: random.Random) -> str:
    return "".join(draw.choices("abcdefghij", k=draw.randint(2, 6))).capitalize()


def made_pairs(count: int, seed: int) -> list[Pair]:
    """Sentences about one or two names that no vocabulary has."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        source, target = draw.choice(FRAMES)
        who = " ".join(name(draw) for _ in range(draw.randint(1, 2)))
        made.append(Pair(source.format(who), target.format(who)))
    return made


UNSEEN = made_pairs(60, 2)


@pytest.fixture(scope="module")
def greeter() -> Seq2Seq:
    """A model that has learned to greet by name; its vocabularies hold no name."""
    keras.utils.set_random_seed(5)
    model = zoo.build(
        "pointer_generator2017",
        source_tokenizer=SentencePieceTokenizer.train([frame.replace("{}", "") for frame, _ in FRAMES], "word"),
        target_tokenizer=SentencePieceTokenizer.train([frame.replace("{}", "") for _, frame in FRAMES], "word"),
        units=24,
        embedding_size=16,
        attention_units=16,
        dropout=0.0,
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.02, 180)
    model.compile(optimizer=keras.optimizers.Adam(schedule, clipnorm=1.0))
    model.fit(made_pairs(600, 1), epochs=10, batching=BucketByExamples(32), verbose=0)
    return model


@pytest.mark.parametrize("search", [GreedySearch(8), BeamSearch(3, 0.0, 8)], ids=["greedy", "beam"])
def test_unseen_names_come_through(greeter: Seq2Seq, search: GreedySearch | BeamSearch) -> None:
    answers = greeter.generate([pair.source for pair in UNSEEN], search)
    right = sum(answer == pair.target for answer, pair in zip(answers, UNSEEN, strict=True))
    assert right / len(UNSEEN) > 0.95


def test_scores_of_copied_labels_are_those_of_the_search(greeter: Seq2Seq) -> None:
    found = greeter.n_best([pair.source for pair in UNSEEN[:8]], GreedySearch(8))
    scores = greeter.score_pairs([Pair(pair.source, one[0].text) for pair, one in zip(UNSEEN, found, strict=False)])
    np.testing.assert_allclose(scores, [one[0].score for one in found], atol=1e-4)
    assert (scores > np.log(0.5)).all()


def test_exports_copy_the_same_names(greeter: Seq2Seq, tmp_path: Path) -> None:
    search = BeamSearch(3, 0.0, 8)
    texts = [*(pair.source for pair in UNSEEN[:9]), "", "Zoë", "call 李 小龙 now", "my name is"]
    expected = [[one.text for one in row] for row in greeter.n_best(texts, search)]
    export_onnx(greeter, tmp_path / "model.onnx", search)
    export_saved_model(greeter, tmp_path / "saved_model", search)
    for path in (tmp_path / "model.onnx", tmp_path / "saved_model"):
        found = load_predictor(path).n_best(texts, batch_size=5)
        assert [[one.text for one in row] for row in found] == expected
    assert expected[11][0] == "calling 李 小龙"
    _loaded, signatures = load_signatures(tmp_path / "saved_model")
    answer = signatures["serving_default"](text=tf.constant(texts))["text"].numpy()
    assert [text.decode() for text in answer] == [row[0] for row in expected]


def test_a_saved_greeter_copies_on(greeter: Seq2Seq, tmp_path: Path) -> None:
    texts = [pair.source for pair in UNSEEN[:5]]
    greeter.save_to_preset(tmp_path / "preset")
    greeter.save(tmp_path / "model.keras")
    for again in (Seq2Seq.from_preset(tmp_path / "preset"), keras.saving.load_model(tmp_path / "model.keras")):
        assert again.generate(texts) == greeter.generate(texts)
