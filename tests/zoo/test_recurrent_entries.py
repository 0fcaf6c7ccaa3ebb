"""The recurrent entries: the papers' parameter counts, and what is each one's own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import BeamSearch, Seq2Seq, TokenCrossentropy, zoo
from kerass2s.errors import ConfigError
from kerass2s.export import export_onnx, load_predictor
from kerass2s.training import TeacherForcingRatio

# === Parameter counts ===


def unfilled(name: str, source_size: int, target_size: int) -> tuple[keras.Model, keras.Model]:
    """Encoder and decoder at the paper's sizes, whose weights have shapes and no values, so that any size is cheap."""

    def build() -> tuple[keras.Model, keras.Model]:
        with keras.StatelessScope(initialize_variables=False):
            codec = SimpleNamespace(source_size=source_size, target_size=target_size)
            return zoo.entry(name).build(zoo.configure(name, "paper"), codec)

    # Keras remembers by thread what is still to be filled: a thread of its own forgets it.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(build).result()


def count(model: keras.Model, *parts: str, rank: int | None = None) -> int:
    """The number of weights whose path has one of the parts in it (all, if none is given), of one rank or of all."""
    return sum(
        int(np.prod(weight.shape))
        for weight in model.weights
        if (not parts or any(part in weight.path for part in parts)) and rank in (None, len(weight.shape))
    )


def lstm(inputs: int, units: int) -> int:
    """The weights of an LSTM."""
    return 4 * units * (inputs + units + 1)


def gru(inputs: int, units: int) -> int:
    """The weights of a GRU with the two biases of Keras and PyTorch."""
    return 3 * units * (inputs + units + 2)


def test_the_counts_are_those_of_a_model_with_values(source_tokenizer, target_tokenizer) -> None:
    model = zoo.build(
        "pytorch_tutorial2017", source_tokenizer=source_tokenizer, target_tokenizer=target_tokenizer, preset="paper"
    )
    parts = unfilled("pytorch_tutorial2017", source_tokenizer.vocabulary_size, target_tokenizer.vocabulary_size)
    assert sum(count(part) for part in parts) == model.count_params()


def test_sutskever2014_has_384_million_weights_64_of_them_recurrent() -> None:
    encoder, decoder = unfilled("sutskever2014", 160_000, 80_000)
    # Section 3.4: "384M parameters of which 64M are pure recurrent connections (32M for the encoder LSTM and …)".
    assert count(encoder) + count(decoder) == 384_112_000
    assert [count(part, "lstm", rank=2) for part in (encoder, decoder)] == [32_000_000, 32_000_000]
    # Beyond 384 million there are the biases alone, which the paper's rounded number does not show.
    assert count(encoder, rank=2) + count(decoder, rank=2) == 384_000_000


def test_cho2014_has_the_matrices_of_its_appendix() -> None:
    encoder, decoder = unfilled("cho2014", 15_000, 15_000)
    embedding, units, maxout = 100, 1000, 500
    assert count(encoder, rank=2) == 15_000 * embedding + gru(embedding, units) - 3 * units * 2 + 6 * units
    # W, U and C of the three gates; O_h, O_y and O_c; G; V' of the first state; E.
    gates = 3 * units * (embedding + units + units)
    readout = 2 * maxout * (units + embedding + units)
    wanted = gates + readout + maxout * 15_000 + units * units + 15_000 * embedding
    assert count(decoder, rank=2) == wanted + 6 * units


def test_bahdanau2015_has_the_matrices_of_its_appendix() -> None:
    encoder, decoder = unfilled("bahdanau2015", 30_000, 30_000)
    # Appendix A.2.3: n = 1000 hidden units, m = 620, l = 500, n' = 1000. Keras' GRU has its two biases in one matrix.
    n, m, maxout, aligned, words = 1000, 620, 500, 1000, 30_000
    assert count(encoder, rank=2) - 2 * 6 * n == words * m + 2 * 3 * (n * m + n * n)
    gates = 3 * (n * m + n * n + 2 * n * n)  # W, U and C of the three
    alignment = aligned + aligned * n + aligned * 2 * n  # v_a, W_a and U_a
    readout = 2 * maxout * (n + m + 2 * n) + words * maxout  # U_o, V_o, C_o and W_o
    assert count(decoder, rank=2) - 6 * n == words * m + gates + alignment + readout + n * n  # W_s


