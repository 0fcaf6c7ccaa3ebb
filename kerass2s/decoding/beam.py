"""Beam search: the K likeliest hypotheses side by side, with a length penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerass2s.decoding.search import (
    IMPOSSIBLE,
    LONGEST,
    WIDEST,
    SearchResult,
    Step,
    StepOutput,
    Tensors,
    check_whole,
    finish,
    log_probabilities,
    record,
    search_loop,
    write,
)
from kerass2s.errors import ConfigError
from kerass2s.text import END_ID, PAD_ID

STRONGEST_PENALTY = 10.0


class _Beams(NamedTuple):
    """The live beams, and the pool of the K best that have ended.

    A trail [N, L, 2] holds, for every token of a row, the token and the beam it was chosen from.
    """

    ids: tf.Tensor  # int32 [N], the next input
    state: Tensors
    scores: tf.Tensor  # float32 [B, K], sums of log-probabilities; IMPOSSIBLE where no beam lives
    trails: tf.Tensor  # int32 [N, L, 2]
    ended_scores: tf.Tensor  # float32 [B, K], penalised, best first; IMPOSSIBLE where the pool is not full
    ended_trails: tf.Tensor  # int32 [N, L, 2]
    alignments: tuple[tf.Tensor, ...]  # float32 [N, L, S], each position in the beam order of its step

    @property
    def running(self) -> tf.Tensor:
        """Bool [B, K]: which beams live."""
        return self.scores > IMPOSSIBLE / 2


class _Choice(NamedTuple):
    """The K likeliest continuations: score [B, K], row continued [N], beam continued [N], token [N]."""

    scores: tf.Tensor
    rows: tf.Tensor
    beams: tf.Tensor
    tokens: tf.Tensor


@dataclass(frozen=True)
class BeamSearch:
    """Keeps the `width` likeliest continuations at every step; those that end move to a pool of the `width` best.

    The score is the sum of the log-probabilities, END's included, over ((5 + length) / 6) ** length_penalty (Wu et
    al. 2016, arXiv:1609.08144, without coverage), where length counts END. A hypothesis of `max_length` tokens ends
    as it is. An item is done when no live beam can still reach the worst of its full pool.

    Raises:
        ConfigError: if a field is not a number or is out of its range.
    """

    width: int = 5
    length_penalty: float = 0.0
    max_length: int = 256

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_whole("width", self.width, WIDEST)
        check_whole("max_length", self.max_length, LONGEST)
        penalty = self.length_penalty
        is_number = isinstance(penalty, (int, float)) and not isinstance(penalty, bool) and math.isfinite(penalty)
        if not is_number or not 0 <= penalty <= STRONGEST_PENALTY:
            raise ConfigError(f"length_penalty must be from 0 to {STRONGEST_PENALTY:g}. Received: {penalty!r}")

    def __call__(self, step: Step, state: Tensors, memory: Tensors, first: tf.Tensor) -> SearchResult:
        """Searches from `state` with `memory` (each tensor [B, ...]) and the ids `first` [B]; see `SearchResult`."""
        batch = tf.shape(first)[0]
        rows = tf.range(batch * self.width) // self.width
        state, memory = tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), (dict(state), dict(memory)))
        end = search_loop(
            step, memory, self._start(batch, tf.gather(first, rows), state), self._advance, self.max_length
        )
        trails = tf.reshape(end.ended_trails, [-1, self.width, self.max_length, 2])
        return finish(trails[..., 0], trails[..., 1], end.ended_scores, end.alignments)

    def _start(self, batch: tf.Tensor, ids: tf.Tensor, state: Tensors) -> _Beams:
        """One live beam per item: all K are the same before the first token."""
        rows = batch * self.width
        one = tf.constant([[0.0] + [IMPOSSIBLE] * (self.width - 1)])
        none = tf.fill([batch, self.width], IMPOSSIBLE)
        trails = tf.fill([rows, self.max_length, 2], PAD_ID)
        return _Beams(ids, state, tf.tile(one, [batch, 1]), trails, none, trails, ())

    def _advance(self, t: tf.Tensor, beams: _Beams, output: StepOutput) -> _Beams:
        choice = self._choose(beams.scores, log_probabilities(output.prediction))
        links = tf.stack([tf.where(choice.tokens == END_ID, PAD_ID, choice.tokens), choice.beams], axis=-1)
        trails = write(tf.gather(beams.trails, choice.rows), t, links)
        exists = choice.scores > IMPOSSIBLE / 2
        ends = tf.reshape(choice.tokens == END_ID, [-1, self.width]) | (t + 1 == self.max_length)
        ended = tf.where(exists & ends, choice.scores / tf.gather(self._penalties, t), IMPOSSIBLE)
        ended_scores, ended_trails = self._keep_best(beams, ended, trails)
        live = tf.where(exists & ~ends, choice.scores, IMPOSSIBLE)
        return _Beams(
            ids=choice.tokens,
            state=tf.nest.map_structure(lambda tensor: tf.gather(tensor, choice.rows), dict(output.state)),
            scores=tf.where(self._can_still_win(live, ended_scores), live, IMPOSSIBLE),
            trails=trails,
            ended_scores=ended_scores,
            ended_trails=ended_trails,
            alignments=record(beams.alignments, t, output, self.max_length),
        )

    def _choose(self, scores: tf.Tensor, log_probs: tf.Tensor) -> _Choice:
        """Takes the K best of the K * V continuations of scores [B, K] by log_probs [N, V]."""
        vocabulary = tf.shape(log_probs)[1]
        sums = tf.reshape(scores, [-1, 1]) + log_probs
        best, picks = tf.math.top_k(tf.reshape(sums, [-1, self.width * vocabulary]), self.width)
        parents = picks // vocabulary
        tokens = tf.reshape(picks - parents * vocabulary, [-1])
        return _Choice(best, _flat_rows(parents, self.width), tf.reshape(parents, [-1]), tokens)

    def _keep_best(self, beams: _Beams, scores: tf.Tensor, trails: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the K best of the pool and of what ends now, scores [B, K] and trails [N, L, 2]; the old win ties."""
        shape = [-1, self.width, self.max_length, 2]
        both = tf.concat([tf.reshape(beams.ended_trails, shape), tf.reshape(trails, shape)], axis=1)
        best, picks = tf.math.top_k(tf.concat([beams.ended_scores, scores], axis=1), self.width)
        return best, tf.gather(tf.reshape(both, [-1, self.max_length, 2]), _flat_rows(picks, 2 * self.width))

    def _can_still_win(self, live: tf.Tensor, ended: tf.Tensor) -> tf.Tensor:
        """Bool [B, 1]: a sum only falls as a beam grows, so its last penalty bounds any score it can reach."""
        bound = tf.reduce_max(live, axis=1, keepdims=True) / self._penalties[-1]
        return bound > ended[:, -1:]

    @property
    def _penalties(self) -> np.ndarray:
        """Float32 [L]: what the sum of a hypothesis of 1, 2, ... L tokens (END counted) is divided by."""
        return (((5 + np.arange(1, self.max_length + 1)) / 6) ** self.length_penalty).astype(np.float32)


def _flat_rows(picks: tf.Tensor, width: int) -> tf.Tensor:
    """Returns picks [B, K] along an axis of `width` as rows [B * K] of that axis flattened into the batch."""
    return tf.reshape(picks + tf.range(tf.shape(picks)[0])[:, None] * width, [-1])
