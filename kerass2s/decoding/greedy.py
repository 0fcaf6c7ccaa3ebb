"""Greedy search: the likeliest token at every step."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
import tensorflow as tf

from kerass2s.decoding.checks import LONGEST, check_flag, check_whole
from kerass2s.decoding.filters import Filter
from kerass2s.decoding.ranking import Ranked, Ranking
from kerass2s.decoding.rows import RowSearch
from kerass2s.decoding.search import Rules, SearchResult, Source, Step, Tensors, check_filters, longest


@dataclass(frozen=True)
class GreedySearch:
    """Takes the likeliest token at every step, until END or `max_length` tokens; one hypothesis per item (K = 1).

    The score is the sum of the log-probabilities, END's included.

    Attributes:
        max_length: the most tokens.
        copy_unknown: see `kerass2s.decoding.copying`.
        filters: what the next token may be; see `kerass2s.decoding.filters`.

    Raises:
        ConfigError: if a field is not of its kind or is out of its range.
    """

    max_length: int = 256
    _: KW_ONLY
    copy_unknown: bool = False
    filters: tuple[Filter, ...] = ()

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_whole("max_length", self.max_length, LONGEST)
        check_flag("copy_unknown", self.copy_unknown)
        check_filters(self.filters)

    @property
    def width(self) -> int:
        """The most hypotheses of a source."""
        return 1

    def settings(self) -> dict[str, np.ndarray]:
        """Returns what the graph can take in place of the search's own fields, by name."""
        return {"max_length": np.array(self.max_length, np.int32)}

    def __call__(
        self,
        step: Step,
        state: Tensors,
        memory: Tensors,
        first: tf.Tensor,
        source: Source,
        max_length: tf.Tensor | None = None,
    ) -> SearchResult:
        """Searches from `state` with `memory` (each tensor [B, ...]) and the ids `first` [B]; see `SearchResult`."""
        limit = longest(self.max_length, max_length)
        rules = Rules(self.filters, limit, source.lengths)
        ranking = Ranking(Ranked(), None, limit, source)
        return RowSearch(_likeliest, rules, ranking, limit, source).run(step, state, memory, first, width=1)


def _likeliest(t: tf.Tensor, log_probs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.argmax(log_probs, axis=1, output_type=tf.int32), tf.reduce_max(log_probs, axis=1)
