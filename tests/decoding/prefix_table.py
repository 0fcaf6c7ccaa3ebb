"""Step callables whose answers a test can compute by hand: they know the whole prefix from their state."""

from __future__ import annotations

from itertools import product

import numpy as np
import tensorflow as tf

from kerass2s.decoding import Source, StepOutput

VOCABULARY = 6
START, END = 2, 3
TOKENS = (1, 4, 5)
BASE = VOCABULARY


class PrefixTable:
    """Log-probabilities that are random for every prefix of every item; the alignment is the one-hot of the prefix.

    A prefix is numbered by its ids as digits of base V, START not counted: the empty prefix is 0, [4, 1] is 4 * V + 1.
    """

    def __init__(self, seed: int, max_length: int, batch: int = 1, sharpness: float = 1.0) -> None:
        generator = np.random.default_rng(seed)
        self.max_length = max_length
        logits = generator.normal(size=(batch, BASE**max_length, VOCABULARY)) * sharpness
        self.logits = logits.astype(np.float32)

    def begin(self, items: list[int] | None = None) -> tuple[dict, dict, tf.Tensor, Source]:
        """Returns state, memory, first ids and source for these items, all by default."""
        items = list(range(len(self.logits))) if items is None else items
        state = {"prefix": tf.fill([len(items)], -1), "deep": {"length": tf.zeros([len(items), 1], tf.int32)}}
        table = tf.gather(self.logits, tf.constant(items, tf.int32))
        return state, {"table": table}, tf.fill([len(items)], START), source_of(items)

    def step(self, ids: tf.Tensor, state: dict, memory: dict) -> StepOutput:
        """Follows the prefix by `ids`, unless `ids` is START; ended rows stay in range by a modulo."""
        prefix = tf.where(state["prefix"] < 0, 0, state["prefix"] * BASE + ids) % (BASE**self.max_length)
        logits = tf.gather(memory["table"], prefix, batch_dims=1)
        length = state["deep"]["length"]
        alignment = tf.stack([tf.cast(prefix, tf.float32), tf.cast(length[:, 0], tf.float32)], axis=-1)
        return StepOutput(logits, {"prefix": prefix, "deep": {"length": length + 1}}, alignment)

    def log_probs(self, item: int, prefix: tuple[int, ...]) -> np.ndarray:
        """Returns the log-probabilities [V] after `prefix`, in float64."""
        logits = self.logits[item, number(prefix)].astype(np.float64)
        return logits - np.log(np.sum(np.exp(logits)))

    def score(self, item: int, tokens: tuple[int, ...], penalty: float = 0.0) -> float:
        """Returns the penalised sum of log-probabilities of `tokens`, with END if they are fewer than max_length."""
        full = tokens if len(tokens) == self.max_length else (*tokens, END)
        total = sum(self.log_probs(item, full[:place])[token] for place, token in enumerate(full))
        return float(total / ((5 + len(full)) / 6) ** penalty)

    def exhaustive(self, item: int, penalty: float = 0.0) -> list[tuple[float, tuple[int, ...]]]:
        """Returns every possible hypothesis with its score, best first."""
        every = (tokens for length in range(self.max_length + 1) for tokens in product(TOKENS, repeat=length))
        return sorted(((self.score(item, tokens, penalty), tokens) for tokens in every), reverse=True)


def source_of(items: list[int]) -> Source:
    """Returns sources of two elements, each with its own content."""
    content = tf.tile(tf.constant(items, tf.int32, [len(items), 1]), [1, 2])
    return Source.of(content, tf.fill([len(items)], 2))


def number(prefix: tuple[int, ...]) -> int:
    """Returns the number of a prefix."""
    value = 0
    for token in prefix:
        value = value * BASE + token
    return value


def hypotheses(result: object, item: int) -> list[tuple[float, tuple[int, ...]]]:
    """Returns (score, ids) of one item's hypotheses, best first."""
    rows = zip(result.scores.numpy()[item], result.ids.numpy()[item], result.lengths.numpy()[item], strict=True)
    return [(float(score), tuple(int(i) for i in ids[:length])) for score, ids, length in rows]
