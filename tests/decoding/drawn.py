"""What hypothesis draws for the searches: filters, the fields that rank, and tables of random answers."""

from __future__ import annotations

from hypothesis import strategies as st
from prefix_table import TOKENS, PrefixTable

from kerass2s.decoding import (
    Banned,
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
)

LONGEST = 3
EVERY = 1 + 3 + 9 + 27  # texts of 0 to 3 of the three tokens
BATCH = 4

tokens = st.sampled_from(TOKENS)


def some(least: int, most: int, ids: st.SearchStrategy[int] = tokens) -> st.SearchStrategy[tuple[int, ...]]:
    """Tuples of `least` to `most` ids."""
    return st.lists(ids, min_size=least, max_size=most).map(tuple)


FILTERS = {
    MinLength: st.builds(MinLength, st.integers(1, 5)),
    MinRatio: st.builds(MinRatio, st.floats(0, 2)),
    MaxRatio: st.builds(MaxRatio, st.floats(0, 2)),
    Banned: st.builds(Banned, some(1, 2, st.integers(0, 7))),
    NoUnknown: st.builds(NoUnknown),
    Forced: st.builds(Forced, some(1, 4)),
    Prefix: st.builds(Prefix, some(1, 4)),
    NoRepeatNgram: st.builds(NoRepeatNgram, st.integers(1, 4)),
    RepetitionPenalty: st.builds(RepetitionPenalty, st.floats(1, 5)),
    Lexicon: st.builds(Lexicon, st.lists(some(0, 4), min_size=1, max_size=8).map(tuple)),
    Monotonic: st.builds(Monotonic, st.integers(1, 2), st.integers(0, 1), st.floats(0, 5)),
}
"""By kind: any of it, of arguments that matter for texts of at most three tokens."""

filters = st.lists(st.one_of(*FILTERS.values()), max_size=4).map(tuple)

rankers = st.fixed_dictionaries(
    {
        "length_penalty": st.sampled_from([0, 0.6, 1, 2.5]),
        "normalization": st.sampled_from(["gnmt", "plain"]),
        "coverage_penalty": st.sampled_from([0, 0.2, 1.5]),
        "word_reward": st.sampled_from([0, 1, 0.3, -0.7, 4]),
    }
)

tables = st.builds(
    PrefixTable,
    st.integers(0, 999),
    st.just(LONGEST),
    st.just(BATCH),
    st.sampled_from([1.0, 2.0]),
    st.tuples(*[st.integers(1, 4)] * BATCH),
    st.integers(1, 2),
)
