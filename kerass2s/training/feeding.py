"""Feedings: what the decoder is given as its previous output while it is trained."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Self

import keras
import tensorflow as tf

from kerass2s.context import choose
from kerass2s.decoders import Decoder
from kerass2s.decoders.base import Start
from kerass2s.decoding.search import Step, any_batch, log_probabilities, may_grow
from kerass2s.errors import ConfigError
from kerass2s.training.decay import Decay

__all__ = ["Feeding", "FreeRunning", "ScheduledSampling", "TeacherForcing", "TeacherForcingRatio", "run_steps"]

Feed = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""`feed(t, true [B, ...], prediction [B, ...]) -> input [B, ...]` of position t, from the prediction before it."""


def run_steps(step: Step, target: Any, start: Start, feed: Feed) -> tf.Tensor:
    """Run a decoder's steps in training, each fed what `feed` says, `target [B, T, ...] -> predictions [B, T, ...]`.

    The first step is fed the start, whatever `feed` is. Gradients flow back through the carried state, and through
    what is fed where `feed` lets them.
    """
    target = tf.convert_to_tensor(target)
    length = tf.shape(target)[1]

    def take(t: tf.Tensor, previous: tf.Tensor, state: Any, predictions: tf.TensorArray) -> tuple[Any, ...]:
        output = step(feed(t, target[:, t], previous), state, start.memory, training=True)
        return t + 1, output.prediction, output.state, predictions.write(t, output.prediction)

    # The first step stands before the loop: only its output tells how wide a prediction is, and of which type.
    first = step(target[:, 0], start.state, start.memory, training=True)
    predictions = tf.TensorArray(first.prediction.dtype, length).write(0, first.prediction)
    *_, predictions = tf.while_loop(
        lambda t, *_: t < length,
        take,
        (tf.constant(1), first.prediction, first.state, predictions),
        shape_invariants=(
            tf.TensorShape([]),
            any_batch(first.prediction),
            tf.nest.map_structure(may_grow, first.state),
            tf.TensorShape(None),
        ),
        maximum_iterations=length - 1,
    )
    stacked = predictions.stack()
    return tf.transpose(stacked, [1, 0, *range(2, len(stacked.shape))])


# === What stands in for the truth ===


def likeliest(prediction: tf.Tensor, dtype: tf.DType, seed: tf.Tensor | None = None) -> tf.Tensor:
    """Return the model's own choice, as greedy search makes it: `logits [B, V] -> ids [B]`, and values as they are."""
    if not dtype.is_integer:
        return tf.cast(prediction, dtype)
    return tf.argmax(log_probabilities(prediction), axis=1, output_type=dtype)


def drawn(prediction: tf.Tensor, dtype: tf.DType, seed: tf.Tensor) -> tf.Tensor:
    """Draw a token from the model's distribution, `logits [B, V] -> ids [B]`; PAD and START are never drawn.

    Raises:
        ConfigError: the decoder predicts values, not a distribution.
    """
    if not dtype.is_integer:
        raise ConfigError(
            "feedback 'sample' draws tokens; a decoder of vectors has its values fed back as they are by "
            f"feedback 'argmax'. Received: a target of {dtype.name}"
        )
    return tf.random.stateless_categorical(log_probabilities(prediction), 1, seed, dtype=dtype)[:, 0]


FEEDBACKS = {"argmax": likeliest, "sample": drawn}
COINS = {"sequence": 1, "token": None}
"""How many coins a row takes; None for as many as it has positions."""


# === Feedings ===


class Feeding:
    """Base of the feedings: how the training predictions of a whole target come about.

    A feeding keeps no state. What it draws depends on its seed and the training step alone, and the step is the
    optimizer's count, which Keras saves: a run that is resumed goes on where it was.
    """

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, at training step `step` from 0 on.

        `target` is shifted right: `[start, y_1, …]`.
        """
        raise TypeError(f"A Feeding must say what the decoder is fed. Received: {type(self).__name__}")

    def report(self, step: Any) -> dict[str, Any]:
        """Return what `fit` shows beside the metrics at a step, by name: nothing unless it changes with the step."""
        return {}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments: none."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make one again from `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable("kerass2s")
class TeacherForcing(Feeding):
    """Feeds the true previous output at every position (Williams and Zipser 1989).

    For the target `[7, 8, 9, 5, 6]`, whose last token is the end, the hidden state carries on as it is:

        position     1      2   3   4   5
        fed          start  7   8   9   5
        label        7      8   9   5   6
    """

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, all positions at once."""
        return decoder.sequence(target, start, training=True)


