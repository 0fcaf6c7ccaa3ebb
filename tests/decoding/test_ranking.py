"""Every ranker, with and without filters, against a listing of all hypotheses and a plain beam search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from drawn import BATCH, EVERY, LONGEST, filters, rankers, tables
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_search import Case, beam, check, exhaustive
from prefix_table import END, PrefixTable, hypotheses, source_of

from kerass2s.decoding import BeamSearch, Filter, GreedySearch, MinLength, SamplingSearch, StepOutput
from kerass2s.errors import ConfigError


@settings(max_examples=15)
@given(tables, rankers, filters)
def test_full_width_ranks_all_there_is(table: PrefixTable, ranker: dict, rules: tuple[Filter, ...]):
    search = BeamSearch(EVERY, max_length=LONGEST, filters=rules, **ranker)
    result = search(table.step, *table.begin())
    for item in range(BATCH):
        case = Case(table, item, LONGEST, rules)
        check(result, item, exhaustive(case, search))


@settings(max_examples=25)
@given(tables, rankers, filters, st.integers(1, 6))
@example(
    PrefixTable(1, 5, BATCH, 1.5, (1, 2, 3, 4)),
    {"word_reward": 4, "normalization": "plain", "length_penalty": 1},
    (),
    3,
)
@example(PrefixTable(2, 5, BATCH, 2.0, (4, 2, 3, 4), 2), {"coverage_penalty": 1.5, "length_penalty": 0.6}, (), 2)
@example(PrefixTable(3, 5, BATCH, 2.0, (4, 2, 3, 4)), {"word_reward": -3}, (MinLength(2),), 4)
def test_a_narrow_beam_stops_early_and_loses_nothing(
    table: PrefixTable, ranker: dict, rules: tuple[Filter, ...], width: int
):
    search = BeamSearch(width, max_length=table.max_length, filters=rules, **ranker)
    result = search(table.step, *table.begin())
    for item in range(BATCH):
        check(result, item, beam(Case(table, item, table.max_length, rules), search))


def told(rows: list[list[float]], looks: list[list[float]]):
    """A step that says the same at each place to whoever asks: probabilities [T, V], alignments [T, S]."""

    def step(ids: tf.Tensor, state: dict, memory: dict) -> StepOutput:
        t = state["t"]
        log_probs = tf.math.log(tf.gather(tf.maximum(tf.constant(rows), 1e-30), t))
        return StepOutput(log_probs, {"t": t + 1}, tf.gather(tf.constant(looks), t))

    return (
        step,
        {"t": tf.zeros([1], tf.int32)},
        {},
        tf.fill([1], 2),
        source_of([0], (3,))._replace(alignment_width=tf.constant(len(looks[0]))),
    )


# After one token, 4, comes END; a third source position gets no attention.
STORY = told(
    [[0, 0, 0, 0, 0.5, 0.5], [0, 0, 0, 0.25, 0.75, 0], [0, 0, 0, 1, 0, 0]], [[0.5, 0.5, 0], [1, 0, 0], [0, 0, 1]]
)


@pytest.mark.parametrize(
    ("fields", "score"),
    [
        ({}, np.log(0.125)),
        ({"length_penalty": 1}, np.log(0.125) / (7 / 6)),
        ({"length_penalty": 2.0, "normalization": "plain"}, np.log(0.125) / 4),
        ({"word_reward": 0.5}, np.log(0.125) + 1),
        ({"word_reward": -3}, np.log(0.125) - 6),
        # Attention in all: 1.5, counted as 1, then 0.5, then nothing, counted as 1e-9.
        ({"coverage_penalty": 2}, np.log(0.125) + 2 * (np.log(0.5) + np.log(1e-9))),
    ],
    ids=str,
)
def test_scores_by_hand(fields: dict, score: float):
    found = hypotheses(BeamSearch(8, max_length=3, **fields)(*STORY), 0)
    assert {tokens: each for each, tokens in found}[4,] == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "score"),
    [
        ({"word_reward": 0.5}, np.log(0.04) + 10 * 0.5),
        ({"length_penalty": 3.0}, np.log(0.04) / (15 / 6) ** 3),
        ({"length_penalty": 2, "normalization": "plain"}, np.log(0.04) / 100),
    ],
    ids=str,
)
def test_a_long_hypothesis_that_only_wins_at_its_end_is_found(fields: dict, score: float):
    # Nothing and [4] fill the pool at once and are far ahead; what lives has 0.4 * 0.1, and loses nothing any more.
    rows = [[0, 0, 0, 0.6, 0.4, 0], [0, 0, 0, 0.9, 0.1, 0], *[[0, 0, 0, 0, 1, 0]] * 8]
    found = hypotheses(BeamSearch(2, max_length=10, **fields)(*told(rows, [[1.0]] * 10)), 0)
    assert found[0] == (pytest.approx(score, rel=1e-4), (4,) * 10)


@pytest.mark.parametrize(
    "search",
    [
        GreedySearch(4),
        BeamSearch(4, 0.6, 4),
        BeamSearch(6, 0.0, 4, groups=3),
        SamplingSearch(5, max_length=4),
        SamplingSearch(5, max_length=4, filters=(MinLength(2),)),
    ],
    ids=lambda search: type(search).__name__,
)
def test_a_finished_hypothesis_is_never_extended(search):
    table = PrefixTable(21, 4, batch=12)
    table.logits[:, :, END] += 0.5
    result = search(table.step, *table.begin())
    lengths = result.lengths.numpy()
    assert {0, 4} <= set(lengths.ravel()) or search.filters  # some end at once, some are cut
    for place, length in np.ndenumerate(lengths):
        ids, added = result.ids.numpy()[place], result.token_scores.numpy()[place]
        assert np.all(ids[:length] != END)
        assert not np.any(ids[length:])
        assert added[length] == pytest.approx(
            0.0 if length == 4 else table.log_probs(place[0], tuple(ids[:length]))[END], abs=1e-5
        )
        assert not np.any(added[length + 1 :])
        assert not np.any(result.alignments.numpy()[place][length:])
        norm = ((5 + min(length + 1, 4)) / 6) ** getattr(search, "length_penalty", 0)
        assert np.sum(added) / norm == pytest.approx(result.scores.numpy()[place], abs=1e-5)


SEARCHES = [
    GreedySearch(4),
    BeamSearch(5, 0.3, 4, word_reward=0.2),
    BeamSearch(6, 0.3, 4, groups=2),
    SamplingSearch(3, seed=5, temperature=0.7, length_penalty=0.5, max_length=4),
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_a_setting_given_to_the_graph_is_as_good_as_the_field(search):
    table = PrefixTable(8, 5, batch=6, sharpness=1.5)
    others = {"max_length": 2, "length_penalty": 2.0, "temperature": 3.0, "seed": 77}
    assert set(search.settings()) <= set(others)
    for name, own in search.settings().items():
        assert own == np.asarray(getattr(search, name), own.dtype)
    specs = {name: tf.TensorSpec([], own.dtype) for name, own in search.settings().items()}
    graph = tf.function(lambda settings: search(table.step, *table.begin(), **settings), input_signature=[specs])
    plain = search(table.step, *table.begin())
    for change in [{}, *({name: others[name]} for name in search.settings())]:
        expected = replace(search, **change)
        found = graph({name: tf.constant(own) for name, own in expected.settings().items()})
        for one, other in zip(found, expected(table.step, *table.begin()), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
        same = found.ids.shape == plain.ids.shape and np.allclose(found.scores, plain.scores, rtol=1e-4)
        assert same == (not change)


@pytest.mark.parametrize(
    ("name", "given", "nearest"),
    [
        ("max_length", -3, 1),
        ("max_length", 0, 1),
        ("length_penalty", -2.0, 0.0),
        ("temperature", -1.0, 0.01),
        ("temperature", 0.0, 0.01),
        ("temperature", 1e9, 100.0),
    ],
)
def test_a_setting_out_of_its_range_is_taken_to_its_edge(name: str, given, nearest):
    table = PrefixTable(8, 4, batch=6)
    for search in SEARCHES:
        if name in search.settings():
            found = search(table.step, *table.begin(), **{name: tf.constant(given)})
            for one, other in zip(found, replace(search, **{name: nearest})(table.step, *table.begin()), strict=True):
                np.testing.assert_array_equal(one, other)


def test_any_seed_draws():
    table = PrefixTable(8, 4, batch=6)
    for seed in (-1, -(2**31), 2**31 - 1):
        result = SamplingSearch(2, max_length=4)(table.step, *table.begin(), seed=tf.constant(seed))
        assert np.all(np.isfinite(result.scores))


@pytest.mark.parametrize(
    "make",
    [
        lambda: BeamSearch(normalization="mean"),
        lambda: BeamSearch(coverage_penalty=-0.1),
        lambda: BeamSearch(coverage_penalty="1"),
        lambda: BeamSearch(word_reward=11),
        lambda: BeamSearch(word_reward=float("nan")),
        lambda: BeamSearch(length_penalty=10.5),
        lambda: BeamSearch(groups=0),
        lambda: BeamSearch(5, groups=2),
        lambda: BeamSearch(2, groups=4),
        lambda: BeamSearch(diversity=-1),
        lambda: BeamSearch(diversity=1001),
        lambda: SamplingSearch(0),
        lambda: SamplingSearch(1025),
        lambda: SamplingSearch(temperature=0),
        lambda: SamplingSearch(temperature=101),
        lambda: SamplingSearch(top_k=-1),
        lambda: SamplingSearch(top_k=2.0),
        lambda: SamplingSearch(top_p=1.1),
        lambda: SamplingSearch(top_p=-0.1),
        lambda: SamplingSearch(seed=-1),
        lambda: SamplingSearch(seed=2**31 - 1),
        lambda: SamplingSearch(length_penalty=-1),
        lambda: SamplingSearch(max_length=0),
        lambda: SamplingSearch(word_reward=None),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ConfigError, match=r"Received: ") as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1
