"""Searches whose rows know nothing of each other: at every step each takes one token, by whatever way of picking."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from kerass2s.decoding.filters import IMPOSSIBLE
from kerass2s.decoding.ranking import Ranking
from kerass2s.decoding.search import (
    Rules,
    SearchResult,
    Source,
    Step,
    StepOutput,
    Tensors,
    Tracks,
    finish,
    record,
    search_loop,
    unaligned,
    write,
)
from kerass2s.text import END_ID, PAD_ID

Pick = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""`pick(t, log_probs [N, V]) -> tokens [N], their log-probabilities [N]`."""


class _Rows(NamedTuple):
    """Where each row stands.

    Input ids [N], state, what the filters remember, coverage [N, S] if it counts, tokens so far [N, L], what each
    added [N, L], their sum [N], the score of those that have ended [N], running bool [N], alignments [N, L, S].
    """

    ids: tf.Tensor
    state: Tensors
    tracks: Tracks
    coverage: tuple[tf.Tensor, ...]
    tokens: tf.Tensor
    gains: tf.Tensor
    sums: tf.Tensor
    scores: tf.Tensor
    running: tf.Tensor
    alignments: tuple[tf.Tensor, ...]


class RowSearch:
    """One search in a graph, of N rows.

    Args:
        pick: how a row takes its token.
        rules: the filters.
        ranking: how what has ended is scored.
        limit: int32 [], the most tokens there can be.
        source: what is known of the sources, its rows those of the search, N.
    """

    def __init__(self, pick: Pick, rules: Rules, ranking: Ranking, limit: tf.Tensor, source: Source) -> None:
        self._pick = pick
        self._rules = rules
        self._ranking = ranking
        self._limit = limit
        self._source = source
        self._places = tf.range(limit)

    def run(self, step: Step, state: Tensors, memory: Tensors, first: tf.Tensor, width: int) -> SearchResult:
        """Searches from `state` with `memory` (each [N, ...]), fed `first` [N]; K = `width` rows to an item."""
        end = search_loop(step, memory, self._start(first, state), self._advance)
        ids = tf.reshape(end.tokens, [-1, width, self._limit])
        gains = tf.reshape(end.gains, [-1, width, self._limit])
        return finish(ids, None, tf.reshape(end.scores, [-1, width]), gains, end.alignments)

    def _start(self, first: tf.Tensor, state: Tensors) -> _Rows:
        rows = tf.shape(first)[0]
        return _Rows(
            ids=first,
            state=state,
            tracks=self._rules.start(rows),
            coverage=self._ranking.start(rows),
            tokens=tf.fill([rows, self._limit], PAD_ID),
            gains=tf.zeros([rows, self._limit]),
            sums=tf.zeros([rows]),
            scores=tf.fill([rows], IMPOSSIBLE),
            running=tf.fill([rows], True),
            alignments=unaligned(rows, self._places, self._source),
        )

    def _advance(self, t: tf.Tensor, carry: _Rows, output: StepOutput) -> _Rows:
        log_probs, follow = self._rules.allow(t, carry.tokens, carry.tracks, output)
        picked, gains = self._pick(t, log_probs)
        alive = carry.running & (gains > IMPOSSIBLE / 2)  # where nothing was possible there is no hypothesis
        ids = tf.where(alive, picked, PAD_ID)
        gains = tf.where(alive, gains, 0.0)
        sums = carry.sums + gains
        coverage = self._ranking.cover(carry.coverage, output.alignment)
        ends = alive & ((ids == END_ID) | (t + 1 == self._limit))
        return _Rows(
            ids=ids,
            state=output.state,
            tracks=follow(carry.tracks, ids, tf.range(tf.shape(ids)[0])),
            coverage=coverage,
            tokens=write(carry.tokens, t, ids, self._places),
            gains=write(carry.gains, t, gains, self._places),
            sums=sums,
            scores=tf.where(ends, self._ranking.score(sums, t + 1, coverage), carry.scores),
            running=alive & ~ends,
            alignments=record(carry.alignments, t, output, self._places),
        )
