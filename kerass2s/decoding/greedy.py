"""Greedy search: the likeliest token at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from kerass2s.decoding.search import (
    LONGEST,
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
from kerass2s.text import END_ID, PAD_ID


class _Greedy(NamedTuple):
    """Input ids [B], state, tokens so far [B, L], their log-probability [B], running bool [B], alignments [B, L, S]."""

    ids: tf.Tensor
    state: Tensors
    tokens: tf.Tensor
    scores: tf.Tensor
    running: tf.Tensor
    alignments: tuple[tf.Tensor, ...]


@dataclass(frozen=True)
class GreedySearch:
    """Takes the likeliest token at every step, until END or `max_length` tokens; one hypothesis per item (K = 1).

    The score is the sum of the log-probabilities, END's included.

    Raises:
        ConfigError: if `max_length` is not a whole number of at least 1.
    """

    max_length: int = 256

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_whole("max_length", self.max_length, LONGEST)

    def __call__(self, step: Step, state: Tensors, memory: Tensors, first: tf.Tensor) -> SearchResult:
        """Searches from `state` with `memory` (each tensor [B, ...]) and the ids `first` [B]; see `SearchResult`."""
        batch = tf.shape(first)[0]
        tokens = tf.fill([batch, self.max_length], PAD_ID)
        start = _Greedy(first, state, tokens, tf.zeros([batch]), tf.fill([batch], True), ())
        end = search_loop(step, memory, start, self._advance, self.max_length)
        ids = end.tokens[:, None, :]
        return finish(ids, tf.zeros_like(ids), end.scores[:, None], end.alignments)

    def _advance(self, t: tf.Tensor, carry: _Greedy, output: StepOutput) -> _Greedy:
        log_probs = log_probabilities(output.prediction)
        best = tf.argmax(log_probs, axis=1, output_type=tf.int32)
        running = carry.running & (best != END_ID)
        ids = tf.where(running, best, PAD_ID)
        return _Greedy(
            ids=ids,
            state=output.state,
            tokens=write(carry.tokens, t, ids),
            scores=carry.scores + tf.where(carry.running, tf.reduce_max(log_probs, axis=1), 0.0),
            running=running,
            alignments=record(carry.alignments, t, output, self.max_length),
        )
