"""Minimum Bayes risk: of many sampled outputs the one that agrees best with all the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from kerass2s.context import choose
from kerass2s.decoding.checks import WIDEST, check_whole
from kerass2s.decoding.filters import Filter
from kerass2s.decoding.sampling import SamplingSearch
from kerass2s.decoding.search import SearchResult, Source, Step, Tensors
from kerass2s.evaluation import closest

Utility = Callable[[str, str], float]
"""`utility(hypothesis, reference)`, the more the better."""


@cache
def _sentence_chrf() -> Callable[[str, Sequence[str]], Any]:
    from sacrebleu.metrics import CHRF

    return CHRF().sentence_score


def _chrf(hypothesis: str, reference: str) -> float:
    return float(_sentence_chrf()(hypothesis, [reference]).score)


def _less_errors(hypothesis: str, reference: str) -> float:
    edits, tokens = closest(hypothesis, [reference])
    return -edits / max(tokens, 1)


METRICS: dict[str, Utility] = {"chrf": _chrf, "token_error_rate": _less_errors}
"""What two outputs have in common: chrF from 0 to 100, or the token error rate with a minus before it."""


@dataclass(frozen=True)
class MinimumBayesRisk:
    """Draws outputs and orders them by expected utility: how well each does by a metric, were one of the others right.

    Kumar and Byrne 2004, "Minimum Bayes-risk decoding for statistical machine translation"; by samples: Eikema and Aziz
    2020 (arXiv:2005.10283). For the samples y_1 ... y_n

        score(y_i) = sum over j != i of utility(y_i, y_j) / (n - 1)

    so that an output counts as often as it was drawn. Of equal ones the model's likelier comes first. Hypotheses keep
    their token scores, but `Hypothesis.score` is this expected utility. Where filters leave but one output, it is
    compared with itself.

    Texts are compared outside the graph: this search is for live models, and an export holds its samples at most.

    Attributes:
        samples: n, at least 2.
        metric: "chrf" (sacrebleu's, 0 to 100) or "token_error_rate" (times -1, so from -inf to 0).
        temperature: this and what follows: see `SamplingSearch`.

    Raises:
        ConfigError: if a field is not a number or is out of its range, or the metric is unknown.
    """

    samples: int = 16
    _: KW_ONLY
    metric: str = "chrf"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    max_length: int = 256
    copy_unknown: bool = False
    filters: tuple[Filter, ...] = field(default=())

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_whole("samples", self.samples, WIDEST, least=2)
        choose("metric", self.metric, METRICS)
        self.sampling()

    def sampling(self) -> SamplingSearch:
        """Makes the search that draws the outputs, which checks all fields that are its own."""
        return SamplingSearch(**{each.name: getattr(self, each.name) for each in fields(self) if each.name != "metric"})

    @property
    def width(self) -> int:
        """The most hypotheses of a source."""
        return self.samples

    def settings(self) -> dict[str, np.ndarray]:
        """Returns what the graph can take in place of the search's own fields, by name."""
        return self.sampling().settings()

    def __call__(
        self, step: Step, state: Tensors, memory: Tensors, first: tf.Tensor, source: Source, **settings: tf.Tensor
    ) -> SearchResult:
        """Draws the outputs, as `SamplingSearch` does; `reading` then orders them."""
        return self.sampling()(step, state, memory, first, source, **settings)

    def reading(self, read: Callable[[dict[str, np.ndarray], Any], Any]) -> Callable[[dict[str, np.ndarray], Any], Any]:
        """Returns `read(answer, source)` of answers in their new order."""
        return lambda answer, source: read(self.ordered(answer), source)

    def ordered(self, answer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the answer to one source, each part [K, ...], by expected utility; outputs that are none stay last.

        Args:
            answer: at least `text`, UTF-8, and `scores`.
        """
        count = int(np.isfinite(answer["scores"]).sum())
        texts = [text.decode("utf-8") for text in answer["text"][:count]]
        utilities = np.full(len(answer["scores"]), -np.inf)
        utilities[:count] = expected_utilities(texts, METRICS[self.metric])
        order = np.argsort(-utilities, kind="stable")
        return {**{name: part[order] for name, part in answer.items()}, "scores": utilities[order]}


def expected_utilities(texts: Sequence[str], utility: Utility) -> list[float]:
    """Returns the mean utility of each text against all the others, in their order; against itself if it is alone."""
    drawn = Counter(texts)

    def expected(text: str) -> float:
        others = drawn if len(texts) == 1 else drawn - Counter([text])
        return sum(times * utility(text, other) for other, times in others.items()) / others.total()

    known = {text: expected(text) for text in drawn}
    return [known[text] for text in texts]
