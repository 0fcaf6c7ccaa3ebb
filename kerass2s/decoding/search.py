"""What every search shares: the step callable it drives, the loop that drives it, and the result it returns.

Letters: B batch, K hypotheses (beams), N = B * K rows, S source, T target, L = `max_length`, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from kerass2s.errors import ConfigError
from kerass2s.text import PAD_ID, START_ID

Tensors = Mapping[str, Any]
"""A dict of tensors, batch first; a value may be such a dict itself, and the dict may be empty."""

IMPOSSIBLE = -1e9
"""Log-probability of what must never be chosen; finite, so that no infinity enters the arithmetic."""

WIDEST = 1024
LONGEST = 65536


class StepOutput(NamedTuple):
    """One decoding step: what it predicts, the next state (each [N, ...]) and, with attention, alignment [N, S].

    A decoder of tokens predicts logits [N, V]; one of vectors predicts values [N, D].
    """

    prediction: tf.Tensor
    state: Tensors
    alignment: tf.Tensor | None = None


Step = Callable[[tf.Tensor, Tensors, Tensors], StepOutput]
"""`step(ids int32 [N], state, memory) -> StepOutput`; `memory` never changes during a search."""


class SearchResult(NamedTuple):
    """The hypotheses of a batch, best first.

    Attributes:
        ids: int32 [B, K, T], without START and END, PAD after the end; T is the longest of the batch, at least 1.
        lengths: int32 [B, K], END not counted.
        scores: float32 [B, K]; -inf where fewer than K hypotheses exist at all.
        alignments: float32 [B, K, T, S], zero after the end, or None when the step returns no alignment.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    alignments: tf.Tensor | None

    def named(self) -> dict[str, tf.Tensor]:
        """Returns the tensors there are by their names in an export."""
        outputs = {"target_ids": self.ids, "target_lengths": self.lengths, "scores": self.scores}
        return outputs if self.alignments is None else {**outputs, "alignments": self.alignments}


@dataclass
class Hypothesis:
    """One decoded text with its score, its ids (no START, no END) and its alignment [T, S], if there is one."""

    text: str
    score: float
    ids: list[int]
    alignment: np.ndarray | None = None


class Search(Protocol):
    """A way to find likely target sequences; knows a step callable, never a model."""

    @property
    def max_length(self) -> int:
        """The most tokens a hypothesis may have."""
        ...

    def __call__(self, step: Step, state: Tensors, memory: Tensors, first: tf.Tensor) -> SearchResult:
        """Searches from `state` with `memory` (each tensor [B, ...]); `first` int32 [B] is fed before any output."""
        ...


class Carry(Protocol):
    """What a search carries from step to step: a NamedTuple of tensors, these among them."""

    ids: tf.Tensor
    state: Tensors
    alignments: tuple[tf.Tensor, ...]

    @property
    def running(self) -> tf.Tensor:
        """Bool, any shape: what is not decided yet."""
        ...


def check_whole(name: str, value: object, most: int) -> None:
    """Raises ConfigError unless `value` is a whole number from 1 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(f"{name} must be a whole number from 1 to {most}. Received: {value!r}")


def log_probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Returns the model's float32 log-probabilities [N, V] of logits [N, V], with PAD and START made impossible."""
    log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float32), axis=-1)
    ids = tf.range(tf.shape(log_probs)[1])
    return tf.where((ids == PAD_ID) | (ids == START_ID), IMPOSSIBLE, log_probs)


def write(buffer: tf.Tensor, t: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns buffer [N, L, ...] with values [N, ...] at position t of its second axis."""
    length = tf.shape(buffer)[1] if buffer.shape[1] is None else buffer.shape[1]
    here = tf.reshape(tf.range(length), [1, length] + [1] * (len(buffer.shape) - 2)) == t
    return tf.where(here, tf.expand_dims(values, 1), buffer)


def record(alignments: tuple[tf.Tensor, ...], t: tf.Tensor, output: StepOutput, length: int) -> tuple[tf.Tensor, ...]:
    """Writes the step's alignment [N, S] at t of the buffer [N, L, S], made on the first call; () without one."""
    if output.alignment is None:
        return ()
    alignment = tf.cast(output.alignment, tf.float32)
    shape = tf.shape(alignment)
    buffer = alignments[0] if alignments else tf.zeros([shape[0], length, shape[1]])
    return (write(buffer, t, alignment),)


def search_loop(
    step: Step, memory: Tensors, carry: Carry, advance: Callable[[tf.Tensor, Any, StepOutput], Any], max_length: int
) -> Any:
    """Takes a step and lets `advance(t, carry, output)` act on it, until nothing is running or t is max_length.

    The first step is taken before the loop: only its output tells if there are alignments, and how wide they are.
    """

    def take(t: tf.Tensor, carry: Any) -> tuple[tf.Tensor, Any]:
        return t + 1, advance(t, carry, step(carry.ids, carry.state, memory))

    t, carry = take(tf.constant(0), carry)
    shapes = tf.nest.map_structure(any_batch, carry)._replace(state=tf.nest.map_structure(may_grow, carry.state))
    _, carry = tf.while_loop(
        lambda t, carry: (t < max_length) & tf.reduce_any(carry.running),
        take,
        (t, carry),
        shape_invariants=(tf.TensorShape([]), shapes),
    )
    return carry


def any_batch(tensor: tf.Tensor) -> tf.TensorShape:
    """Returns the shape of a tensor [N, ...] in a loop, where N may be any number."""
    return tf.TensorShape([None] * min(1, len(tensor.shape))).concatenate(tensor.shape[1:])


def may_grow(tensor: tf.Tensor) -> tf.TensorShape:
    """Returns the shape of a state [N, ..., D] in a loop: a cache grows along any axis but the last."""
    free = max(1, len(tensor.shape) - 1)
    return tf.TensorShape([None] * free).concatenate(tensor.shape[free:])


def finish(ids: tf.Tensor, paths: tf.Tensor, scores: tf.Tensor, alignments: tuple[tf.Tensor, ...]) -> SearchResult:
    """Cuts ids [B, K, L] to the longest, and gathers the alignments along each hypothesis' path.

    Args:
        ids: int32 [B, K, L], PAD after the end.
        paths: int32 [B, K, L], the beam that each token was chosen from.
        scores: float32 [B, K], IMPOSSIBLE where there is no hypothesis.
        alignments: () or one buffer float32 [B * K, L, S], each position in the beam order of its step.
    """
    # Axes of reductions are counted from the front: ONNX Runtime 1.31 keeps a negative one when B is 0.
    lengths = tf.reduce_sum(tf.cast(ids != PAD_ID, tf.int32), axis=2)
    longest = tf.reduce_max(tf.concat([[1], tf.reshape(lengths, [-1])], axis=0))
    cut = ids[:, :, :longest]
    scores = tf.where(scores > IMPOSSIBLE / 2, scores, -np.inf)
    if not alignments:
        return SearchResult(cut, lengths, scores, None)
    beams, length = ids.shape[1:]
    first_beams = tf.reshape(tf.range(tf.shape(ids)[0]), [-1, 1, 1]) * beams
    rows = (first_beams + paths[:, :, :longest]) * length + tf.range(longest)
    gathered = tf.gather(tf.reshape(alignments[0], [-1, tf.shape(alignments[0])[2]]), rows)
    return SearchResult(cut, lengths, scores, gathered * tf.cast(cut != PAD_ID, tf.float32)[..., None])
