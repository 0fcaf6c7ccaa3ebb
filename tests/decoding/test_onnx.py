"""Every search converts to standard ONNX operators, and onnxruntime finds what TensorFlow finds."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from kerass2s.decoding import (
    Banned,
    BeamSearch,
    Forced,
    GreedySearch,
    Lexicon,
    MaxRatio,
    MinLength,
    MinRatio,
    Monotonic,
    NoRepeatNgram,
    NoUnknown,
    Prefix,
    RepetitionPenalty,
    SamplingSearch,
    Search,
    Source,
    StepOutput,
)
from kerass2s.export.conversion import to_onnx

UNITS, VOCABULARY = 8, 9


class TinyAttention:
    """An embedding, a matmul state and dot-product attention, with random weights."""

    def __init__(self, seed: int, aligned: bool) -> None:
        generator = np.random.default_rng(seed)
        # Variables, as in a model: the converter would make inputs of captured constants.
        self.embedding = tf.Variable(generator.normal(size=(VOCABULARY, UNITS)), dtype=tf.float32)
        self.recurrent = tf.Variable(generator.normal(size=(UNITS, UNITS)), dtype=tf.float32)
        self.output = tf.Variable(generator.normal(size=(2 * UNITS, VOCABULARY)), dtype=tf.float32)
        self.aligned = aligned

    def step(self, ids: tf.Tensor, state: dict, memory: dict) -> StepOutput:
        """One position: ids [N] and the hidden state give the next hidden state and the logits."""
        hidden = tf.tanh(tf.gather(self.embedding, ids) + state["hidden"] @ self.recurrent)
        energy = tf.reduce_sum(hidden[:, None, :] * memory["memory"], axis=2)
        alignment = tf.nn.softmax(tf.where(memory["mask"], energy, -1e9))
        context = tf.reduce_sum(alignment[:, :, None] * memory["memory"], axis=1)
        logits = tf.concat([hidden, context], axis=-1) @ self.output
        return StepOutput(logits, {"hidden": hidden}, alignment if self.aligned else None)


def graph_of(search: Search, model: TinyAttention):
    settings = search.settings()

    def run(memory: tf.Tensor, source_lengths: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        mask = tf.range(tf.shape(memory)[1])[None, :] < source_lengths[:, None]
        first, source = tf.fill(tf.shape(source_lengths), 2), Source.of(memory, source_lengths, aligned=model.aligned)
        start = {"hidden": memory[:, 0, :]}, {"memory": memory, "mask": mask}
        result = search(model.step, *start, first, source, **dict(zip(settings, given, strict=True)))
        return {name: tf.identity(part, name) for name, part in result._asdict().items() if part is not None}

    signature = [tf.TensorSpec([None, None, UNITS], name="memory"), tf.TensorSpec([None], tf.int32, "source_lengths")]
    signature += [tf.TensorSpec([], value.dtype, name) for name, value in settings.items()]
    return tf.function(run, input_signature=signature, autograph=False)


def convert(function) -> onnxruntime.InferenceSession:
    model = to_onnx(function, function.input_signature)
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx.ml"}
    assert len(model.graph.input) == len(function.input_signature), "what was captured would be an input"
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


SINGLE = (Banned((7,)), NoUnknown(), Prefix((4, 6)), Forced((5, 8)))
LENGTHS = (MinLength(2), MinRatio(0.5), MaxRatio(1.5))
REPEATS = (NoRepeatNgram(2), RepetitionPenalty(1.3))
LEXICON = Lexicon(((), (4,), (4, 5, 6), (4, 5, 7, 8), (8, 1), (6, 6, 6, 6, 6)))


@pytest.mark.parametrize(
    ("search", "aligned"),
    [
        pytest.param(GreedySearch(12, filters=(*SINGLE, *REPEATS)), False, id="greedy-filtered"),
        pytest.param(BeamSearch(1, 0.0, 12), True, id="beam-1"),
        pytest.param(BeamSearch(4, 0.0, 12, filters=(*SINGLE, *LENGTHS)), False, id="beam-filtered"),
        pytest.param(BeamSearch(12, 1.0, 3, filters=(LEXICON,)), True, id="beam-lexicon"),
        pytest.param(
            BeamSearch(
                6,
                0.7,
                12,
                groups=3,
                diversity=1.5,
                normalization="plain",
                coverage_penalty=0.3,
                word_reward=0.4,
                filters=(Monotonic(1, 1, 2.0), *REPEATS),
            ),
            True,
            id="beam-grouped-ranked",
        ),
        pytest.param(
            SamplingSearch(
                4,
                temperature=1.5,
                top_k=5,
                top_p=0.8,
                seed=11,
                length_penalty=0.5,
                max_length=12,
                coverage_penalty=0.2,
                filters=(*LENGTHS, *REPEATS, Monotonic(2)),
            ),
            True,
            id="sample-cut-filtered",
        ),
    ],
)
def test_onnxruntime_finds_the_same(search: Search, aligned: bool):
    function = graph_of(search, TinyAttention(3, aligned))
    session = convert(function)
    names = [output.name for output in session.get_outputs()]
    generator = np.random.default_rng(0)
    for batch, source in [(1, 1), (1, 7), (2, 3), (17, 5), (17, 30), (0, 4)]:
        memory = generator.normal(size=(batch, source, UNITS)).astype(np.float32)
        lengths = generator.integers(1, source + 1, size=batch).astype(np.int32)
        more = generator.integers(3)
        settings = {name: np.asarray(value + more, value.dtype) for name, value in search.settings().items()}
        expected = function(memory, lengths, *settings.values())
        given = {"memory": memory, "source_lengths": lengths, **settings}
        found = dict(zip(names, session.run(None, given), strict=True))
        assert sorted(found) == sorted(expected)
        for name in ("ids", "lengths"):
            np.testing.assert_array_equal(found[name], expected[name])
            assert found[name].dtype == np.int32
        for name in sorted(set(found) - {"ids", "lengths"}):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-4)
