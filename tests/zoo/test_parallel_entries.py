"""transformer2017 and convs2s2017: their papers' sizes, and both ways to run them in every setting."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import SentencePieceTokenizer, Seq2Seq, zoo
from kerass2s.zoo import convs2s2017, transformer2017

SOURCE = np.array([[4, 5, 6, 7, 3], [5, 4, 3, 0, 0], [3, 0, 0, 0, 0]], np.int32)
TARGET = np.array([[2, 4, 5, 6, 5], [2, 6, 4, 0, 0], [2, 0, 0, 0, 0]], np.int32)


def build(name: str, preset: str = "tiny", **settings) -> Seq2Seq:
    """A model over tiny vocabularies."""
    return zoo.build(
        name,
        source_tokenizer=SentencePieceTokenizer.train(["abcd"], "char"),
        target_tokenizer=SentencePieceTokenizer.train(["A B C"], "word"),
        preset=preset,
        **settings,
    )


def transformer_weights(config: transformer2017.Config, source: int, target: int) -> int:
    """How many weights a transformer has over vocabularies of these sizes; 0 for one that it shares."""
    attention = 4 * config.units**2
    feed_forward = 2 * config.units * config.feed_forward_units + config.feed_forward_units + config.units
    norm = 2 * config.units
    encoder_layer = attention + feed_forward + 2 * norm
    decoder_layer = 2 * attention + feed_forward + 3 * norm
    ends = 2 * norm if config.norm == "pre" else 0
    output = 0 if config.tie_embeddings else target * (config.units + 1)
    return config.layers * (encoder_layer + decoder_layer) + ends + config.units * (source + target) + output


def convolutional_weights(config: convs2s2017.Config, source: int, target: int) -> int:
    """How many weights a convolutional model has over vocabularies of these sizes."""
    wide, narrow = config.units, config.embedding_size

    def linear(inputs: int, outputs: int) -> int:
        return (inputs + 1) * outputs

    convolution = linear(config.kernel_size * wide, 2 * wide)
    side = narrow * config.max_positions + linear(narrow, wide) + linear(wide, narrow)
    encoder = side + narrow * source + config.encoder_layers * convolution
    layer = convolution + linear(wide, narrow) + linear(narrow, wide)
    return encoder + side + narrow * target + config.decoder_layers * layer + linear(narrow, target)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("transformer2017", {}),
        ("transformer2017", {"norm": "post", "tie_embeddings": False, "layers": 3}),
        ("convs2s2017", {}),
        ("convs2s2017", {"kernel_size": 4, "decoder_layers": 1}),
    ],
)
def test_the_weights_are_those_of_the_paper(name: str, settings: dict) -> None:
    count = {"transformer2017": transformer_weights, "convs2s2017": convolutional_weights}[name]
    model = build(name, **settings)
    assert model.count_params() == count(model.config, model.codec.source_size, model.codec.target_size)


def test_the_base_transformer_has_the_papers_size() -> None:
    base = transformer2017.PRESETS["paper"]
    model = build("transformer2017", "paper")
    source, target = model.codec.source_size, model.codec.target_size
    layers = model.count_params() - 512 * (source + target)
    assert layers == transformer_weights(base, 0, 0) == 44_101_632
    # Table 3 says 65 million, with one table of about 37,000 rows shared by source, target and output ...
    shared = transformer_weights(base, 0, 37_000)
    assert shared == 63_045_632 == pytest.approx(65e6, rel=0.035)
    # ... and of N = 2, 4 and 8 layers 36, 50 and 80 million: what a layer of each side adds is the paper's.
    deeper = transformer_weights(replace(base, layers=8), 0, 37_000) - transformer_weights(
        replace(base, layers=2), 0, 37_000
    )
    assert deeper == pytest.approx(80e6 - 36e6, rel=0.01)
    # Two vocabularies cost one more table.
    assert transformer_weights(base, 37_000, 37_000) == 81_989_632


def test_the_big_transformer_has_the_papers_size() -> None:
    assert transformer_weights(transformer2017.PRESETS["paper_big"], 0, 37_000) == pytest.approx(213e6, rel=0.01)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("transformer2017", {"norm": "post"}),
        ("transformer2017", {"norm": "post", "tie_embeddings": False, "heads": 1, "layers": 1}),
        ("transformer2017", {"heads": 12, "layers": 3}),
        ("convs2s2017", {"kernel_size": 1}),
        ("convs2s2017", {"kernel_size": 5, "encoder_layers": 1, "decoder_layers": 3, "max_positions": 2}),
    ],
    ids=str,
)
def test_step_by_step_equals_the_whole_sequence_in_other_settings(name: str, settings: dict) -> None:
    model = build(name, **settings)
    for variable in model.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, stddev=0.4, seed=len(variable.path)))
    whole = model({"source_ids": SOURCE, "target_ids": TARGET}).numpy()
    assert np.ptp(whole) > 0.1
    start = model.decoder.begin(model.encoder({"source_ids": SOURCE}))
    state = start.state
    for position in range(TARGET.shape[1]):
        made = model.decoder.step(tf.constant(TARGET[:, position]), state, start.memory)
        state = made.state
        np.testing.assert_allclose(made.prediction, whole[:, position], atol=1e-5)
    wide = {"source_ids": np.pad(SOURCE, ((0, 0), (0, 7))), "target_ids": np.pad(TARGET, ((0, 0), (0, 4)))}
    np.testing.assert_allclose(model(wide).numpy()[:, : TARGET.shape[1]], whole, atol=1e-5)


@pytest.mark.parametrize("name", ["transformer2017", "convs2s2017"])
def test_the_longest_sequence_of_training_is_not_the_longest_there_is(name: str) -> None:
    model = build(name)
    assert len(model.generate(["abcd" * 50])) == 1
