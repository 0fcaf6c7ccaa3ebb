"""Beam search: the K likeliest hypotheses side by side, in one group or in several that avoid each other's tokens."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerass2s.decoding.checks import LONGEST, WIDEST, check_number, check_whole
from kerass2s.decoding.filters import IMPOSSIBLE
from kerass2s.decoding.ranking import Ranked, Ranking
from kerass2s.decoding.search import (
    Rules,
    SearchResult,
    Source,
    Step,
    StepOutput,
    Tensors,
    Tracks,
    best_first,
    finish,
    longest,
    record,
    search_loop,
    unaligned,
    write,
)
from kerass2s.errors import ConfigError
from kerass2s.text import END_ID, PAD_ID

STRONGEST_DIVERSITY = 1000.0


class _Trails(NamedTuple):
    """What hypotheses are made of, [N, L] each.

    A link is a token and the beam that it was chosen from in one int32, token * W + beam: a buffer of pairs takes ten
    times as long to write.
    """

    links: tf.Tensor
    gains: tf.Tensor


class _Beams(NamedTuple):
    """The live beams, and the pools of the W best that have ended; G = B * groups, W = K / groups."""

    ids: tf.Tensor  # int32 [N], the next input
    state: Tensors
    tracks: Tracks  # what the filters remember, [N, ...] each
    coverage: tuple[tf.Tensor, ...]  # float32 [N, S] if it counts
    scores: tf.Tensor  # float32 [G, W], sums of log-probabilities; IMPOSSIBLE where no beam lives
    trails: _Trails
    ended_scores: tf.Tensor  # float32 [G, W], ranked, best first; IMPOSSIBLE where the pool is not full
    ended_trails: _Trails
    alignments: tuple[tf.Tensor, ...]  # float32 [N, L, S], each position in the beam order of its step

    @property
    def running(self) -> tf.Tensor:
        """Bool [G, W]: which beams live."""
        return self.scores > IMPOSSIBLE / 2


class _Choice(NamedTuple):
    """The likeliest continuations of each group, [G, W] each: score, beam continued, token; and row continued, [N]."""

    scores: tf.Tensor
    beams: tf.Tensor
    tokens: tf.Tensor
    rows: tf.Tensor


@dataclass(frozen=True)
class BeamSearch(Ranked):
    """Keeps the `width` likeliest continuations at every step; those that end move to a pool of the `width` best.

    Hypotheses are ranked as `Ranked` tells. One of `max_length` tokens ends as it is. An item is done when no live
    beam can still reach the worst of its full pool: nothing that could win is dropped.

    With `groups` above 1 this is diverse beam search (Vijayakumar et al. 2018, arXiv:1610.02424): the width is shared
    out among groups, each a beam search of its own, that choose one after the other at every step; a token costs
    `diversity` for each beam of an earlier group that chose it at this step (the paper's Hamming diversity). That cost
    decides the choice and is no part of a score. Two groups can still end with the same text.

    Attributes:
        width: K.
        length_penalty: see `Ranked`.
        max_length: the most tokens.
        groups: into how many the width is shared out, without a rest.
        diversity: nats.

    Raises:
        ConfigError: if a field is not a number or is out of its range.
    """

    width: int = 5
    length_penalty: float = 0.0
    max_length: int = 256
    _: KW_ONLY
    groups: int = 1
    diversity: float = 0.5

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_whole("width", self.width, WIDEST)
        check_whole("max_length", self.max_length, LONGEST)
        self._check_ranked(self.length_penalty)
        check_whole("groups", self.groups, WIDEST)
        check_number("diversity", self.diversity, 0, STRONGEST_DIVERSITY)
        if self.width % self.groups:
            raise ConfigError(f"width must be a multiple of groups. Received: {self.width} and {self.groups}")

    def settings(self) -> dict[str, np.ndarray]:
        """Returns what the graph can take in place of the search's own fields, by name."""
        return {
            "max_length": np.array(self.max_length, np.int32),
            "length_penalty": np.array(self.length_penalty, np.float32),
        }

    def __call__(
        self,
        step: Step,
        state: Tensors,
        memory: Tensors,
        first: tf.Tensor,
        source: Source,
        max_length: tf.Tensor | None = None,
        length_penalty: tf.Tensor | None = None,
    ) -> SearchResult:
        """Searches from `state` with `memory` (each tensor [B, ...]) and the ids `first` [B]; see `SearchResult`."""
        limit = longest(self.max_length, max_length)
        rows = tf.range(tf.shape(first)[0] * self.width) // self.width
        first, state, memory = tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), (first, state, memory))
        source = source.repeated(self.width)
        return _Search(self, limit, length_penalty, source).run(step, first, state, memory)