@keras.saving.register_keras_serializable("kerass2s")
class FreeRunning(Feeding):
    """Feeds the model's own previous output from the second position on, as greedy search does.

    For the target `[7, 8, 9, 5, 6]`, and a model that says 7, 4, 9, 5, 5:

        position     1      2   3   4   5
        fed          start  7   4   9   5
        model says   7      4   9   5   5
        label        7      8   9   5   6

    The labels do not move with what was said. A model that says the end early is fed the end, and goes on to the length
    of the target; beyond a row's own length it is fed whatever it says, and no label there has weight. A token is a
    hard choice without a gradient, so the loss of a position reaches earlier ones by the hidden state alone; values
    are fed as they are, and the gradient flows through them too.
    """

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, one step after another."""
        return run_steps(decoder.step, target, start, lambda t, true, previous: likeliest(previous, true.dtype))


class _CoinTossing(Feeding):
    """Base of the feedings that toss coins: heads feeds the true previous output, tails the model's own.

    Args:
        seed: of the coins; None draws one from Python's random numbers, which `keras.utils.set_random_seed` seeds.
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = random.randrange(2**31) if seed is None else seed

    def mix(
        self, decoder: Decoder, target: Any, start: Start, step: Any, heads: Any, per: str, feedback: str
    ) -> tf.Tensor:
        """Run the steps, with `heads` the probability of the truth, and one coin per sequence or token."""
        target = tf.convert_to_tensor(target)
        seed = self._seed_of(step)
        rows, length = tf.unstack(tf.shape(target)[:2])
        coins = tf.random.stateless_uniform([rows, COINS[per] or length], seed) < heads
        true_fed = tf.broadcast_to(coins, [rows, length])
        own = FEEDBACKS[feedback]

        def feed(t: tf.Tensor, true: tf.Tensor, previous: tf.Tensor) -> tf.Tensor:
            coin = tf.reshape(true_fed[:, t], [-1] + [1] * (len(true.shape) - 1))
            # t is at least 1 here: no draw shares the seed of the coins.
            return tf.where(coin, true, own(previous, true.dtype, tf.random.fold_in(seed, t)))

        return run_steps(decoder.step, target, start, feed)

    def _seed_of(self, step: Any) -> tf.Tensor:
        """Return the seed int32 [2] of a training step, another one on each replica of a distributed run."""
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        return tf.random.fold_in(tf.stack([self.seed, tf.cast(step, tf.int32)]), replica)


@keras.saving.register_keras_serializable("kerass2s")
class TeacherForcingRatio(_CoinTossing):
    """Feeds the truth with a fixed probability, and the model's likeliest previous output otherwise.

    With `per="sequence"` one coin decides for a whole row, each row by its own; PyTorch's translation tutorial tosses
    the same coin, one per batch, of one sequence. With `per="token"` each position has its own coin, which Bengio et
    al. 2015 found to be much the better (section 4.1).

    For the target `[7, 8, 9, 5, 6]`, and a model that says 7, 4, 9, 5, 5:

        position                            1      2   3   4   5
        coins, per token                           T   F   T   F     (there is no choice at the first position)
        fed                                 start  7   4   9   5
        fed, per sequence, if it shows T    start  7   8   9   5
        fed, per sequence, if it shows F    start  7   4   9   5
        label                               7      8   9   5   6

    Ratio 1 is `TeacherForcing`, and ratio 0 `FreeRunning`.

    Args:
        ratio: the probability of the truth, in [0, 1].
        per: "sequence" or "token".
        seed: of the coins; None draws one from Python's random numbers, which `keras.utils.set_random_seed` seeds.

    Raises:
        ConfigError: a ratio out of range or an unknown `per`.
    """

    def __init__(self, ratio: float, per: str = "sequence", seed: int | None = None) -> None:
        if not 0 <= ratio <= 1:
            raise ConfigError(f"ratio must be in [0, 1]. Received: {ratio!r}")
        choose("per", per, COINS)
        super().__init__(seed)
        self.ratio = ratio
        self.per = per

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, one step after another."""
        return self.mix(decoder, target, start, step, self.ratio, self.per, "argmax")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"ratio": self.ratio, "per": self.per, "seed": self.seed}


@keras.saving.register_keras_serializable("kerass2s")
class ScheduledSampling(_CoinTossing):
    """Feeds the truth less and less often, and otherwise what the model says, a coin per token (Bengio et al. 2015).

    The decay gives the probability ε_i of the truth at training step i, the number of updates so far. `fit` shows
    1 - ε_i as `sampling_probability`; the count is saved with the optimizer, so a resumed run goes on with the
    curriculum, and a model that is compiled anew begins it again.

    For the target `[7, 8, 9, 5, 6]` at a step where ε_i is one half:

        position                   1      2   3   4   5
        coins                             F   T   F   T
        drawn from the model              7   8   4   5     (each from the prediction of the position before)
        fed                        start  7   8   4   5
        label                      7      8   9   5   6

    Args:
        decay: ε by training step: `ConstantDecay`, `LinearDecay`, `ExponentialDecay` or `InverseSigmoidDecay`.
        feedback: "sample" draws from the model's distribution, as the paper does; "argmax" takes the likeliest token,
            and feeds a decoder of vectors its values.
        seed: of the coins and draws; None draws one from Python's random numbers, which
            `keras.utils.set_random_seed` seeds.

    Raises:
        ConfigError: `decay` is no decay, or an unknown feedback.
    """

    def __init__(self, decay: Decay, feedback: str = "sample", seed: int | None = None) -> None:
        if not isinstance(decay, Decay):
            raise ConfigError(f"decay must be a Decay, such as InverseSigmoidDecay(k=2000). Received: {decay!r}")
        choose("feedback", feedback, FEEDBACKS)
        super().__init__(seed)
        self.decay = decay
        self.feedback = feedback

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, one step after another."""
        return self.mix(decoder, target, start, step, self.decay(step), "token", self.feedback)

    def report(self, step: Any) -> dict[str, Any]:
        """Return how likely an own output is fed at a step: `sampling_probability`."""
        return {"sampling_probability": 1 - self.decay(step)}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "decay": keras.saving.serialize_keras_object(self.decay),
            "feedback": self.feedback,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make one again from `get_config`."""
        return cls(**{**config, "decay": keras.saving.deserialize_keras_object(config["decay"])})
