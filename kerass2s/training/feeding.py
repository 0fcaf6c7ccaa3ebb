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
from kerass2s.decoding import StepOutput
from kerass2s.decoding.checks import LONGEST, check_whole
from kerass2s.decoding.search import Step, any_batch, may_grow
from kerass2s.errors import ConfigError
from kerass2s.text import PAD_ID
from kerass2s.training.decay import Decay
from kerass2s.training.feedback import MIXTURES, TOKENS, check_feedback

__all__ = [
    "Feeding",
    "FreeRunning",
    "MultiStep",
    "ScheduledSampling",
    "SeededFeeding",
    "TeacherForcing",
    "TeacherForcingRatio",
    "TwoPass",
    "run_steps",
]

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


COINS = {"sequence": 1, "token": None}
"""How many coins a row takes; None for as many as it has positions."""


# === Feedings ===


class Feeding:
    """Base of the feedings: how the training predictions of a whole target come about.

    A feeding keeps no state. What it draws depends on its seed and the training step alone, and the step is the
    optimizer's count, which Keras saves: a run that is resumed goes on where it was.

    Attributes:
        likelihood: the share of the compiled loss in what is minimised; 1 but where there is an objective.
    """

    likelihood = 1.0

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, at training step `step` from 0 on.

        `target` is shifted right: `[start, y_1, …]`.
        """
        raise TypeError(f"A Feeding must say what the decoder is fed. Received: {type(self).__name__}")

    def objective(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return a loss of the feeding's own, [], that is minimised beside the compiled one; None for none."""
        return None

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
        return run_steps(decoder.step, target, start, lambda t, true, previous: TOKENS["argmax"](previous, true.dtype))


class SeededFeeding(Feeding):
    """Base of the feedings that draw anything.

    Args:
        seed: of the draws; None draws one from Python's random numbers, which `keras.utils.set_random_seed` seeds.
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = random.randrange(2**31) if seed is None else seed

    def seed_of(self, step: Any) -> tf.Tensor:
        """Return the seed int32 [2] of a training step, another one on each replica of a distributed run."""
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        return tf.random.fold_in(tf.stack([self.seed, tf.cast(step, tf.int32)]), replica)


class _CoinTossing(SeededFeeding):
    """Base of the feedings that toss coins: heads feeds the true previous output, tails the model's own."""

    def _tossed(self, target: Any, step: Any, heads: Any, per: str) -> tf.Tensor:
        """Toss the coins of a training step, one per sequence or token: where the truth is fed, `bool [B, T]`."""
        rows, length = tf.unstack(tf.shape(target)[:2])
        coins = tf.random.stateless_uniform([rows, COINS[per] or length], self.seed_of(step)) < heads
        return tf.broadcast_to(coins, [rows, length])

    def _mix(
        self,
        decoder: Decoder,
        target: Any,
        start: Start,
        step: Any,
        true_fed: tf.Tensor,
        feedback: str,
        temperature: float = 1.0,
    ) -> tf.Tensor:
        """Run the steps, fed the truth where `true_fed [B, T]`, and the feedback elsewhere."""
        seed, mixed = self.seed_of(step), feedback in MIXTURES

        def soft_step(fed: tf.Tensor, *rest: Any, training: bool) -> StepOutput:
            # The first step is fed ids, the others what `feed` makes.
            return decoder.soft_step(decoder.mixture(fed) if len(fed.shape) == 1 else fed, *rest, training=training)

        def feed(t: tf.Tensor, true: tf.Tensor, previous: tf.Tensor) -> tf.Tensor:
            # t is at least 1 here: no draw shares the seed of the coins.
            drawing = tf.random.fold_in(seed, t)
            if mixed:
                true, own = decoder.mixture(true), MIXTURES[feedback](previous, temperature, drawing)
            else:
                own = TOKENS[feedback](previous, true.dtype, drawing)
            return tf.where(tf.reshape(true_fed[:, t], [-1] + [1] * (len(true.shape) - 1)), true, own)

        return run_steps(soft_step if mixed else decoder.step, target, start, feed)


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
        true_fed = self._tossed(target, step, self.ratio, self.per)
        return self._mix(decoder, target, start, step, true_fed, "argmax")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"ratio": self.ratio, "per": self.per, "seed": self.seed}


