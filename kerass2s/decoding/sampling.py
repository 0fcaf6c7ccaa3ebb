"""Ancestral sampling: each token is drawn from the model's distribution, the same draws in every runtime."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
import tensorflow as tf

from kerass2s.decoding.checks import LONGEST, WIDEST, check_number, check_whole
from kerass2s.decoding.filters import IMPOSSIBLE
from kerass2s.decoding.noise import PRIME, uniform
from kerass2s.decoding.ranking import Ranked, Ranking
from kerass2s.decoding.rows import RowSearch
from kerass2s.decoding.search import Rules, SearchResult, Source, Step, Tensors, best_first, longest

COLDEST, HOTTEST = 0.01, 100.0
LARGEST_SEED = PRIME - 1  # numbers are made modulo the prime: PRIME itself would draw what 0 draws


@dataclass(frozen=True)
class SamplingSearch(Ranked):
    """Draws `samples` outputs of each source, token by token, and ranks them: the first is the best of n.

    A token is drawn from softmax(log p / temperature) over what the filters allow, of the `top_k` likeliest if that is
    not 0 (Fan et al. 2018), and of these from the fewest that hold `top_p` of the mass (Holtzman et al. 2020). Scores
    are of the model itself, without temperature, as `Ranked` tells.

    A draw depends on the seed, the content of the source, the number of the sample and the position, and on nothing
    else: the same seed gives the same text in any batch, in TensorFlow and in ONNX (but for probabilities that two
    runtimes round differently, and a draw that falls between).

    Attributes:
        samples: n, the number of outputs; the same one can come twice.
        temperature: below 1 it sharpens, above 1 it flattens.
        top_k: 0 for all tokens.
        top_p: 1 for all the mass.
        seed: another one gives other draws.
        length_penalty: see `Ranked`; it orders the samples.
        max_length: the most tokens.

    Raises:
        ConfigError: if a field is not a number or is out of its range.
    """

    samples: int = 1
    _: KW_ONLY
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    length_penalty: float = 0.0
    max_length: int = 256

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_whole("samples", self.samples, WIDEST)
        check_number("temperature", self.temperature, COLDEST, HOTTEST)
        check_whole("top_k", self.top_k, LONGEST, least=0)
        check_number("top_p", self.top_p, 0, 1)
        check_whole("seed", self.seed, LARGEST_SEED, least=0)
        check_whole("max_length", self.max_length, LONGEST)
        self._check_ranked(self.length_penalty)

    @property
    def width(self) -> int:
        """The most hypotheses of a source."""
        return self.samples

    def settings(self) -> dict[str, np.ndarray]:
        """Returns what the graph can take in place of the search's own fields, by name."""
        return {
            "max_length": np.array(self.max_length, np.int32),
            "length_penalty": np.array(self.length_penalty, np.float32),
            "temperature": np.array(self.temperature, np.float32),
            "seed": np.array(self.seed, np.int32),
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
        temperature: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> SearchResult:
        """Draws from `state` with `memory` (each tensor [B, ...]) and the ids `first` [B]; see `SearchResult`."""
        limit = longest(self.max_length, max_length)
        heat, penalty = tf.constant(self.temperature, tf.float32), tf.constant(self.length_penalty, tf.float32)
        if temperature is not None:
            heat = tf.clip_by_value(temperature, COLDEST, HOTTEST)
        if length_penalty is not None:
            penalty = tf.maximum(length_penalty, 0.0)
        seed = tf.constant(self.seed) if seed is None else seed
        number = tf.tile(tf.range(self.samples), [tf.shape(first)[0]])
        # By a gather: what tf.repeat becomes in ONNX fails on a cache that is still empty.
        rows = tf.range(tf.shape(first)[0] * self.samples) // self.samples
        first, state, memory = tf.nest.map_structure(
            lambda tensor: tf.gather(tensor, rows), (first, dict(state), dict(memory))
        )
        source = source.repeated(self.samples)

        def pick(t: tf.Tensor, log_probs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self._draw(log_probs, heat, uniform(seed, source.fingerprint, number, t))

        rules, ranking = Rules(self.filters, limit, source.lengths), Ranking(self, penalty, limit, source)
        found = RowSearch(pick, rules, ranking, limit, source).run(step, state, memory, first, self.samples)
        return best_first(found, self.samples)

    def _draw(self, log_probs: tf.Tensor, heat: tf.Tensor, chance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws tokens [N] by chance [N] in (0, 1), and returns the model's own log-probabilities of them."""
        vocabulary = tf.shape(log_probs)[1]
        count = tf.minimum(self.top_k, vocabulary) if self.top_k else vocabulary
        best, tokens = tf.math.top_k(log_probs, count)
        masses = tf.nn.softmax(best / heat, axis=1)
        before = tf.cumsum(masses, axis=1, exclusive=True)
        kept = tf.where((before < self.top_p) & (best > IMPOSSIBLE / 2), masses, 0.0)
        kept = tf.where(tf.range(count) == 0, masses, kept)  # the likeliest stays, whatever top_p is
        ends = tf.cumsum(kept, axis=1)
        wanted = chance[:, None] * ends[:, -1:]
        # The first place whose cumulated mass exceeds what was drawn; rounding cannot lead past the last kept one.
        place = tf.reduce_sum(tf.cast(ends <= wanted, tf.int32), axis=1)
        last = tf.reduce_sum(tf.cast(kept > 0, tf.int32), axis=1) - 1
        place = tf.minimum(place, last)[:, None]
        return tf.gather(tokens, place, batch_dims=1)[:, 0], tf.gather(best, place, batch_dims=1)[:, 0]
