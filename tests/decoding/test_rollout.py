"""The rollout against sums that a test can do, and through ONNX with the horizon as an input."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from kerass2s.decoding import Rollout, Source, StepOutput, parse_search, search_spec
from kerass2s.errors import ConfigError
from kerass2s.export.conversion import to_onnx


class Accumulator:
    """Predicts the sum of all it was fed, plus what the memory holds; aligned to what it was fed."""

    def __init__(self, aligned: bool = False) -> None:
        self.aligned = aligned

    def step(self, values: tf.Tensor, state: dict, memory: dict) -> StepOutput:
        """One position: values [B, 1] and the sum [B, 1] give the next of both."""
        total = state["total"] + values
        return StepOutput(total + memory["more"], {"total": total}, values if self.aligned else None)

    def begin(self, rows: int) -> tuple[dict, dict, tf.Tensor, Source]:
        """Returns state, memory, first vectors and sources."""
        return (
            {"total": tf.zeros([rows, 1])},
            {"more": tf.ones([rows, 1])},
            tf.reshape(tf.range(float(rows)), [rows, 1]),
            Source.of(tf.zeros([rows, 1, 1]), tf.ones([rows], tf.int32), aligned=self.aligned),
        )


def test_it_feeds_back_what_it_predicts() -> None:
    found = tf.function(Rollout(4))(Accumulator().step, *Accumulator().begin(2))
    # From 0: 0 + 1 = 1, fed: 1 + 1 = 2, fed: 3 + 1 = 4, fed: 7 + 1 = 8. From 1: 2, 4, 8, 16.
    assert found.values[:, :, 0].numpy().tolist() == [[1, 2, 4, 8], [2, 4, 8, 16]]
    assert found.alignments is None
    assert list(found.named()) == ["target_values"]


def test_alignments_are_those_of_one_hypothesis() -> None:
    model = Accumulator(aligned=True)
    found = Rollout(3)(model.step, *model.begin(2))
    assert found.alignments[:, :, :, 0].numpy().tolist() == [[[0, 1, 2]], [[1, 2, 4]]]
    assert set(found.named()) == {"target_values", "alignments"}


@pytest.mark.parametrize("horizon", [-1, 0, 1, 3, 50])
def test_the_graph_may_tell_another_horizon(horizon: int) -> None:
    run = tf.function(lambda steps: Rollout(4)(Accumulator().step, *Accumulator().begin(2), horizon=steps))
    assert run(tf.constant(horizon)).values.shape == (2, max(horizon, 0), 1)


def test_onnxruntime_rolls_out_the_same_for_any_horizon() -> None:
    signature = [tf.TensorSpec([None, 1], name="first"), tf.TensorSpec([], tf.int32, "horizon")]

    @tf.function(input_signature=signature)
    def function(first: tf.Tensor, horizon: tf.Tensor) -> dict[str, tf.Tensor]:
        step = Accumulator(aligned=True).step
        source = Source.of(first[:, None], tf.ones([tf.shape(first)[0]], tf.int32), aligned=True)
        found = Rollout()(step, {"total": first * 0}, {"more": first * 0 - 0.5}, first, source, horizon=horizon)
        return {name: tf.identity(part, name) for name, part in found.named().items()}

    model = to_onnx(function, signature)
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx.ml"}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for rows, horizon in [(1, 1), (3, 5), (0, 4), (2, 0), (2, 20)]:
        first = np.linspace(0.1, 0.9, rows, dtype=np.float32)[:, None]
        found = dict(
            zip(names, session.run(names, {"first": first, "horizon": np.array(horizon, np.int32)}), strict=True)
        )
        for name, expected in function(first, horizon).items():
            np.testing.assert_allclose(found[name], expected, rtol=1e-5)


def test_its_spec() -> None:
    assert parse_search("rollout:96") == parse_search("rollout:horizon=96") == Rollout(96)
    assert search_spec(Rollout(96)) == "rollout:96"
    assert search_spec(parse_search("rollout")) == "rollout:24"
    for spec, what in [
        ("rollout:0", "horizon must be"),
        ("rollout:x", "must be a whole number"),
        ("rolout:3", "'rollout'"),
    ]:
        with pytest.raises(ConfigError, match=what):
            parse_search(spec)
