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

    The state holds the prefix twice: as its number, and as a nested cache that grows by what is fed. Where the two do
    not fit, one of them is another row's, and the answer is turned upside down.

    With `source_lengths` [B] the alignments are random for every prefix as well, over as many positions as an item has
    at `window` elements to a position.
    """

    def __init__(
        self,
        seed: int,
        max_length: int,
        batch: int = 1,
        sharpness: float = 1.0,
        source_lengths: tuple[int, ...] = (),
        window: int = 1,
    ) -> None:
        generator = np.random.default_rng(seed)
        self.max_length = max_length
        logits = generator.normal(size=(batch, BASE**max_length, VOCABULARY)) * sharpness
        self.logits = logits.astype(np.float32)
        self.source_lengths = source_lengths or (2,) * batch
        self.window = window
        self.alignments = None
        if source_lengths:
            lengths = [self.memory_length(item) for item in range(batch)]
            looks = np.exp(generator.normal(size=(batch, BASE**max_length, max(lengths))) * 2)
            looks *= np.arange(max(lengths)) < np.array(lengths)[:, None, None]
            self.alignments = (looks / np.sum(looks, axis=-1, keepdims=True)).astype(np.float32)

    def memory_length(self, item: int) -> int:
        """Returns how many positions attention has on an item."""
        return -(-self.source_lengths[item] // self.window)

    def begin(self, items: list[int] | None = None) -> tuple[dict, dict, tf.Tensor, Source]:
        """Returns state, memory, first ids and source for these items, all by default."""
        items = list(range(len(self.logits))) if items is None else items
        state = {"prefix": tf.fill([len(items)], -1), "deep": {"cache": tf.zeros([len(items), 0, 1], tf.int32)}}
        memory = {"table": tf.gather(self.logits, tf.constant(items, tf.int32))}
        if self.alignments is not None:
            memory["alignments"] = tf.gather(self.alignments, tf.constant(items, tf.int32))
        source = source_of(items, tuple(self.source_lengths[item] for item in items), self.window)
        width = 2 if self.alignments is None else self.alignments.shape[2]
        source = source._replace(alignment_width=tf.constant(width))
        return state, memory, tf.fill([len(items)], START), source

    def step(self, ids: tf.Tensor, state: dict, memory: dict) -> StepOutput:
        """Follows the prefix by `ids`, unless `ids` is START."""
        prefix = tf.where(state["prefix"] < 0, 0, state["prefix"] * BASE + ids)
        cache = tf.concat([state["deep"]["cache"], ids[:, None, None]], axis=1)
        length = tf.shape(cache)[1] - 1
        digits = BASE ** tf.range(length - 1, -1, -1)
        fits = tf.reduce_sum(cache[:, 1:, 0] * digits, axis=1) == prefix
        logits = tf.gather(memory["table"], prefix, batch_dims=1)
        logits = tf.where(fits[:, None], logits, -logits)
        if self.alignments is None:
            alignment = tf.stack(
                [tf.cast(prefix, tf.float32), tf.zeros_like(prefix, tf.float32) + tf.cast(length, tf.float32)], axis=-1
            )
        else:
            alignment = tf.gather(memory["alignments"], prefix, batch_dims=1)
        return StepOutput(logits, {"prefix": prefix, "deep": {"cache": cache}}, alignment)

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


def source_of(items: list[int], lengths: tuple[int, ...] = (), window: int = 1) -> Source:
    """Returns sources of two elements or of these lengths, each with its own content."""
    lengths = lengths or (2,) * len(items)
    content = np.repeat(np.array(items, np.int32).reshape(-1, 1), max((2, *lengths)), axis=1)
    return Source.of(tf.constant(content), tf.constant(lengths, tf.int32), window)


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