def _check_decay(decay: Any) -> None:
    """Raise ConfigError unless it is a decay."""
    if not isinstance(decay, Decay):
        raise ConfigError(f"decay must be a Decay, such as InverseSigmoidDecay(k=2000). Received: {decay!r}")


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

    With feedback "soft" the position after the first, whose prediction is 7 with probability 0.8 and 4 with 0.2, is
    fed 0.8 e(7) + 0.2 e(4), the mean of the embeddings; the other F likewise. Near a temperature of 0 that is e(7).

    Args:
        decay: ε by training step: `ConstantDecay`, `LinearDecay`, `ExponentialDecay` or `InverseSigmoidDecay`.
        feedback: "sample" draws from the model's distribution, as the paper does; "argmax" takes the likeliest token,
            and feeds a decoder of vectors its values. "soft" feeds the mean of all tokens' embeddings by the model's
            distribution (Goyal, Dyer and Berg-Kirkpatrick 2017, arXiv:1704.06970), "gumbel" that of a relaxed draw
            (Jang, Gu and Poole 2017), "straight_through" a drawn token with the gradient of the relaxed one; through
            these three the loss of a position also reaches the predictions before it. They are for decoders that read
            their tokens by an embedding alone: those that look at the ids themselves (`hard_monotonic2019`), say
            tokens that have no embedding (`pointer_generator2017`) or are of vectors refuse them with a ConfigError.
        temperature: of those three; near 0 the soft mean is the likeliest token's embedding.
        seed: of the coins and draws; None draws one from Python's random numbers, which
            `keras.utils.set_random_seed` seeds.

    Raises:
        ConfigError: `decay` is no decay, or an unknown feedback.
    """

    def __init__(
        self, decay: Decay, feedback: str = "sample", temperature: float = 1.0, seed: int | None = None
    ) -> None:
        _check_decay(decay)
        check_feedback(feedback, temperature)
        super().__init__(seed)
        self.temperature = temperature
        self.decay = decay
        self.feedback = feedback

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, one step after another."""
        true_fed = self._tossed(target, step, self.decay(step), "token")
        return self._mix(decoder, target, start, step, true_fed, self.feedback, self.temperature)

    def report(self, step: Any) -> dict[str, Any]:
        """Return how likely an own output is fed at a step: `sampling_probability`."""
        return {"sampling_probability": 1 - self.decay(step)}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "decay": keras.saving.serialize_keras_object(self.decay),
            "feedback": self.feedback,
            "temperature": self.temperature,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make one again from `get_config`."""
        return cls(**{**config, "decay": keras.saving.deserialize_keras_object(config["decay"])})


@keras.saving.register_keras_serializable("kerass2s")
class MultiStep(_CoinTossing):
    """Predicts up to k steps ahead of the truth: the true output enters at every k-th position alone.

    Goodfellow, Bengio and Courville 2016, section 10.2.1, on what to do about teacher forcing in a model that will run
    free: train with both kinds of input, for example "by predicting the correct target a number of steps in the
    future". Here each row has a coin: with probability `weight` it is trained so, and teacher forced otherwise. A row
    that is trained so draws an offset r from 0 to k - 1, each time a new one: the truth is fed where t - 1 - r is a
    multiple of k, at position t, and the model's own previous output between. A prediction at depth d stands on the
    d - 1 own outputs before it. Over the offsets each position has every depth from 1 to k that it can have. All
    predictions are compared with the true targets, whatever was fed.

    For the target `[7, 8, 9, 5, 6]`, k = 3, and a model that says 7, 4, 9, 5, 5:

        position             1      2   3   4   5
        fed, r = 0           start  7   4   9   5
        depth                1      2   3   1   2
        fed, r = 1           start  7   4   9   5
        depth                1      1   2   3   1
        fed, r = 2           start  7   8   9   5
        depth                1      2   1   2   3
        fed, teacher forced  start  7   8   9   5
        label                7      8   9   5   6

    It is not one run from every true prefix, which would cost k times as much: the carried state (or, in a
    transformer, the cache) has read the own outputs of earlier rounds, and the true output that enters then is read
    on top of them. Nor is it a model with k outputs at a position. k = 1 is `TeacherForcing`, and a k beyond the
    longest target with weight 1 is `FreeRunning` but for at most one true token, at the offset.

    Args:
        k: how many steps ahead, at least 1.
        weight: the share of rows, and so of the loss, that is trained so, in [0, 1]; the others are teacher forced.
        feedback: as in `ScheduledSampling`; through its mixtures the gradient also takes the path from output to input.
        temperature: as there.
        seed: of coins, offsets and draws; None draws one from Python's random numbers, which
            `keras.utils.set_random_seed` seeds.

    Raises:
        ConfigError: k or weight out of range, or an unknown feedback.
    """

    def __init__(
        self,
        k: int,
        weight: float = 0.5,
        feedback: str = "argmax",
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> None:
        check_whole("k", k, LONGEST)
        if not 0 <= weight <= 1:
            raise ConfigError(f"weight must be in [0, 1]. Received: {weight!r}")
        check_feedback(feedback, temperature)
        super().__init__(seed)
        self.k = k
        self.weight = weight
        self.feedback = feedback
        self.temperature = temperature

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, one step after another."""
        rows, length = tf.unstack(tf.shape(target)[:2])
        # Positions fold their t >= 1 into the seed, coins nothing: 0 is left for the offsets.
        seed = tf.random.fold_in(self.seed_of(step), 0)
        offsets = tf.random.stateless_uniform([rows, 1], seed, maxval=self.k, dtype=tf.int32)
        true_fed = (tf.range(length) - offsets) % self.k == 0
        true_fed |= ~self._tossed(target, step, self.weight, "sequence")
        return self._mix(decoder, target, start, step, true_fed, self.feedback, self.temperature)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "k": self.k,
            "weight": self.weight,
            "feedback": self.feedback,
            "temperature": self.temperature,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("kerass2s")
