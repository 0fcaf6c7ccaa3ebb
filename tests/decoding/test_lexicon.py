"""Searching among listed outputs only: the trie in two arrays, the filter, and how a lexicon is made of texts."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from drawn import some
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_search import Case, check, exhaustive
from prefix_table import END, PrefixTable, hypotheses

from kerass2s.decoding import BeamSearch, GreedySearch, Lexicon, SamplingSearch
from kerass2s.decoding.filters import Progress
from kerass2s.decoding.lexicon import ROOT, double_array
from kerass2s.errors import ConfigError
from kerass2s.text import SentencePieceTokenizer

ids = st.sampled_from([1, *range(4, 9), 300, 70_000])
lexicons = st.lists(some(0, 5, ids), min_size=1, max_size=30)


def children(base: np.ndarray, check: np.ndarray, node: int) -> list[tuple[int, int]]:
    """The tokens that go on from a node, and where each leads to."""
    return [(int(place - base[node]), int(place)) for place in np.flatnonzero(check == node)]


@given(lexicons)
def test_the_trie_holds_these_sequences_and_no_others(sequences: list[tuple[int, ...]]):
    base, check, lack = double_array(sequences)
    assert base.dtype == check.dtype == np.int32
    assert len(base) == len(check) == len(lack)
    assert check[-1] < 0  # nobody's
    held, waiting = [], [((), ROOT)]
    while waiting:
        prefix, node = waiting.pop()
        for token, below in children(base, check, node):
            if token == END:
                held.append(prefix)
                assert not children(base, check, below)
            else:
                waiting.append(((*prefix, token), below))
        goes_on = [sequence for sequence in sequences if prefix == sequence[: len(prefix)]]
        assert lack[node] == min(map(len, goes_on)) - len(prefix)
    assert sorted(held) == sorted(set(sequences))


def test_the_trie_of_the_docstring():
    base, check, lack = double_array([(4,), (5,)])
    assert check.tolist() == [-2, -1, -1, 5, 0, 0, 4, -1]
    assert base.tolist() == [0, 0, 0, 0, 3, 0, 0, 0]
    assert lack[[0, 3, 4, 5, 6]].tolist() == [1, 0, 0, 0, 0]


def test_gaps_are_filled_and_soon():
    # Thousands of words take a moment; were a place that none can have tried for each, they would take minutes.
    words = {tuple(row) for row in np.random.default_rng(0).integers(4, 40, size=(5000, 4)).tolist()}
    nodes = len({word[:size] for word in words for size in range(5)}) + len(words)
    assert len(double_array(words)[0]) < 1.1 * nodes


@settings(max_examples=30)
@given(lexicons, some(0, 6, ids))
def test_the_filter_walks_the_trie(sequences: list[tuple[int, ...]], text: tuple[int, ...]):
    """After each token of any text: what is allowed is what some sequence goes on with; two rows walk apart."""
    rule = Lexicon(tuple(sequences))
    texts = [sequences[0], text]
    columns = tf.range(70_001)
    own = rule.start(tf.constant(2))
    ended = [(*sequence, END) for sequence in sequences]
    for size in range(6):
        progress = Progress(tf.constant(size), None, tf.constant(100), None, None)
        allowed = rule(tf.zeros([2, 70_001]), progress, own).numpy() == 0
        for row, each in enumerate(texts):
            if size <= len(each) and any(each[:size] == sequence[:size] for sequence in ended):
                starts = {sequence[size] for sequence in ended if sequence[:size] == each[:size]}
                assert set(columns.numpy()[allowed[row]].tolist()) == starts
        following = [(*each, END, END, END, END, END, END, END)[size] for each in texts]
        own = rule.follow(own, tf.constant(following), None)


MEMBERS = ((), (4,), (4, 5), (4, 5, 1), (5, 1, 1), (1,))


@pytest.mark.parametrize("sequences", [MEMBERS, MEMBERS[1:], ((),), ((5, 5, 5),), (*MEMBERS, (4, 4, 4, 4, 4))], ids=len)
def test_full_width_finds_all_members_and_nothing_else(sequences: tuple[tuple[int, ...], ...]):
    table = PrefixTable(41, 4, batch=3)
    search = BeamSearch(9, 0.6, 4, filters=(Lexicon(sequences),))
    result = search(table.step, *table.begin())
    for item in range(3):
        check(result, item, exhaustive(Case(table, item, 4, search.filters), search))
        found = {tokens for score, tokens in hypotheses(result, item) if np.isfinite(score)}
        # One that is longer than there can be tokens is none; nor is what it begins with.
        assert found == {sequence for sequence in sequences if len(sequence) <= 4}


@pytest.mark.parametrize("search", [GreedySearch, BeamSearch, SamplingSearch], ids=lambda search: search.__name__)
def test_every_search_says_members_only(search: type):
    table = PrefixTable(42, 4, batch=30)
    result = search(max_length=4, filters=(Lexicon(MEMBERS),))(table.step, *table.begin())
    found = [tokens for item in range(30) for score, tokens in hypotheses(result, item) if np.isfinite(score)]
    assert set(found) <= set(MEMBERS)
    assert len(set(found)) > 2


def test_a_lexicon_of_texts(target_tokenizer: SentencePieceTokenizer):
    texts = ["K AE T", "S IH T", "", "K AE T"]
    lexicon = Lexicon.of(target_tokenizer, texts)
    assert len(lexicon.sequences) == 3
    assert {target_tokenizer.decode(list(sequence)) for sequence in lexicon.sequences} == set(texts)
    assert lexicon == Lexicon.of(target_tokenizer, reversed(texts))
    assert lexicon.digest == Lexicon.of(target_tokenizer, reversed(texts)).digest


@pytest.mark.parametrize(
    ("texts", "what"), [([], "at least one"), (["K AE T", "K ZZ T"], "cannot spell.*Received: 'K ZZ T'")]
)
def test_texts_that_make_no_lexicon(target_tokenizer: SentencePieceTokenizer, texts: list[str], what: str):
    with pytest.raises(ConfigError, match=what):
        Lexicon.of(target_tokenizer, texts)


def test_the_digest_names_the_sequences():
    # SHA-256 of the text [[4, 5], []].
    assert Lexicon(((4, 5), ())).digest == "5bed4f06ad0dceb9"
    assert Lexicon(((4, 5), ())).digest != Lexicon(((4,), (5,))).digest != Lexicon(((4, 5),)).digest
    assert repr(Lexicon(((4, 5), ()))) == "Lexicon(2 sequences, 5bed4f06ad0dceb9)"