def test_luong2015_has_the_matrices_of_its_equations() -> None:
    encoder, decoder = unfilled("luong2015", 50_000, 50_000)
    # Section 4.1: the 50,000 most frequent words of each side; 4 layers, 1000 cells, embeddings of 1000.
    n, words = 1000, 50_000
    assert count(encoder) == words * n + 4 * lstm(n, n)
    feeding = lstm(2 * n, n) + 3 * lstm(n, n)  # section 3.3: the first layer is twice as wide
    local = n * n + n  # W_p and v_p of equation 9
    combined = 2 * n * n + n  # W_c of equation 5, and a bias
    assert count(decoder) == words * n + feeding + n * n + local + combined + words * (n + 1)  # n * n: W_a


def test_gnmt2016_is_made_as_its_figure_1() -> None:
    encoder, decoder = unfilled("gnmt2016", 32_000, 32_000)
    n, words = 1024, 32_000
    # One layer both ways, one that reads the two, six more.
    assert count(encoder) == words * n + 2 * lstm(n, n) + lstm(2 * n, n) + 6 * lstm(n, n)
    attention = (n * n + n) + n * n + n  # query and its bias, keys, energy
    # Every layer is fed [x; context].
    assert count(decoder) == words * n + 8 * lstm(2 * n, n) + attention + words * (n + 1)


def test_pytorch_tutorial2017_counts_as_pytorch_does() -> None:
    encoder, decoder = unfilled("pytorch_tutorial2017", 4601, 2991)
    h = 128
    assert count(encoder) == 4601 * h + gru(h, h)
    attention = 2 * (h * h + h) + h + 1  # Wa, Ua and Va, a bias each
    assert count(decoder) == 2991 * h + attention + gru(2 * h, h) + 2991 * (h + 1)


def test_keras_lstm_seq2seq_counts_as_the_example_does() -> None:
    encoder, decoder = unfilled("keras_lstm_seq2seq", 71, 93)
    assert count(encoder) == 335_872
    assert [count(decoder, "lstm"), count(decoder, "logits")] == [358_400, 23_901]
    assert count(decoder) == 358_400 + 23_901


# === What is each one's own ===


@pytest.fixture
def make(source_tokenizer, target_tokenizer) -> Callable[..., Seq2Seq]:
    """Builds a tiny model of an architecture."""

    def build(name: str, **settings: object) -> Seq2Seq:
        tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
        return zoo.build(name, **tokenizers, preset="tiny", **settings)

    return build


SOURCE = {"source_ids": np.array([[4, 5, 6, 3], [5, 3, 0, 0]], np.int32)}
FED = tf.constant([2, 2])


def test_luong2015_feeds_the_attentional_vector_to_the_next_step(make) -> None:
    model = make("luong2015", input_feeding=True)
    start = model.decoder.begin(model.encoder(SOURCE))
    assert not start.state["feed"].numpy().any()
    made = model.decoder.step(FED, start.state, start.memory)
    kernel, bias = model.decoder.get_layer("logits").weights
    np.testing.assert_allclose(made.prediction, made.state["feed"] @ kernel + bias, atol=1e-5)  # equation 6
    unfed = {**made.state, "feed": tf.zeros_like(made.state["feed"])}
    steps = [model.decoder.step(FED, state, start.memory).prediction for state in (made.state, unfed)]
    assert np.abs(steps[0] - steps[1]).max() > 1e-4


@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_luong2015_bends_its_attentional_vector_or_not(make, activation: str) -> None:
    model = make("luong2015", activation=activation)
    inputs = {**SOURCE, "target_ids": FED[:, None]}
    before, kernel = model(inputs), model.decoder.get_layer("combine").kernel
    kernel.assign(100 * kernel)  # biases are 0 in a fresh model
    assert np.allclose(model(inputs), 100 * before, rtol=1e-3) == (activation == "linear")