class _Search:
    """One beam search in a graph, on rows that are repeated already.

    What a step needs and no step changes, such as shapes, is made here: once, and not in the loop.
    """

    def __init__(self, fields: BeamSearch, limit: tf.Tensor, length_penalty: tf.Tensor | None, source: Source) -> None:
        penalty = tf.constant(fields.length_penalty, tf.float32)
        if length_penalty is not None:
            penalty = tf.maximum(length_penalty, 0.0)
        self._fields = fields
        self._width = fields.width // fields.groups
        self._limit = limit
        self._source = source
        self._places = tf.range(limit)
        self._rows = tf.shape(source.lengths)[0]
        # The first row of each group, [G, 1]; and with the rows of all pools before those of all beams, W before the
        # row of its first beam, as a group's picks count its own pool first.
        self._first_rows = tf.reshape(tf.range(0, self._rows, self._width), [-1, 1])
        self._beams_after_pools = self._first_rows + self._rows - self._width
        self._ranking = Ranking(fields, penalty, limit, source)
        self._rules = Rules(fields.filters, limit, source.lengths)

    def run(self, step: Step, first: tf.Tensor, state: Tensors, memory: Tensors) -> SearchResult:
        """Searches to the end, and puts the hypotheses of an item's groups in one order."""
        end = search_loop(step, memory, self._start(first, dict(state)), self._advance)
        links, gains = (tf.reshape(each, [-1, self._width, self._limit]) for each in end.ended_trails)
        tokens = links // self._width
        found = finish(tokens, links - tokens * self._width, end.ended_scores, gains, end.alignments)
        return found if self._fields.groups == 1 else best_first(found, self._fields.width)

    def _start(self, ids: tf.Tensor, state: Tensors) -> _Beams:
        """One live beam per group: all are the same before the first token."""
        rows, groups = self._rows, self._rows // self._width
        one = tf.constant([[0.0] + [IMPOSSIBLE] * (self._width - 1)])
        trails = _Trails(tf.fill([rows, self._limit], PAD_ID * self._width), tf.zeros([rows, self._limit]))
        return _Beams(
            ids=ids,
            state=state,
            tracks=self._rules.start(rows),
            coverage=self._ranking.start(rows),
            scores=tf.tile(one, [groups, 1]),
            trails=trails,
            ended_scores=tf.fill([groups, self._width], IMPOSSIBLE),
            ended_trails=trails,
            alignments=unaligned(rows, self._places, self._source),
        )

    def _advance(self, t: tf.Tensor, beams: _Beams, output: StepOutput) -> _Beams:
        log_probs, follow = self._rules.allow(t, beams.trails.links // self._width, beams.tracks, output)
        choice = self._choose(beams.scores, log_probs)
        coverage = self._ranking.cover(beams.coverage, output.alignment)
        state, tracks, coverage, trails = tf.nest.map_structure(
            lambda tensor: tf.gather(tensor, choice.rows), (dict(output.state), beams.tracks, coverage, beams.trails)
        )
        gains = tf.reshape(choice.scores, [-1]) - tf.gather(tf.reshape(beams.scores, [-1]), choice.rows)
        links = tf.reshape(choice.tokens * self._width + choice.beams, [-1])
        trails = _Trails(write(trails.links, t, links, self._places), write(trails.gains, t, gains, self._places))
        exists = choice.scores > IMPOSSIBLE / 2
        ends = (choice.tokens == END_ID) | (t + 1 == self._limit)
        ranked = self._ranking.score(choice.scores, t + 1, coverage)
        ended_scores, ended_trails = self._keep_best(beams, tf.where(exists & ends, ranked, IMPOSSIBLE), trails)
        live = tf.where(exists & ~ends, choice.scores, IMPOSSIBLE)
        can_win = self._ranking.bound(tf.reduce_max(live, axis=1, keepdims=True), t) > ended_scores[:, -1:]
        ids = tf.reshape(choice.tokens, [-1])
        return _Beams(
            ids=ids,
            state=state,
            tracks=follow(tracks, ids, choice.rows),
            coverage=coverage,
            scores=tf.where(can_win, live, IMPOSSIBLE),
            trails=trails,
            ended_scores=ended_scores,
            ended_trails=ended_trails,
            alignments=record(beams.alignments, t, output, self._places),
        )

    def _choose(self, scores: tf.Tensor, log_probs: tf.Tensor) -> _Choice:
        """Takes the W best continuations in each group, of scores [G, W] by log_probs [N, V]."""
        vocabulary = tf.shape(log_probs)[1]
        sums = tf.reshape(tf.reshape(scores, [-1, 1]) + log_probs, [-1, self._width * vocabulary])
        if self._fields.groups == 1:
            best, picks = tf.math.top_k(sums, self._width)
        else:
            best, picks = self._choose_in_turn(sums, vocabulary)
        beams = picks // vocabulary
        rows = tf.reshape(self._first_rows + beams, [-1])
        return _Choice(best, beams, picks - beams * vocabulary, rows)

    def _choose_in_turn(self, sums: tf.Tensor, vocabulary: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Lets each group choose its W best of sums [G, W * V] at the price of what those before it chose."""
        by_item = tf.reshape(sums, [-1, self._fields.groups, self._width * vocabulary])
        chosen = tf.zeros([tf.shape(by_item)[0], vocabulary])
        best, picks = [], []
        for group in range(self._fields.groups):
            own = by_item[:, group]
            price = tf.tile(self._fields.diversity * chosen, [1, self._width])
            places = tf.math.top_k(own - price, self._width).indices
            best.append(tf.gather(own, places, batch_dims=1))
            picks.append(places)
            is_real = tf.cast(best[-1] > IMPOSSIBLE / 2, tf.float32)[:, :, None]
            same = tf.cast((places % vocabulary)[:, :, None] == tf.range(vocabulary), tf.float32)
            chosen += tf.reduce_sum(same * is_real, axis=1)
        joined = tf.stack(best, axis=1), tf.stack(picks, axis=1)
        return tuple(tf.reshape(each, [-1, self._width]) for each in joined)

    def _keep_best(self, beams: _Beams, scores: tf.Tensor, trails: _Trails) -> tuple[tf.Tensor, _Trails]:
        """Returns the W best of each pool and of what ends now, scores [G, W]; the old win ties."""
        best, picks = tf.math.top_k(tf.concat([beams.ended_scores, scores], axis=1), self._width)
        rows = picks + tf.where(picks < self._width, self._first_rows, self._beams_after_pools)
        flat = tf.reshape(rows, [-1])
        return best, _Trails(
            *(tf.gather(tf.concat(both, axis=0), flat) for both in zip(beams.ended_trails, trails, strict=True))
        )
