"""Sampling: how often each text comes, and what a draw depends on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from chance import check_shares
from drawn import BATCH, LONGEST, filters, rankers, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_search import Case, Text, check_places, every_text, greedy, score_of
from prefix_table import END, PrefixTable, hypotheses

from kerass2s.decoding import (
    Filter,
    GreedySearch,
    Lexicon,
    MinLength,
    NoRepeatNgram,
    RepetitionPenalty,
    SamplingSearch,
    SearchResult,
    Source,
)

DRAWS = 6000


def odds(costs: dict[int, float], search: SamplingSearch) -> dict[int, float]:
    """The probability of each token, from its definition."""
    weights = {token: math.exp(cost / search.temperature) for token, cost in costs.items()}
    likeliest = sorted(weights, key=weights.get, reverse=True)[: search.top_k or None]
    total, mass, kept = sum(weights[token] for token in likeliest), 0.0, []
    for token in likeliest:
        if kept and mass >= search.top_p:
            break
        kept.append(token)
        mass += weights[token] / total
    return {token: weights[token] / sum(weights[each] for each in kept) for token in kept}


def shares_of(case: Case, search: SamplingSearch) -> dict[tuple[int, ...] | None, float]:
    """How often each text comes; None stands for rows that came to where nothing was allowed."""
    shares: dict[tuple[int, ...] | None, float] = {}

    def walk(prefix: tuple[int, ...], share: float) -> None:
        costs = case.costs(prefix)
        if not costs:
            shares[None] = shares.get(None, 0.0) + share
        for token, chance in odds(costs, search).items():
            if token == END:
                shares[prefix] = share * chance
            elif len(prefix) + 1 == case.limit:
                shares[*prefix, token] = share * chance
            else:
                walk((*prefix, token), share * chance)

    walk((), 1.0)
    return shares


def texts_of(result: SearchResult) -> list[tuple[int, ...] | None]:
    """Every text of a batch, None where there is no hypothesis."""
    texts = []
    for item in range(len(result.scores)):
        found = hypotheses(result, item)
        texts += [tokens if np.isfinite(score) else None for score, tokens in found]
    return texts


def many(search: SamplingSearch, table: PrefixTable, rows: int) -> SearchResult:
    """Draws for the first item of a table as if that were many sources."""
    state, memory, first, source = table.begin([0] * rows)
    content = tf.range(rows)[:, None] + 1000
    return search(table.step, state, memory, first, Source.of(content, tf.fill([rows], 1))._replace(lengths=source[0]))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2},
        {"top_k": 2},
        {"top_k": 60},
        {"top_p": 0.7},
        {"temperature": 1.5, "top_k": 3, "top_p": 0.8},
        {"filters": (RepetitionPenalty(3.0), MinLength(1))},
        {"filters": (NoRepeatNgram(1), Lexicon(((), (4, 4), (4, 5, 1), (5, 1, 1), (1,)))), "temperature": 0.8},
    ],
    ids=str,
)
@pytest.mark.parametrize("samples", [1, 4])
def test_texts_come_as_often_as_the_model_says(fields: dict, samples: int):
    table = PrefixTable(31, LONGEST, source_lengths=(2,))
    search = SamplingSearch(samples, seed=9, max_length=LONGEST, **fields)
    shares = shares_of(Case(table, 0, LONGEST, search.filters), search)
    assert sum(shares.values()) == pytest.approx(1)
    check_shares(texts_of(many(search, table, DRAWS // samples)), shares)


def test_seeds_draw_as_sources_do():
    table = PrefixTable(32, 2, source_lengths=(2,))
    run = tf.function(lambda seed: SamplingSearch(32, max_length=2)(table.step, *table.begin(), seed=seed))
    texts = [text for seed in range(60) for text in texts_of(run(tf.constant(seed)))]
    check_shares(texts, shares_of(Case(table, 0, 2), SamplingSearch()))


def test_samples_of_one_source_are_independent():
    table = PrefixTable(33, 1, source_lengths=(2,))
    shares = shares_of(Case(table, 0, 1), SamplingSearch())
    found = texts_of(many(SamplingSearch(2, max_length=1), table, DRAWS))
    # The first of two is the likelier one.
    rank = sorted(shares, key=shares.get, reverse=True)
    pairs = {(a, b): shares[a] * shares[b] * (1 if a == b else 2) for at, a in enumerate(rank) for b in rank[at:]}
    check_shares(list(zip(found[::2], found[1::2], strict=True)), pairs)


@settings(max_examples=15)
@given(
    tables,
    filters,
    rankers,
    st.integers(1, 5),
    st.sampled_from([0.3, 1, 4.0]),
    st.integers(0, 4),
    st.sampled_from([0, 0.5, 1.0]),
    st.integers(0, 2**31 - 2),
)
def test_samples_are_hypotheses_that_the_filters_allow_best_first(
    table: PrefixTable,
    rules: tuple[Filter, ...],
    ranker: dict,
    samples: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
):
    own = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed, "max_length": LONGEST}
    search = SamplingSearch(samples, filters=rules, **own, **ranker)
    result = search(table.step, *table.begin())
    for item in range(BATCH):
        case = Case(table, item, LONGEST, rules)
        possible = {text.tokens: text for text in every_text(case, Text((), ()))}
        shares = shares_of(case, search)
        found = [tokens for score, tokens in hypotheses(result, item) if np.isfinite(score)]
        assert set(found) <= set(shares)
        texts = [possible[tokens] for tokens in found]
        # Scores and what each token added are the model's own and the filters', without temperature.
        check_places(result, item, sorted(((score_of(text, case, search), text) for text in texts), reverse=True))


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"top_p": 0}, {"top_p": 1e-6}], ids=str)
@settings(max_examples=6)
@given(tables, filters)
def test_with_no_choice_left_it_is_greedy_search(fields: dict, table: PrefixTable, rules: tuple[Filter, ...]):
    search = SamplingSearch(2, seed=3, max_length=LONGEST, filters=rules, **fields)
    result = search(table.step, *table.begin())
    likeliest = GreedySearch(LONGEST, filters=rules)(table.step, *table.begin())
    for item in range(BATCH):
        case = Case(table, item, LONGEST, rules)
        one = greedy(case)
        check_places(result, item, [] if one is None else [(sum(one.gains), one)] * 2)
        assert hypotheses(result, item)[0][1] == hypotheses(likeliest, item)[0][1]


def assert_same(found: list, expected: list) -> None:
    """The same texts; another batch may round a score otherwise."""
    assert [tokens for _, tokens in found] == [tokens for _, tokens in expected]
    np.testing.assert_allclose([score for score, _ in found], [score for score, _ in expected], rtol=0, atol=1e-5)


def test_a_draw_depends_on_the_source_and_on_no_other():
    table = PrefixTable(34, 5, batch=8, source_lengths=(1, 2, 3, 4, 1, 2, 3, 4))
    search = SamplingSearch(3, seed=5, max_length=5)
    together = search(table.step, *table.begin())
    for items in ([3], [7, 3], [3, 0, 1], [5, 5, 3, 2]):
        found = search(table.step, *table.begin(items))
        for row, item in enumerate(items):
            assert_same(hypotheses(found, row), hypotheses(together, item))
    state, memory, first, source = table.begin()
    content = tf.repeat(tf.range(8)[:, None], 9, axis=1)  # the same sources with more padding
    padded = Source.of(content, source.lengths)
    again = search(table.step, state, memory, first, padded)
    for item in range(8):
        assert_same(hypotheses(again, item), hypotheses(together, item))


def test_another_seed_sample_or_source_draws_otherwise():
    table = PrefixTable(35, 5, source_lengths=(2,))
    table.logits[:] = 0.0  # every text is as likely as another of its length
    table.logits[:, :, END] = -30.0
    found = texts_of(many(SamplingSearch(4, seed=1, max_length=5), table, 50))
    other = texts_of(many(SamplingSearch(4, seed=2, max_length=5), table, 50))
    # 200 draws of 243 texts: 136 different ones are expected.
    assert len(set(found)) > 110
    assert sum(one == two for one, two in zip(found, other, strict=True)) < 10
    assert found == texts_of(many(SamplingSearch(4, seed=1, max_length=5), table, 50))


def test_more_samples_begin_with_the_same_draws():
    table = PrefixTable(36, 4, batch=5)
    few, more = (SamplingSearch(n, seed=1, max_length=4)(table.step, *table.begin()) for n in (2, 6))
    for item in range(5):
        rest = [tokens for _, tokens in hypotheses(more, item)]
        for _, tokens in hypotheses(few, item):
            rest.remove(tokens)
        assert len(rest) == 4
