"""Truncated back-propagation through time: under any feeding, the gradient goes back k steps at most."""

from __future__ import annotations

from typing import Any, Self

import keras
import tensorflow as tf

from kerass2s.decoders import Decoder
from kerass2s.decoders.base import Start
from kerass2s.decoding import StepOutput
from kerass2s.decoding.checks import LONGEST, check_whole
from kerass2s.decoding.search import Step
from kerass2s.errors import ConfigError
from kerass2s.training.feeding import Feeding, TeacherForcing, run_steps

__all__ = ["TruncatedBackPropagation"]


@keras.saving.register_keras_serializable("kerass2s")
class TruncatedBackPropagation(Feeding):
    """Lets the gradient go no further back than the last multiple of k steps (Williams and Peng 1990).

    "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories", Neural Computation
    2(4). The positions are cut into pieces of k. The state is carried from piece to piece as it is, so that every
    prediction is that of the feeding alone; but the gradient stops there, and so does that of what is fed, where the
    feeding lets one through. With a k of the target's length and more nothing is cut.

    For the target `[7, 8, 9, 5, 6]`, teacher forced, and k = 2:

        position                               1      2   3   4   5
        fed                                    start  7   8   9   5
        label                                  7      8   9   5   6
        the state comes with its gradient      yes    yes no  yes no
        the loss reaches back to position      1      1   3   3   5

    The state that comes to position 1 is the bridge's, made of the encoder's summary. What never changes, the memory
    of an attention or the context that is fed to each step, is not cut: by it the loss of every position reaches the
    encoder. Without such a thing (`sutskever2014`) the positions after the first k teach the encoder nothing.

    It is for gradients that should not run far, and to see how far they need to. It saves neither memory nor time: the
    steps are taken one after another, as when running free, and all are kept for the way back. A loss that a decoder
    adds where it runs a whole sequence (the coverage of `pointer_generator2017`) is not there. A transformer's cache
    is cut in the same way, but it has no recurrence that would ask for it.

    Args:
        steps: k, at least 1.
        feeding: what is fed; None for `TeacherForcing()`.

    Raises:
        ConfigError: k out of range, or `feeding` is no feeding.
    """

    def __init__(self, steps: int, feeding: Feeding | None = None) -> None:
        check_whole("steps", steps, LONGEST)
        if feeding is not None and not isinstance(feeding, Feeding):
            raise ConfigError(f"feeding must be a Feeding, such as TeacherForcing(). Received: {feeding!r}")
        self.steps = steps
        self.feeding = feeding or TeacherForcing()

    @property
    def likelihood(self) -> float:
        """The share of the compiled loss in what is minimised: that of the feeding."""
        return self.feeding.likelihood

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, one step after another."""
        return self.feeding(_CutDecoder(decoder, self.steps), target, _aged(start, target), step)

    def objective(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the feeding's own loss, [], cut likewise; None for none."""
        return self.feeding.objective(_CutDecoder(decoder, self.steps), target, _aged(start, target), step)

    def report(self, step: Any) -> dict[str, Any]:
        """Return what the feeding has to show."""
        return self.feeding.report(step)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"steps": self.steps, "feeding": keras.saving.serialize_keras_object(self.feeding)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make one again from `get_config`."""
        return cls(**{**config, "feeding": keras.saving.deserialize_keras_object(config["feeding"])})


def _aged(start: Start, target: Any) -> Start:
    """Put beside the state how many steps it has gone through, int32 [B]."""
    return Start({"carried": start.state, "age": tf.zeros(tf.shape(target)[:1], tf.int32)}, start.memory)


class _CutDecoder:
    """Stands before a decoder in a feeding, and cuts the gradient of what comes to each k-th step after the first."""

    def __init__(self, decoder: Decoder, steps: int) -> None:
        self.decoder = decoder
        self.steps = steps

    def sequence(self, target: Any, start: Start, training: bool = False) -> Any:
        """Run teacher forced, in training one step after another."""
        if training:
            return run_steps(self.step, target, start, lambda t, true, previous: true)
        return self.decoder.sequence(target, Start(start.state["carried"], start.memory))

    def step(self, target: Any, state: dict[str, Any], memory: dict[str, Any], training: bool = False) -> StepOutput:
        """Run one position."""
        return self._step(self.decoder.step, target, state, memory, training)

    def soft_step(
        self, probabilities: Any, state: dict[str, Any], memory: dict[str, Any], training: bool = False
    ) -> StepOutput:
        """Run one position that is fed a mixture of tokens."""
        return self._step(self.decoder.soft_step, probabilities, state, memory, training)

    def mixture(self, target: Any) -> Any:
        """Make the mixture that is one token alone."""
        return self.decoder.mixture(target)

    def _step(self, step: Step, fed: Any, state: dict[str, Any], memory: dict[str, Any], training: bool) -> StepOutput:
        age = state["age"]
        here = (age > 0) & (age % self.steps == 0)

        def cut(tensor: tf.Tensor) -> tf.Tensor:
            rows = tf.reshape(here, [-1] + [1] * (len(tensor.shape) - 1))
            return tf.where(rows, tf.stop_gradient(tensor), tensor)

        output = step(cut(fed), tf.nest.map_structure(cut, state["carried"]), memory, training=training)
        return StepOutput(output.prediction, {"carried": output.state, "age": age + 1}, output.alignment)
