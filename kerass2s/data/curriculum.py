"""Curricula: which share of the pairs training may draw from, by step, from the shortest alone to all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from kerass2s.errors import ConfigError

__all__ = ["Pace", "ShortFirst"]


@dataclasses.dataclass(frozen=True)
class ShortFirst:
    """Short pairs first, then longer ones, then all (Bengio et al. 2009, Platanios et al. 2019).

    The competence at training step t is the share of the pairs, shortest first, that may be trained on:

        c(t) = min(1, (t (1 - c_0^p) / T + c_0^p)^(1/p))

    This is the competence function of "Competence-based Curriculum Learning for Neural Machine Translation",
    arXiv:1903.09848, with length as the difficulty: linear for p = 1, the square root that they recommend for p = 2.
    The length of a pair is that of its longer side.

    The data is passed over as always, each pass in a new order; a pass takes the pairs that the competence at its
    beginning allows, so the first passes are short ones, and as many of them as fit make an epoch. An epoch has as
    many batches as without a curriculum. With c_0 = 0.1 and 1000 pairs in batches of 10, the first pass is of the 100
    shortest pairs, and the competence at batch 10 decides on the second.

    A step is a batch. Where a run stands follows from the optimizer's count of updates, which Keras saves: a resumed
    run goes on with the curriculum, and a model that is compiled anew begins it again. Validation sees every pair.

    Attributes:
        steps: T, the batches until all pairs are allowed.
        initial: c_0, the share at the start, in (0, 1].
        power: p, at least 1; the greater, the sooner longer pairs come.

    Raises:
        ConfigError: a value out of range.
    """

    steps: int
    initial: float = 0.1
    power: float = 2.0

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.steps < 1:
            raise ConfigError(f"steps of ShortFirst must be at least 1. Received: {self.steps!r}")
        if not 0 < self.initial <= 1:
            raise ConfigError(f"initial of ShortFirst must be in (0, 1]. Received: {self.initial!r}")
        if not self.power >= 1:
            raise ConfigError(f"power of ShortFirst must be at least 1. Received: {self.power!r}")

    def competence(self, step: tf.Tensor | int) -> tf.Tensor:
        """Return the share of the pairs that a step may draw from, `int [] -> float64 []`."""
        first = self.initial**self.power
        grown = tf.cast(step, tf.float64) * ((1 - first) / self.steps) + first
        return tf.minimum(tf.constant(1, tf.float64), grown ** (1 / self.power))

    def allowed(self, lengths: tf.Tensor, step: tf.Tensor | int) -> tf.Tensor:
        """Return which pairs a step may draw from, at least one, `lengths [N] -> indices int32 [n]` in their order.

        Of pairs of one length, those that stand first are the first to be allowed.
        """
        share = self.competence(step) * tf.cast(tf.size(lengths), tf.float64)
        # A share of 0.3 of 10 pairs is 3, though a root that is rounded may be a hair less.
        count = tf.cast(tf.floor(share + 1e-6), tf.int32)
        return tf.sort(tf.argsort(lengths, stable=True)[: tf.maximum(count, 1)])


@dataclasses.dataclass(frozen=True)
class Pace:
    """Where training stands, which the order of the pairs and a curriculum depend on; asked as each epoch begins.

    Attributes:
        curriculum: what each step may draw from; None for all.
        begin: returns the batches trained on so far.
        epoch: returns the number of the epoch, so that a run that goes on has the orders of one that was never cut
            short; None counts the iterations.
    """

    curriculum: ShortFirst | None
    begin: Callable[[], int]
    epoch: Callable[[], int] | None = None
