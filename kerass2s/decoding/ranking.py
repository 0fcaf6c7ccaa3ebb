"""Rankers: by what the hypotheses of a search are ordered, and how far a growing one can still come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import tensorflow as tf

from kerass2s.context import choose
from kerass2s.decoding.checks import check_flag, check_number
from kerass2s.decoding.filters import Filter
from kerass2s.decoding.search import Source, check_filters
from kerass2s.errors import ConfigError

STRONGEST_PENALTY = 10.0
UNSEEN = 1e-9

NORMALIZATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gnmt": lambda length: (5 + length) / 6,
    "plain": lambda length: length,
}
"""What a length, END counted, is before it is raised to the length penalty."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The fields of every search that ranks hypotheses.

        score = sum / lp(n) ** length_penalty + word_reward * n + coverage_penalty * cp

    where sum is that of the log-probabilities and n counts END. lp(n) is (5 + n) / 6 for "gnmt" (Wu et al. 2016,
    arXiv:1609.08144, equation 14) and n itself for "plain": with a length penalty of 1 the mean. cp is the sum over the
    source's positions of log(min(all attention that it got, 1)), which is never above 0 (the same paper; it needs
    attention). The word reward is that of He et al. 2016, for each token.

    Attributes:
        normalization: "gnmt" or "plain".
        coverage_penalty: 0 or more.
        word_reward: nats for each token; may be negative.
        copy_unknown: see `kerass2s.decoding.copying`.
        filters: what the next token may be; see `kerass2s.decoding.filters`.
    """

    normalization: str = "gnmt"
    coverage_penalty: float = 0.0
    word_reward: float = 0.0
    copy_unknown: bool = False
    filters: tuple[Filter, ...] = field(default=())

    def _check_ranked(self, length_penalty: object) -> None:
        check_number("length_penalty", length_penalty, 0, STRONGEST_PENALTY)
        choose("normalization", self.normalization, NORMALIZATIONS)
        check_number("coverage_penalty", self.coverage_penalty, 0, STRONGEST_PENALTY)
        check_number("word_reward", self.word_reward, -STRONGEST_PENALTY, STRONGEST_PENALTY)
        check_flag("copy_unknown", self.copy_unknown)
        check_filters(self.filters)


class Ranking:
    """The ranker of one search in a graph.

    Args:
        fields: what the search was given.
        length_penalty: float32 []; None where there is none, whatever the graph is given.
        limit: int32 [], the most tokens there can be.
        source: what is known of the sources, its rows those of the search, N.
    """

    def __init__(self, fields: Ranked, length_penalty: tf.Tensor | None, limit: tf.Tensor, source: Source) -> None:
        self._fields = fields
        self._penalty = length_penalty
        self._limit = limit
        self._memory_lengths = source.memory_lengths
        self._width = source.alignment_width

    def start(self, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns the attention that no source position got yet: (), or one buffer float32 [N, S] if it counts."""
        if not self._fields.coverage_penalty:
            return ()
        if self._width is None:
            raise ConfigError("A coverage penalty needs a model with attention. Received: no alignment")
        return (tf.zeros([rows, self._width]),)

    def cover(self, coverage: tuple[tf.Tensor, ...], alignment: tf.Tensor | None) -> tuple[tf.Tensor, ...]:
        """Adds a step's alignment [N, S] to the coverage."""
        return tuple(each + tf.cast(alignment, tf.float32) for each in coverage)

    def score(self, sums: tf.Tensor, lengths: tf.Tensor, coverage: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Ranks what has ended, sums [...] and lengths (END counted) that broadcast, coverage [N, S], N as in sums."""
        lengths = tf.cast(lengths, tf.float32)
        scores = self._normed(sums, lengths)
        if self._fields.word_reward:
            scores += self._fields.word_reward * lengths
        if not coverage:
            return scores
        seen = tf.math.log(tf.clip_by_value(coverage[0], UNSEEN, 1.0))
        real = tf.range(tf.shape(seen)[1])[None, :] < self._memory_lengths[:, None]
        penalty = tf.reduce_sum(tf.where(real, seen, 0.0), axis=1)
        return scores + self._fields.coverage_penalty * tf.reshape(penalty, tf.shape(sums))

    def bound(self, sums: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """Returns what the scores of t + 1 live tokens with these sums cannot exceed, however they go on.

        A sum only falls and the norm only grows, so that the last norm bounds their ratio; the reward is largest at
        one of the two ends; coverage costs nothing at best.
        """
        reward = self._fields.word_reward
        bound = self._normed(sums, tf.cast(self._limit, tf.float32))
        return bound + tf.reduce_max(reward * tf.cast(tf.stack([t + 2, self._limit]), tf.float32)) if reward else bound

    def _normed(self, sums: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        if self._penalty is None:
            return sums
        return sums / NORMALIZATIONS[self._fields.normalization](lengths) ** self._penalty
