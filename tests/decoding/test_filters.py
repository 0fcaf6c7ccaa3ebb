"""Every filter, and filters together, against a listing of all that they allow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from drawn import BATCH, EVERY, FILTERS, LONGEST, filters, tables
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_search import RULES, Case, check, exhaustive, greedy
from prefix_table import PrefixTable, hypotheses

from kerass2s.decoding import (
    Banned,
    BeamSearch,
    Filter,
    Forced,
    GreedySearch,
    Lexicon,
    MaxRatio,
    MinLength,
    MinRatio,
    Monotonic,
    NoRepeatNgram,
    NoUnknown,
    Prefix,
    RepetitionPenalty,
    SamplingSearch,
)
from kerass2s.decoding.filters import Progress
from kerass2s.decoding.spec import FILTERS as NAMED
from kerass2s.errors import ConfigError

NOTHING = (Lexicon(((4, 4, 4),)), NoRepeatNgram(1))  # [4], and then nothing


def check_listing(table: PrefixTable, rules: tuple[Filter, ...]) -> None:
    """A beam as wide as all there is finds all there is, and greedy search the likeliest token each time."""
    wide = BeamSearch(EVERY, 0.0, LONGEST, filters=rules)
    narrow = GreedySearch(LONGEST, filters=rules)
    found, likeliest = (search(table.step, *table.begin()) for search in (wide, narrow))
    for item in range(BATCH):
        case = Case(table, item, LONGEST, rules)
        check(found, item, exhaustive(case, wide))
        one = greedy(case)
        check(likeliest, item, [] if one is None else [(sum(one.gains), one)])


def test_all_filters_are_drawn_and_known_in_plain_python():
    assert set(FILTERS) == set(RULES) == set(NAMED.values())


@pytest.mark.parametrize("kind", FILTERS, ids=lambda kind: kind.__name__)
def test_one_filter_leaves_what_its_rule_allows(kind: type[Filter]):
    @settings(max_examples=4)
    @given(tables, FILTERS[kind])
    def check_one(table: PrefixTable, rule: Filter) -> None:
        check_listing(table, (rule,))

    check_one()


@settings(max_examples=25)
@given(tables, filters)
@example(PrefixTable(0, LONGEST, BATCH, source_lengths=(1, 2, 3, 4)), NOTHING)
@example(PrefixTable(0, LONGEST, BATCH, source_lengths=(1, 2, 3, 4)), (Prefix((4,)), Lexicon(((5,),))))
@example(PrefixTable(1, LONGEST, BATCH, source_lengths=(1, 2, 3, 4)), (MinLength(3), MaxRatio(0.7)))
@example(PrefixTable(2, LONGEST, BATCH, source_lengths=(1, 2, 3, 4)), (RepetitionPenalty(3.0), Monotonic(1, 0, 4.0)))
def test_filters_together_leave_what_all_their_rules_allow(table: PrefixTable, rules: tuple[Filter, ...]):
    check_listing(table, rules)


def allowed_after(rule: Filter, prefix: tuple[int, ...], limit: int = 5, length: int = 2) -> set[int]:
    """The tokens that a filter without a memory leaves after a prefix, of V = 8."""
    tokens = tf.constant([[*prefix, *[0] * (limit - len(prefix))]])
    progress = Progress(tf.constant(len(prefix)), tokens, tf.constant(limit), tf.constant([length]), None)
    left = rule(tf.zeros([1, 8]), progress, {}).numpy()[0]
    assert set(left.tolist()) <= {0.0, -1e9}
    return set(np.flatnonzero(left == 0).tolist())


EVERYTHING = set(range(8))


@pytest.mark.parametrize(
    ("rule", "prefix", "left"),
    [
        (MinLength(2), (4,), EVERYTHING - {3}),
        (MinLength(2), (4, 4), EVERYTHING),
        (MinRatio(1.5), (4, 4), EVERYTHING - {3}),
        (MinRatio(1.5), (4, 4, 4), EVERYTHING),
        (MaxRatio(1.5), (4, 4), EVERYTHING),
        (MaxRatio(1.5), (4, 4, 4), {3}),
        (MaxRatio(0.0), (), EVERYTHING),
        (MaxRatio(0.0), (4,), {3}),
        (Banned((4, 7)), (), EVERYTHING - {4, 7}),
        (NoUnknown(), (), EVERYTHING - {1}),
        (Forced((4, 5)), (), EVERYTHING - {3}),
        (Forced((4, 5)), (6, 6, 6), {4, 5}),
        (Forced((4, 5)), (6, 6, 6, 4), {5}),
        (Forced((4, 5)), (6, 5, 6, 4), EVERYTHING),
        (Prefix((6, 4)), (), {6}),
        (Prefix((6, 4)), (6,), {4}),
        (Prefix((6, 4)), (6, 4), EVERYTHING),
        (NoRepeatNgram(1), (4, 6), EVERYTHING - {0, 4, 6}),
        (NoRepeatNgram(2), (4, 6, 4), EVERYTHING - {0, 6}),
        (NoRepeatNgram(2), (4, 6, 6), EVERYTHING - {0, 6}),
        (NoRepeatNgram(3), (4, 4, 4), EVERYTHING - {0, 4}),
        (NoRepeatNgram(3), (4, 6, 5, 4), EVERYTHING - {0}),
        (NoRepeatNgram(9), (4, 4), EVERYTHING - {0}),
    ],
    ids=str,
)
def test_rules_by_hand(rule: Filter, prefix: tuple[int, ...], left: set[int]):
    assert allowed_after(rule, prefix) == left


def test_a_repeated_token_costs_its_factor_and_is_still_possible():
    table = PrefixTable(3, 2)
    plain = BeamSearch(13, 0.0, 2)(table.step, *table.begin())
    dear = BeamSearch(13, 0.0, 2, filters=(RepetitionPenalty(2.0),))(table.step, *table.begin())
    before, after = ({tokens: score for score, tokens in hypotheses(each, 0)} for each in (plain, dear))
    for tokens, score in before.items():
        again = table.log_probs(0, tokens[:1])[tokens[1]] if len(tokens) == 2 and tokens[0] == tokens[1] else 0.0
        assert after[tokens] == pytest.approx(score + again, abs=1e-5)


@pytest.mark.parametrize("search", [GreedySearch, BeamSearch, SamplingSearch])
def test_where_nothing_is_allowed_there_is_no_hypothesis(search: type):
    table = PrefixTable(0, LONGEST, 2, source_lengths=(1, 3))
    result = search(max_length=LONGEST, filters=NOTHING)(table.step, *table.begin())
    assert np.all(np.isneginf(result.scores))
    assert not np.any(result.ids)
    assert not np.any(result.lengths)
    assert not np.any(result.token_scores)
    assert not np.any(result.alignments)


def test_a_row_without_a_hypothesis_does_not_stop_the_others():
    table = PrefixTable(0, LONGEST, 2, source_lengths=(1, 3))
    rules = (MinLength(2), MaxRatio(1.0))  # the first source is too short for two tokens
    for search in (GreedySearch(LONGEST, filters=rules), BeamSearch(4, 0.0, LONGEST, filters=rules)):
        result = search(table.step, *table.begin())
        assert np.all(np.isneginf(result.scores[0]))
        assert len(hypotheses(result, 1)[0][1]) >= 2


def test_monotonic_and_coverage_need_attention():
    table = PrefixTable(0, LONGEST)

    *begun, source = table.begin()

    def blind(*args):
        return table.step(*args)._replace(alignment=None)

    for search in (GreedySearch(LONGEST, filters=(Monotonic(),)), BeamSearch(2, 0.0, LONGEST, coverage_penalty=0.1)):
        with pytest.raises(ConfigError, match="attention. Received: no alignment"):
            search(blind, *begun, source._replace(alignment_width=None))


@pytest.mark.parametrize(
    "make",
    [
        lambda: MinLength(0),
        lambda: MinLength(1.0),
        lambda: MinLength(True),
        lambda: MinRatio(-0.1),
        lambda: MinRatio(float("nan")),
        lambda: MinRatio("1"),
        lambda: MaxRatio(1e5),
        lambda: MaxRatio(None),
        lambda: Banned(()),
        lambda: Banned([4]),
        lambda: Banned((-1,)),
        lambda: Banned((True,)),
        lambda: Forced((3,)),
        lambda: Forced(4),
        lambda: Prefix((4, 2)),
        lambda: Prefix(()),
        lambda: NoRepeatNgram(0),
        lambda: RepetitionPenalty(0.9),
        lambda: RepetitionPenalty(float("inf")),
        lambda: Lexicon(()),
        lambda: Lexicon([(4,)]),
        lambda: Lexicon(((4, 0),)),
        lambda: Lexicon((None,)),
        lambda: Lexicon(([],)),
        lambda: Monotonic(0),
        lambda: Monotonic(1, -1),
        lambda: Monotonic(1, 0, 101),
        lambda: GreedySearch(filters=[MinLength(2)]),
        lambda: GreedySearch(filters=MinLength(2)),
        lambda: BeamSearch(filters=(MinLength,)),
        lambda: SamplingSearch(filters=("min_length=2",)),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ConfigError, match=r"Received: ") as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1


def test_filters_of_the_same_arguments_are_one_key():
    @given(st.one_of(*FILTERS.values()))
    def check_equality(rule: Filter) -> None:
        twin = type(rule)(**{name: value for name, value in vars(rule).items() if name in rule.__dataclass_fields__})
        assert twin == rule
        assert hash(twin) == hash(rule)

    check_equality()


def test_a_filter_without_a_rule_says_so():
    with pytest.raises(TypeError, match="Received: Filter"):
        GreedySearch(filters=(Filter(),))(PrefixTable(0, 1).step, *PrefixTable(0, 1).begin())
