"""Metrics against numbers computed by hand."""

from __future__ import annotations

import pytest

from kerass2s.data import Pair
from kerass2s.errors import DataError
from kerass2s.evaluation import closest, corpus_scores, evaluate_texts


def test_rates_equal_hand_computed_ones():
    pairs = [Pair("cat", "K AE1 T"), Pair("read", "R EH1 D", ("R IY1 D",)), Pair("a", "AH0")]
    report = evaluate_texts(["K AE1 T S", "R IY1 D", ""], pairs)
    assert report["n"] == 3
    assert report["sequence_accuracy"] == pytest.approx(1 / 3)
    assert report["word_error_rate"] == pytest.approx(2 / 3)
    assert report["token_error_rate"] == pytest.approx((1 + 0 + 1) / (3 + 3 + 1))


def test_the_closest_target_counts():
    assert closest("a b c", ["x y", "a b", "a b c d e"]) == (1, 2)


def test_all_right_is_perfect():
    pairs = [Pair("x", "the cat sat on the mat"), Pair("y", "a dog ran over the hill")]
    report = evaluate_texts([pair.target for pair in pairs], pairs)
    assert report["word_error_rate"] == report["token_error_rate"] == 0.0
    assert report["bleu"] == pytest.approx(100.0)
    assert report["chrf"] == pytest.approx(100.0)
    assert report["bleu_signature"].startswith("nrefs:1|")
    assert "nc:6" in report["chrf_signature"]


def test_pairs_may_differ_in_their_number_of_targets():
    pairs = [Pair("x", "one two three four", ("a b c d",)), Pair("y", "five six seven eight")]
    scores = corpus_scores(["a b c d", "five six seven eight"], pairs)
    assert scores["bleu"] == pytest.approx(100.0)
    assert scores["bleu_signature"].startswith("nrefs:var|")


def test_white_space_between_tokens_does_not_matter():
    assert evaluate_texts([" K  AE1 T "], [Pair("cat", "K AE1 T")])["sequence_accuracy"] == 1.0


@pytest.mark.parametrize(("hypotheses", "pairs"), [([], []), (["a"], []), ([], [Pair("a", "b")])])
def test_nothing_to_compare_is_refused(hypotheses: list[str], pairs: list[Pair]):
    with pytest.raises(DataError, match="Received: 0|Received: 1"):
        evaluate_texts(hypotheses, pairs)
