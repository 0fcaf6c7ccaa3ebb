"""Searches, filters and rankers in plain Python: lists and dicts, written from the docstrings alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from prefix_table import END, START, PrefixTable, hypotheses

from kerass2s.decoding import (
    Banned,
    Filter,
    Forced,
    Lexicon,
    MaxRatio,
    MinLength,
    MinRatio,
    Monotonic,
    NoRepeatNgram,
    NoUnknown,
    Prefix,
    RepetitionPenalty,
    SearchResult,
)

PAD, UNKNOWN = 0, 1
Tokens = tuple[int, ...]
Costs = dict[int, float]
"""What each token costs that is possible at all."""


class Text(NamedTuple):
    """A hypothesis, ended or growing: its tokens without END, and what each added, END too."""

    tokens: Tokens
    gains: tuple[float, ...]


@dataclass(frozen=True)
class Case:
    """One item of a table, the most tokens, and the filters."""

    table: PrefixTable
    item: int
    limit: int
    filters: tuple[Filter, ...] = ()

    @property
    def source_length(self) -> int:
        """In the elements that the encoder reads."""
        return self.table.source_lengths[self.item]

    def alignment(self, prefix: Tokens) -> np.ndarray:
        """Where the step after `prefix` looks."""
        place = 0
        for token in prefix:
            place = place * 6 + token
        return self.table.alignments[self.item, place]

    def costs(self, prefix: Tokens) -> Costs:
        """What may come after `prefix`."""
        costs = {token: float(cost) for token, cost in enumerate(self.table.log_probs(self.item, prefix))}
        del costs[PAD], costs[START]
        for rule in self.filters:
            costs = RULES[type(rule)](rule, costs, prefix, self)
        return costs


# === Comparing ===


def check(result: SearchResult, item: int, expected: list[tuple[float, Text]]) -> None:
    """The hypotheses of an item are these in this order, each once, and where there are no more there is nothing."""
    check_places(result, item, expected)
    assert len({text.tokens for _, text in expected}) == len(expected)


def check_places(result: SearchResult, item: int, expected: list[tuple[float, Text]]) -> None:
    """The same where a hypothesis may come twice; of those whose scores are the same to rounding any may be first."""
    there = len(expected)
    found = hypotheses(result, item)[:there]
    np.testing.assert_allclose(result.scores[item, :there], [score for score, _ in expected], rtol=0, atol=2e-5)
    assert np.all(np.isneginf(result.scores[item, there:]))
    assert sorted(tokens for _, tokens in found) == sorted(text.tokens for _, text in expected)
    of = {text.tokens: (score, text.gains) for score, text in expected}
    for place, (score, tokens) in enumerate(found):
        assert abs(score - of[tokens][0]) < 2e-5
        added, gains = result.token_scores.numpy()[item, place], of[tokens][1]
        np.testing.assert_allclose(added[: len(gains)], gains, rtol=0, atol=2e-5)
        assert not np.any(added[len(gains) :])
    for part in (result.ids, result.lengths, result.token_scores):
        assert not np.any(part[item, there:])


# === Filters ===


def _without_end(costs: Costs, waits: bool) -> Costs:
    return {token: cost for token, cost in costs.items() if not (waits and token == END)}


def _of(costs: Costs, allowed: Callable[[int], bool]) -> Costs:
    return {token: cost for token, cost in costs.items() if allowed(token)}


def _min_ratio(rule: MinRatio, costs: Costs, prefix: Tokens, case: Case) -> Costs:
    return _without_end(costs, len(prefix) < np.float32(rule.ratio) * np.float32(case.source_length))


def _max_ratio(rule: MaxRatio, costs: Costs, prefix: Tokens, case: Case) -> Costs:
    most = max(1, np.float32(rule.ratio) * np.float32(case.source_length))
    return _of(costs, lambda token: token == END or len((*prefix, token)) <= most)


def _forced(rule: Forced, costs: Costs, prefix: Tokens, case: Case) -> Costs:
    missing = set(rule.ids) - set(prefix)
    if missing and len(missing) >= case.limit - len(prefix):
        return _of(costs, missing.__contains__)
    return _without_end(costs, bool(missing))


def _prefix(rule: Prefix, costs: Costs, prefix: Tokens, case: Case) -> Costs:
    return _of(costs, lambda token: len(prefix) >= len(rule.ids) or token == rule.ids[len(prefix)])


def _no_repeat_ngram(rule: NoRepeatNgram, costs: Costs, prefix: Tokens, case: Case) -> Costs:
    def repeats(token: int) -> bool:
        text = (*prefix, token)
        ngrams = [text[place : place + rule.n] for place in range(len(text) - rule.n + 1)]
        return len(set(ngrams)) < len(ngrams)

    return _of(costs, lambda token: token == END or not repeats(token))


def _lexicon(rule: Lexicon, costs: Costs, prefix: Tokens, case: Case) -> Costs:
    ended = [(*sequence, END) for sequence in rule.sequences if len(sequence) <= case.limit]
    starts = {sequence[:size] for sequence in ended for size in range(len(sequence) + 1)}
    return _of(costs, lambda token: (*prefix, token) in starts)


def _monotonic(rule: Monotonic, costs: Costs, prefix: Tokens, case: Case) -> Costs:
    places = [0, *(int(np.argmax(case.alignment(prefix[:size]))) for size in range(len(prefix) + 1))]
    last, place = places[-2:]
    beyond = max(0, place - (last + rule.ahead), (last - rule.back) - place)
    return {token: cost - rule.strength * beyond for token, cost in costs.items()}


RULES: dict[type[Filter], Callable[[Any, Costs, Tokens, Case], Costs]] = {
    MinLength: lambda rule, costs, prefix, case: _without_end(costs, len(prefix) < rule.tokens),
    MinRatio: _min_ratio,
    MaxRatio: _max_ratio,
    Banned: lambda rule, costs, prefix, case: _of(costs, lambda token: token not in rule.ids),
    NoUnknown: lambda rule, costs, prefix, case: _of(costs, lambda token: token != UNKNOWN),
    Forced: _forced,
    Prefix: _prefix,
    NoRepeatNgram: _no_repeat_ngram,
    RepetitionPenalty: lambda rule, costs, prefix, case: {
        token: cost * (rule.factor if token in prefix else 1) for token, cost in costs.items()
    },
    Lexicon: _lexicon,
    Monotonic: _monotonic,
}


# === Ranking ===


def score_of(text: Text, case: Case, search: Any) -> float:
    """Ranks a hypothesis that has ended by the fields of `search`; one without such fields ranks by the sum."""
    length = len(text.gains)
    norm = {"gnmt": (5 + length) / 6, "plain": length}[getattr(search, "normalization", "gnmt")]
    score = sum(text.gains) / norm ** getattr(search, "length_penalty", 0)
    score += getattr(search, "word_reward", 0) * length
    if getattr(search, "coverage_penalty", 0):
        seen = sum(case.alignment(text.tokens[:step]) for step in range(length))
        real = seen[: case.table.memory_length(case.item)]
        score += search.coverage_penalty * sum(math.log(min(max(look, 1e-9), 1)) for look in real)
    return float(score)


def _ranked(texts: list[Text], case: Case, search: Any) -> list[tuple[float, Text]]:
    return sorted(((score_of(text, case, search), text) for text in texts), reverse=True)


# === Searches ===


def _grown(text: Text, case: Case) -> Iterator[tuple[Text, bool, int]]:
    """Every text that is one token longer, whether it ends so, and that token."""
    for token, cost in case.costs(text.tokens).items():
        longer = Text(text.tokens if token == END else (*text.tokens, token), (*text.gains, cost))
        yield longer, token == END or len(longer.tokens) == case.limit, token


def every_text(case: Case, begun: Text) -> Iterator[Text]:
    """Every hypothesis that begins so."""
    for longer, ends, _ in _grown(begun, case):
        if ends:
            yield longer
        else:
            yield from every_text(case, longer)


def exhaustive(case: Case, search: Any) -> list[tuple[float, Text]]:
    """Every hypothesis there is, best first."""
    return _ranked(list(every_text(case, Text((), ()))), case, search)


def greedy(case: Case) -> Text | None:
    """The likeliest token each time; None where none is possible."""
    text, ends = Text((), ()), False
    while not ends:
        grown = list(_grown(text, case))
        if not grown:
            return None
        text, ends, _ = max(grown, key=lambda each: each[0].gains[-1])
    return text


def beam(case: Case, search: Any) -> list[tuple[float, Text]]:
    """Beam search that goes on to the limit, whatever has ended."""
    live, ended = [Text((), ())], []
    for _ in range(case.limit):
        grown = [each for text in live for each in _grown(text, case)]
        grown = sorted(grown, key=lambda each: -sum(each[0].gains))[: search.width]
        ended += [text for text, ends, _ in grown if ends]
        live = [text for text, ends, _ in grown if not ends]
    return _ranked(ended, case, search)[: search.width]


def diverse_beam(case: Case, search: Any) -> list[tuple[float, Text]]:
    """Groups of beams in turn; one that can no longer win stops, and asks nothing of the groups after it.

    Only for a search whose score is the penalised sum.
    """
    width = search.width // search.groups
    live = [[Text((), ())] for _ in range(search.groups)]
    ended: list[list[Text]] = [[] for _ in range(search.groups)]
    for _ in range(case.limit):
        said: list[int] = []
        for group in range(search.groups):
            grown = [each for text in live[group] for each in _grown(text, case)]
            by_worth = sorted(grown, key=lambda each: search.diversity * said.count(each[2]) - sum(each[0].gains))
            chosen = by_worth[:width]
            said = said + [token for _, _, token in chosen]
            ended[group] += [text for text, ends, _ in chosen if ends]
            live[group] = [text for text, ends, _ in chosen if not ends]
            pool = _ranked(ended[group], case, search)[:width]
            highest = [sum(text.gains) / ((5 + case.limit) / 6) ** search.length_penalty for text in live[group]]
            if len(pool) == width and max(highest, default=-math.inf) <= pool[-1][0]:
                live[group] = []
    kept = [each for group in range(search.groups) for each in _ranked(ended[group], case, search)[:width]]
    return sorted(kept, reverse=True)