def test_luong2015_reverses_the_source_but_not_the_memory(make) -> None:
    forward, reverse = (make("luong2015", reverse_source=way, bidirectional=False) for way in (False, True))
    reverse.set_weights(forward.get_weights())
    turned = {"source_ids": np.array([[3, 6, 5, 4], [3, 5, 0, 0]], np.int32)}
    ours, theirs = reverse.encoder(SOURCE), forward.encoder(turned)
    np.testing.assert_allclose(ours["summary"], theirs["summary"], atol=1e-6)
    np.testing.assert_allclose(ours["memory"][0], theirs["memory"][0][::-1], atol=1e-6)
    np.testing.assert_allclose(ours["memory"][1, :2], theirs["memory"][1, 1::-1], atol=1e-6)
    assert not ours["memory"][1, 2:].numpy().any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": "cosine"}, "attention must be one of dot, general, concat"),
        ({"alignment": "local_m"}, "alignment must be one of global, local_p"),
        ({"activation": "relu"}, "activation must be one of tanh, linear"),
        ({"attention": "dot"}, "as wide as the query, 12"),
        ({"bridge": "pass"}, "bridge 'pass' needs a summary of size 24"),
    ],
)
def test_luong2015_refuses_what_does_not_fit(make, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make("luong2015", **settings)


def test_luong2015_as_in_the_paper_is_exported(make, tmp_path: Path) -> None:
    settings = {"input_feeding": True, "alignment": "local_p", "window": 2, "reverse_source": True, "bridge": "pass"}
    model = make("luong2015", bidirectional=False, encoder_layers=2, decoder_layers=2, **settings)
    for weight in model.trainable_weights:
        weight.assign(3 * weight)
    search = BeamSearch(2, max_length=6)
    export_onnx(model, tmp_path / "model.onnx", search)
    texts = ["cat", "", "stickit", "t" * 20]
    expected = model.n_best(texts, search)
    assert len({row[0].text for row in expected}) > 1
    for found, wanted in zip(load_predictor(tmp_path / "model.onnx").n_best(texts), expected, strict=True):
        assert [one.text for one in found] == [one.text for one in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            np.testing.assert_allclose(
                one.alignment[:, : other.alignment.shape[1]], other.alignment[:, : one.alignment.shape[1]], atol=1e-4
            )


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_gnmt2016_tells_every_layer_the_context_and_adds_from_the_third_on(make, layers: int) -> None:
    model = make("gnmt2016", layers=layers)
    start = model.decoder.begin(model.encoder(SOURCE))
    assert list(start.state) == [f"{part}_{i}" for i in range(layers) for part in "hc"]
    assert not any(value.numpy().any() for value in start.state.values())
    outputs = model.decoder.step(FED, start.state, start.memory)
    kernel, bias = model.decoder.get_layer("logits").weights
    # What is read out is the top layer's h, and from the third layer on the sum of those.
    hidden = [outputs.state[f"h_{i}"] for i in range(layers)]
    read = sum(hidden[1:]) if layers > 2 else hidden[-1]
    np.testing.assert_allclose(outputs.prediction, read @ kernel + bias, atol=1e-5)


def test_gnmt2016_asks_with_the_previous_output_of_the_bottom_layer(make) -> None:
    model = make("gnmt2016")
    start = model.decoder.begin(model.encoder(SOURCE))
    alignment = model.decoder.step(FED, start.state, start.memory).alignment
    above = {name: value if name.endswith("_0") else value + 1 for name, value in start.state.items()}
    np.testing.assert_array_equal(model.decoder.step(FED + 2, above, start.memory).alignment, alignment)
    bottom = {**start.state, "h_0": start.state["h_0"] + 1}
    assert np.abs(model.decoder.step(FED, bottom, start.memory).alignment - alignment).max() > 1e-4


def test_pytorch_tutorial2017_trains_with_a_ratio_of_teacher_forcing(make, lexicon) -> None:
    model = make("pytorch_tutorial2017", teacher_forcing_ratio=0.25)
    assert isinstance(model.feeding, TeacherForcingRatio)
    assert model.feeding.ratio == 0.25
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss=TokenCrossentropy())
    assert isinstance(model.feeding, TeacherForcingRatio)
    losses = model.fit(lexicon, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_keras_lstm_seq2seq_starts_from_the_final_states_and_learns_no_embedding(make) -> None:
    model = make("keras_lstm_seq2seq")
    encoded = model.encoder(SOURCE)
    state = model.decoder.begin(encoded).state
    np.testing.assert_array_equal(np.concatenate([state["h_0"], state["c_0"]], 1), encoded["summary"])
    np.testing.assert_array_equal(state["h_0"][1], encoded["memory"][1, 1])  # the last real position
    assert len(model.trainable_variables) == 3 + 3 + 2


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bahdanau2015", {}),
        ("gnmt2016", {}),
        ("luong2015", {"input_feeding": True, "decoder_layers": 2}),
        ("pytorch_tutorial2017", {}),
    ],
)
def test_dropout_stands_in_the_step_too(make, name: str, settings: dict) -> None:
    model = make(name, dropout=0.5, **settings)
    start = model.decoder.begin(model.encoder(SOURCE))
    runs = [model.decoder.step(FED, start.state, start.memory, training=flag) for flag in (False, False, True, True)]
    np.testing.assert_array_equal(runs[0].prediction, runs[1].prediction)
    assert np.abs(runs[2].prediction - runs[3].prediction).max() > 0
