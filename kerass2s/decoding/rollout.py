"""The rollout: a model of vectors runs free, fed its own predictions, for as many steps as are asked for."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerass2s.decoding.checks import LONGEST, check_whole
from kerass2s.decoding.search import Source, Step, StepOutput, Tensors, record, search_loop, unaligned, write


class Trajectory(NamedTuple):
    """What a rollout predicts.

    Attributes:
        values: float32 [B, T, D], T the horizon.
        alignments: float32 [B, 1, T, S], as those of a search for one hypothesis, or None without attention.
    """

    values: tf.Tensor
    alignments: tf.Tensor | None

    def named(self) -> dict[str, tf.Tensor]:
        """Returns the tensors there are by their names in an export."""
        outputs = {"target_values": self.values}
        return outputs if self.alignments is None else {**outputs, "alignments": self.alignments}


class _Rolling(NamedTuple):
    """The last prediction [B, D], state, all predictions so far [B, T, D], alignments [B, T, S], steps are left []."""

    fed: tf.Tensor
    state: Tensors
    values: tf.Tensor
    alignments: tuple[tf.Tensor, ...]
    running: tf.Tensor

    @property
    def ids(self) -> tf.Tensor:
        """The next input, by the name that the loop knows it by."""
        return self.fed


@dataclass(frozen=True)
class Rollout:
    """Feeds a model of vectors its own predictions for `horizon` steps; there is nothing to choose from.

    Raises:
        ConfigError: if `horizon` is not a whole number of at least 1.
    """

    horizon: int = 24

    def __post_init__(self) -> None:
        """Checks the field."""
        check_whole("horizon", self.horizon, LONGEST)

    def settings(self) -> dict[str, np.ndarray]:
        """Returns what the graph can take in place of the rollout's own field, by name."""
        return {"horizon": np.array(self.horizon, np.int32)}

    def __call__(
        self,
        step: Step,
        state: Tensors,
        memory: Tensors,
        first: tf.Tensor,
        source: Source,
        horizon: tf.Tensor | None = None,
    ) -> Trajectory:
        """Rolls out from `state` with `memory` (each tensor [B, ...]) and the vectors `first` [B, D].

        `horizon` int32 [], where it is given, stands in for the rollout's own: an export takes it as an input. One
        below 1 gives no steps.
        """
        wanted = tf.maximum(tf.constant(self.horizon) if horizon is None else horizon, 0)
        rows, places = tf.shape(first)[0], tf.range(wanted)
        values = tf.zeros([rows, wanted, first.shape[1]])
        start = _Rolling(first, state, values, unaligned(rows, places, source), wanted > 0)
        end = search_loop(step, memory, start, functools.partial(self._advance, places))
        return Trajectory(end.values, end.alignments[0][:, None] if end.alignments else None)

    def _advance(self, places: tf.Tensor, t: tf.Tensor, carry: _Rolling, output: StepOutput) -> _Rolling:
        values = tf.cast(output.prediction, tf.float32)
        return _Rolling(
            fed=tf.cast(values, carry.fed.dtype),
            state=output.state,
            values=write(carry.values, t, values, places),
            alignments=record(carry.alignments, t, output, places),
            running=t + 1 < tf.shape(places)[0],
        )
