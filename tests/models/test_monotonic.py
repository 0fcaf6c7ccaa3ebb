"""Hard attention against brute force: every alignment of a tiny model, one by one."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import BucketByExamples, SentencePieceTokenizer, Seq2Seq, zoo
from kerass2s.decoders.monotonic import TRANSITIONS
from kerass2s.errors import ConfigError

SOURCE = np.array([[4, 5, 3]], np.int32)
TARGET = np.array([[2, 4, 5]], np.int32)


@pytest.fixture(params=list(TRANSITIONS))
def transitions(request: pytest.FixtureRequest) -> str:
    """Each way to move."""
    return request.param


@pytest.fixture
def model(transitions: str) -> Seq2Seq:
    """A tiny model with weights large enough for differences to show."""
    return make(transitions)


def make(transitions: str, **settings) -> Seq2Seq:
    model = zoo.build(
        "hard_monotonic2019",
        source_tokenizer=SentencePieceTokenizer.train(["abcd"], "char"),
        target_tokenizer=SentencePieceTokenizer.train(["A B"], "word"),
        preset="tiny",
        transitions=transitions,
        **settings,
    )
    for variable in model.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, stddev=0.5, seed=len(variable.path)))
    return model


def layer_weights(model: Seq2Seq, name: str) -> dict[str, np.ndarray]:
    layer = model.decoder.get_layer(name)
    return {variable.path.removeprefix(f"{layer.path}/"): variable.numpy() for variable in layer.weights}


def softmax(scores: np.ndarray) -> np.ndarray:
    made = np.exp(scores - scores.max())
    return made / made.sum()


def queries(model: Seq2Seq, target: np.ndarray) -> np.ndarray:
    """d_t of each target position, by Keras' own LSTM, [T, U]."""
    decoder = model.decoder
    embedded = decoder.get_layer("target_embedding")(target)
    return decoder.get_layer("lstm_0")(embedded)[0].numpy()


def emissions(model: Seq2Seq, memory: np.ndarray, query: np.ndarray) -> np.ndarray:
    """p(y_t | a_t) as the paper writes it, [S, V]."""
    of = layer_weights(model, "emission")
    both = np.concatenate([of["query/kernel"], of["emission_key/kernel"]])
    rows = [np.tanh(np.concatenate([query, h]) @ both + of["query/bias"]) for h in memory]
    return np.array([softmax(row @ of["logits/kernel"] + of["logits/bias"]) for row in rows])


def moves(model: Seq2Seq, memory: np.ndarray, query: np.ndarray) -> np.ndarray:
    """p(a_t = column | a_{t-1} = row) as the paper writes it, [S, S]."""
    of, kind = layer_weights(model, "transitions"), model.config.transitions
    size = len(memory)
    table = np.zeros([size, size])
    for row in range(size):
        first = 0 if kind == "free" else row
        if kind == "jumps":
            scores = query @ of["query/kernel"] + of["query/bias"] + memory[row] @ of["transition_key/kernel"]
            scores = scores[: size - row]
        else:
            scores = (memory @ of["transition_key/kernel"] @ query)[first:]
        reached = table[row, first : first + len(scores)]
        reached[:] = softmax(scores)
    return table


def brute_force(model: Seq2Seq, source: np.ndarray, ids: list[int]) -> float:
    """The probability of `ids`, summed over every alignment, one after the other."""
    memory = model.encoder({"source_ids": source})["memory"].numpy()[0]
    hidden = queries(model, np.array([[2, *ids[:-1]]], np.int32))
    emit = [emissions(model, memory, query) for query in hidden]
    move = [moves(model, memory, query) for query in hidden]
    total = 0.0
    for alignment in itertools.product(range(source.shape[1]), repeat=len(ids)):
        before, probability = 0, 1.0
        for t, position in enumerate(alignment):
            probability *= move[t][before, position] * emit[t][position, ids[t]]
            before = position
        total += probability
    return total


def test_the_likelihood_is_the_sum_over_all_alignments(model: Seq2Seq) -> None:
    for ids in ([4, 5, 3], [5, 5, 4], [3, 1, 0]):
        fed = np.array([[2, *ids[:-1]]], np.int32)
        log_probs = model({"source_ids": SOURCE, "target_ids": fed}).numpy()[0]
        found = sum(log_probs[t, label] for t, label in enumerate(ids))
        assert found == pytest.approx(np.log(brute_force(model, SOURCE, ids)), abs=1e-5)


def test_the_probabilities_of_all_targets_sum_to_one(model: Seq2Seq) -> None:
    size = model.codec.target_size
    total = sum(brute_force(model, SOURCE, list(ids)) for ids in itertools.product(range(size), repeat=2))
    assert total == pytest.approx(1, abs=1e-5)
    log_probs = model({"source_ids": SOURCE, "target_ids": TARGET}).numpy()
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)


