"""Error analysis against alignments, counts and groups that were made by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerass2s.analysis import (
    Edit,
    Kind,
    Outcome,
    align,
    by_length,
    by_rarest,
    by_unknown,
    confusions,
    errors_by_position,
    outcomes,
    unknown_pieces,
)
from kerass2s.data import Pair
from kerass2s.errors import DataError
from kerass2s.evaluation import closest
from kerass2s.text import SentencePieceTokenizer

TEXTS = st.lists(st.sampled_from("abc"), max_size=6).map(" ".join)


def test_an_alignment_names_each_edit():
    assert align("K AA T S", "K AE T") == [
        Edit(Kind.same, "K", "K"),
        Edit(Kind.substituted, "AE", "AA"),
        Edit(Kind.same, "T", "T"),
        Edit(Kind.extra, None, "S"),
    ]
    assert align("", "K") == [Edit(Kind.missing, "K", None)]


@given(TEXTS, TEXTS)
def test_an_alignment_holds_both_texts_and_as_few_edits_as_there_can_be(output: str, target: str):
    edits = align(output, target)
    assert " ".join(edit.output for edit in edits if edit.output) == output
    assert " ".join(edit.target for edit in edits if edit.target) == target
    assert Outcome(Pair("x", target), output, 0.0).errors == closest(output, [target])[0]


FOUND = outcomes(
    ["K AA T S", "AE T", "K AE T", "R IY D"],
    [Pair("cat", "K AE T"), Pair("kat", "K AE T"), Pair("cat", "K AE T"), Pair("read", "R EH D", ("R IY D",))],
    [-1.0, -2.0, -0.5, -0.1],
)


def test_errors_are_counted_against_the_closest_target():
    assert [outcome.errors for outcome in FOUND] == [2, 1, 0, 0]
    counts = confusions(FOUND)
    assert counts["AE", "AA"] == counts[None, "S"] == counts["K", None] == 1
    assert counts["AE", "AE"] == 2
    assert counts["EH", "IY"] == 0


def test_errors_by_position():
    """Position 0 lost one K of four, 1 has one vowel wrong, and one token came after the end."""
    found = errors_by_position(FOUND)
    np.testing.assert_array_equal(found.counts, [4, 4, 4, 0])
    np.testing.assert_array_equal(found.substituted, [0, 1, 0, 0])
    np.testing.assert_array_equal(found.missing, [1, 0, 0, 0])
    np.testing.assert_array_equal(found.extra, [0, 0, 0, 1])


def test_groups_by_length_hold_every_pair_once_and_equal_lengths_together(source_tokenizer: SentencePieceTokenizer):
    pairs = [Pair("a" * length, "K") for length in (1, 9, 1, 2, 3, 3, 3, 1)]
    found = {group.name: group.places for group in by_length(pairs, source_tokenizer, most=3)}
    assert found == {"1–2": [0, 2, 3, 7], "3": [4, 5, 6], "9": [1]}
    assert by_length(pairs[:1], source_tokenizer) == [("1", [0])]


def test_groups_by_the_rarest_token_go_by_the_counts_of_training():
    tokenizer = SentencePieceTokenizer.train(["a" * 89 + "b" * 10 + "c"], kind="char")
    pairs = [Pair(source, "K") for source in ("ab", "a", "aca", "aa", "bb", "?", "")]
    found = {group.name: group.places for group in by_rarest(pairs, tokenizer, most=3)}
    assert found == {"1 of 10–100": [0, 2, 4], "1 of 1": [1, 3]}
    merges = SentencePieceTokenizer.train(["ab ab ab abc"], kind="bpe", vocabulary_size=10)
    assert all(group.name.startswith("merge ") for group in by_rarest([Pair("ab", "K")], merges))


def test_unknown_characters_are_found_wherever_they_stand(source_tokenizer: SentencePieceTokenizer):
    pairs = [Pair("cat", "K"), Pair("cät", "K"), Pair("ääß", "K")]
    groups = {group.name: group.places for group in by_unknown(pairs, source_tokenizer)}
    assert groups == {"all known": [0], "something unknown": [1, 2]}
    assert by_unknown(pairs[:1], source_tokenizer) == [("all known", [0])]
    assert unknown_pieces(pairs, source_tokenizer) == Counter({"ä": 2, "ß": 1})


def test_other_than_one_output_for_each_pair_is_refused():
    with pytest.raises(DataError, match="Received: 1 hypotheses, 0 pairs"):
        outcomes(["a"], [], [0.0])