class TwoPass(_CoinTossing):
    """Scheduled sampling in two parallel passes, for decoders that run all positions at once.

    Mihaylova and Martins 2019, "Scheduled Sampling for Transformers", arXiv:1906.07651. The first pass is teacher
    forced; its predictions take the place of the truth, a coin per token, and the second pass runs on the mixed target.
    A training step costs one forward pass more than teacher forcing, however long the target is. An own output here
    was predicted from the true prefix: mistakes do not follow from mistakes, as they do in `ScheduledSampling`.

    For the target `[7, 8, 9, 5, 6]` at a step where ε_i is one half:

        position                   1      2   3   4   5
        first pass, fed            start  7   8   9   5
        first pass says            7      4   9   9   6
        coins                             T   F   T   F
        second pass, fed           start  7   4   9   9     (at an F what the first pass said one position before)
        label                      7      8   9   5   6

    No gradient passes through the first pass: a token is a hard choice and has none. The paper also tries mixtures
    of embeddings, whose gradient it lets through; here those are `ScheduledSampling(decay, "soft")`, one step after
    another. The first pass is made without dropout, as an answer would be. Padding stays padding.

    Args:
        decay: ε by training step, as in `ScheduledSampling`.
        feedback: "argmax" takes the likeliest token, or the values of a decoder of vectors; "sample" draws.
        seed: of the coins and draws; None draws one from Python's random numbers, which
            `keras.utils.set_random_seed` seeds.

    Raises:
        ConfigError: `decay` is no decay, or an unknown feedback.
    """

    def __init__(self, decay: Decay, feedback: str = "argmax", seed: int | None = None) -> None:
        _check_decay(decay)
        choose("feedback", feedback, TOKENS)
        super().__init__(seed)
        self.decay = decay
        self.feedback = feedback

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return the training predictions, `target [B, T, ...] -> [B, T, ...]`, all positions at once, twice."""
        target = tf.convert_to_tensor(target)
        first = decoder.sequence(target, start, training=False)
        flat = tf.reshape(first, tf.concat([[-1], tf.shape(first)[2:]], 0))
        said = TOKENS[self.feedback](flat, target.dtype, tf.random.fold_in(self.seed_of(step), 1))
        own = tf.stop_gradient(tf.reshape(said, tf.shape(target)))
        own = tf.concat([target[:, :1], own[:, :-1]], 1)
        true_fed = self._tossed(target, step, self.decay(step), "token")
        true_fed = true_fed | (target == PAD_ID) if target.dtype.is_integer else true_fed[:, :, None]
        return decoder.sequence(tf.where(true_fed, target, own), start, training=True)

    def report(self, step: Any) -> dict[str, Any]:
        """Return how likely an own output is fed at a step: `sampling_probability`."""
        return {"sampling_probability": 1 - self.decay(step)}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"decay": keras.saving.serialize_keras_object(self.decay), "feedback": self.feedback, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make one again from `get_config`."""
        return cls(**{**config, "decay": keras.saving.deserialize_keras_object(config["decay"])})