def priors(model: Seq2Seq, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """p(a_t | y_<t) of each step, [B, T, S]."""
    start = model.decoder.begin(model.encoder({"source_ids": source}))
    state, found = start.state, []
    for position in range(target.shape[1]):
        made = model.decoder.step(tf.constant(target[:, position]), state, start.memory)
        state = made.state
        found.append(made.alignment.numpy())
    return np.stack(found, 1)


@pytest.mark.parametrize("transitions", ["monotonic", "jumps"], indirect=True)
def test_mass_never_moves_left(model: Seq2Seq) -> None:
    source = np.array([[4, 5, 6, 7, 4, 5, 3]], np.int32)
    # Where every position spells alike, the outputs say nothing of the past: what is left of s can only leave.
    emission = model.decoder.get_layer("emission")
    emission.to_logits.kernel.assign(tf.zeros_like(emission.to_logits.kernel))
    reached = priors(model, source, np.array([[2, 4, 5, 4, 1, 5, 3]], np.int32)).cumsum(-1)
    assert (np.diff(reached, axis=1) < 1e-6).all() and (np.diff(reached, axis=1) < -1e-3).any()


def test_a_jump_is_no_longer_than_the_longest() -> None:
    model = make("jumps", longest_jump=1)
    source = np.array([[4, 5, 6, 7, 4, 5, 3]], np.int32)
    found = priors(model, source, np.array([[2, 4, 5]], np.int32))[0]
    for t in range(3):
        assert (found[t, : t + 2] > 0).all() and not found[t, t + 2 :].any()


def test_gradients_are_finite_with_padding(model: Seq2Seq) -> None:
    source = np.array([[4, 5, 6, 7, 3, 0], [3, 0, 0, 0, 0, 0]], np.int32)
    target = np.array([[2, 4, 5, 4, 5, 4, 5, 4], [2, 0, 0, 0, 0, 0, 0, 0]], np.int32)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(model({"source_ids": source, "target_ids": target})[:, :, 4])
    assert np.isfinite(loss)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.path


def test_steps_in_training_share_one_dropout_of_the_query() -> None:
    model = make("monotonic", dropout=0.5)
    start = model.decoder.begin(model.encoder({"source_ids": SOURCE}))
    made = model.decoder.step(tf.constant([2]), start.state, start.memory, training=True)
    assert (made.state["query"].numpy() == 0).any()
    plain = model.decoder.step(tf.constant([2]), start.state, start.memory)
    np.testing.assert_array_equal(plain.state["query"], plain.state["h_0"])


def test_unknown_transitions_are_refused() -> None:
    with pytest.raises(ConfigError, match="free, monotonic, jumps"):
        make("backwards")


def test_the_paper_counts() -> None:
    """The layers of the authors' code with V = 50: one bias per LSTM gate instead of PyTorch's two."""

    def lstm(inputs: int, units: int) -> int:
        return 4 * units * (inputs + units + 1)

    letters = "".join(chr(97 + i) for i in range(26)) + "".join(chr(65 + i) for i in range(20))
    tokenizer = SentencePieceTokenizer.train([letters], "char")
    assert tokenizer.vocabulary_size == 50
    model = zoo.build("hard_monotonic2019", source_tokenizer=tokenizer, target_tokenizer=tokenizer, preset="paper")
    encoder = 50 * 200 + 2 * lstm(200, 400) + 2 * lstm(800, 400)
    decoder = 50 * 200 + lstm(200, 400) + 800 * 400 + (1200 * 1200 + 1200) + (1200 * 50 + 50)
    assert model.encoder.count_params() == encoder
    assert model.decoder.count_params() == decoder


@pytest.mark.parametrize("transitions", ["monotonic", "jumps"], indirect=True)
def test_the_copy_task_is_learned_from_left_to_right(transitions: str) -> None:
    generator = np.random.default_rng(1)
    letters = "abcdef"
    words = list(dict.fromkeys("".join(generator.choice(list(letters), generator.integers(2, 6))) for _ in range(900)))
    tokenizer = SentencePieceTokenizer.train([letters], "char")
    model = zoo.build(
        "hard_monotonic2019",
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        units=32,
        embedding_size=16,
        readout_units=32,
        transitions=transitions,
        dropout=0.0,
    )
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 320), clipnorm=1.0))
    model.fit([(word, word) for word in words[50:]], epochs=13, batching=BucketByExamples(32), verbose=0)
    assert np.mean([a == b for a, b in zip(model.generate(words[:50]), words[:50], strict=True)]) > 0.95
    alignment = model.n_best(["abcdef"])[0][0].alignment
    assert alignment.argmax(1).tolist() == sorted(alignment.argmax(1).tolist())
