"""Diverse beam search against groups of beams in plain Python (Vijayakumar et al. 2018, Hamming diversity)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from drawn import BATCH, filters, tables
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_search import Case, check_places, diverse_beam
from prefix_table import PrefixTable, hypotheses, source_of

from kerass2s.decoding import BeamSearch, Filter, StepOutput


@settings(max_examples=15)
@given(
    tables,
    filters,
    st.integers(2, 4),
    st.integers(1, 3),
    st.sampled_from([0.3, 1, 5.0, 1000]),
    st.sampled_from([0, 1.5]),
)
@example(PrefixTable(2, 5, BATCH, 1.5, (1, 2, 3, 4)), (), 3, 2, 0.7, 0)
@example(PrefixTable(4, 5, BATCH, 1.5, (1, 2, 3, 4)), (), 2, 3, 1.5, 2.0)
def test_groups_avoid_what_those_before_them_say(
    table: PrefixTable, rules: tuple[Filter, ...], groups: int, width: int, diversity: float, penalty: float
):
    search = BeamSearch(groups * width, penalty, table.max_length, groups=groups, diversity=diversity, filters=rules)
    result = search(table.step, *table.begin())
    for item in range(BATCH):
        check_places(result, item, diverse_beam(Case(table, item, table.max_length, rules), search))


def test_without_diversity_all_groups_are_the_plain_beam():
    table = PrefixTable(6, 4, batch=8)
    plain = BeamSearch(3, 0.6, 4)(table.step, *table.begin())
    groups = BeamSearch(6, 0.6, 4, groups=2, diversity=0)(table.step, *table.begin())
    for one, other in zip(plain, groups, strict=True):
        np.testing.assert_allclose(np.repeat(one, 2, axis=1), other, rtol=1e-6)


def test_one_group_is_the_plain_beam():
    table = PrefixTable(6, 4, batch=8)
    plain = BeamSearch(3, 0.6, 4)(table.step, *table.begin())
    group = BeamSearch(3, 0.6, 4, groups=1, diversity=9)(table.step, *table.begin())
    for one, other in zip(plain, group, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("diversity", "second"), [(0.6, (4,)), (0.8, (5,))])
def test_the_price_by_hand(diversity: float, second: tuple[int, ...]):
    # 4 has twice the probability of 5: the second group says 5 if a repetition costs more than log 2 = 0.693 nats.
    rows = np.log(np.maximum(np.array([[0, 0, 0, 0, 2, 1], [0, 0, 0, 3, 0, 0]], np.float32) / 3, 1e-30))

    def step(ids: tf.Tensor, state: dict, memory: dict) -> StepOutput:
        return StepOutput(tf.gather(rows, tf.minimum(state["t"], 1)), {"t": state["t"] + 1})

    search = BeamSearch(2, max_length=4, groups=2, diversity=diversity)
    result = search(step, {"t": tf.zeros([1], tf.int32)}, {}, tf.fill([1], 2), source_of([0]))
    found = hypotheses(result, 0)
    assert [tokens for _, tokens in found] == [(4,), second]
    # The price is no part of the score.
    assert found[1][0] == pytest.approx(np.log(2 / 3 if second == (4,) else 1 / 3), abs=1e-5)
    assert np.sum(result.token_scores[0, 1]) == pytest.approx(found[1][0], abs=1e-5)
