"""Greedy and beam search against brute force, on step callables whose whole answer can be listed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from prefix_table import PrefixTable, hypotheses, number, source_of

from kerass2s.decoding import BeamSearch, GreedySearch, SearchResult, StepOutput

LONGEST = 4
EVERY = 1 + 3 + 9 + 27 + 81  # hypotheses of 0 to 4 of the three tokens


def run(search: GreedySearch | BeamSearch, table: PrefixTable, items: list[int] | None = None) -> SearchResult:
    return tf.function(search)(table.step, *table.begin(items))


def assert_same(found: list, expected: list) -> None:
    assert [tokens for _, tokens in found] == [tokens for _, tokens in expected]
    np.testing.assert_allclose([score for score, _ in found], [score for score, _ in expected], rtol=0, atol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_full_width_is_exhaustive_search(seed: int, penalty: float):
    table = PrefixTable(seed, LONGEST, batch=2)
    result = run(BeamSearch(EVERY, penalty, LONGEST), table)
    for item in range(2):
        assert_same(hypotheses(result, item), table.exhaustive(item, penalty))


def test_places_without_a_hypothesis_are_empty_and_last():
    table = PrefixTable(0, 1)
    result = run(BeamSearch(7, 0.0, 1), table)
    assert_same(hypotheses(result, 0)[:4], table.exhaustive(0))
    assert result.scores.numpy()[0, 4:].tolist() == [-np.inf] * 3
    assert result.lengths.numpy()[0, 4:].tolist() == [0] * 3


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 5.0])
def test_width_one_is_greedy(penalty: float):
    table = PrefixTable(5, LONGEST, batch=40)
    greedy, beam = run(GreedySearch(LONGEST), table), run(BeamSearch(1, penalty, LONGEST), table)
    assert set(greedy.lengths.numpy().ravel()) == set(range(LONGEST + 1))
    np.testing.assert_array_equal(greedy.ids, beam.ids)
    np.testing.assert_array_equal(greedy.lengths, beam.lengths)
    np.testing.assert_array_equal(greedy.alignments, beam.alignments)
    counted = np.minimum(greedy.lengths.numpy() + 1, LONGEST)
    np.testing.assert_allclose(greedy.scores / ((5 + counted) / 6) ** penalty, beam.scores, rtol=1e-5)


def test_greedy_takes_the_likeliest_token_each_time():
    table = PrefixTable(6, LONGEST, batch=10)
    result = run(GreedySearch(LONGEST), table)
    for item in range(10):
        tokens: tuple[int, ...] = ()
        while len(tokens) < LONGEST:
            best = max((1, 3, 4, 5), key=table.log_probs(item, tokens).__getitem__)
            if best == 3:
                break
            tokens = (*tokens, best)
        assert hypotheses(result, item)[0][1] == tokens


@pytest.mark.parametrize("search", [GreedySearch(6), BeamSearch(3, 0.0, 6), BeamSearch(4, 0.7, 6)], ids=str)
def test_scores_are_the_sum_of_the_log_probabilities(search: GreedySearch | BeamSearch):
    table = PrefixTable(7, 6, batch=4, sharpness=2.0)
    result = run(search, table)
    for item in range(4):
        found = hypotheses(result, item)
        assert len({tokens for _, tokens in found}) == len(found)
        assert [score for score, _ in found] == sorted((score for score, _ in found), reverse=True)
        again = [(table.score(item, tokens, getattr(search, "length_penalty", 0.0)), tokens) for _, tokens in found]
        assert_same(found, again)


def beam_without_early_stop(table: PrefixTable, item: int, width: int, penalty: float) -> list:
    """Plain Python beam search that always goes on to max_length."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[tuple[float, tuple[int, ...]]] = []
    for _ in range(table.max_length):
        grown = [
            (total + table.log_probs(item, tokens)[token], tokens, token)
            for total, tokens in live
            for token in (1, 3, 4, 5)
        ]
        grown = sorted(grown, reverse=True)[:width]
        live = [(total, (*tokens, token)) for total, tokens, token in grown if token != 3]
        ended += [(total, tokens) for total, tokens, token in grown if token == 3]
    return sorted(((table.score(item, tokens, penalty), tokens) for _, tokens in ended + live), reverse=True)[:width]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("width", [2, 3, 5])
def test_stopping_early_changes_nothing(width: int, penalty: float):
    table = PrefixTable(width, 5, batch=12, sharpness=1.5)
    result = run(BeamSearch(width, penalty, 5), table)
    for item in range(12):
        assert_same(hypotheses(result, item), beam_without_early_stop(table, item, width, penalty))


def scripted_step(probabilities: dict[int, list[float]], calls: list[int]):
    """A step that sees only its input id: rows of probabilities by id. Counts its calls when run eagerly."""
    rows = np.full((6, 6), 1e-30, np.float32)
    for token, row in probabilities.items():
        rows[token] = np.maximum(row, 1e-30)

    def step(ids: tf.Tensor, state: dict, memory: dict) -> StepOutput:
        calls.append(1)
        return StepOutput(tf.gather(np.log(rows), ids), state)

    return step


def test_a_long_hypothesis_that_can_still_win_by_its_length_penalty_is_found():
    # END at once has probability 0.6; the long way (4 until max_length) 0.4 with nothing lost after its first step.
    step = scripted_step({2: [0, 0, 0, 0.6, 0.4, 0], 4: [0, 0, 0, 0, 1, 0]}, [])
    long = BeamSearch(2, 2.0, 10)(step, {}, {}, tf.fill([1], 2), source_of([0] * 1))
    assert hypotheses(long, 0)[0] == (pytest.approx(np.log(0.4) / (15 / 6) ** 2), (4,) * 10)
    assert hypotheses(long, 0)[1] == (pytest.approx(np.log(0.6)), ())


def test_the_search_stops_as_soon_as_nothing_can_win():
    # After END (0.9) and [4] (0.1 * 0.9), what lives has at most 0.01.
    calls: list[int] = []
    step = scripted_step({2: [0, 0, 0, 0.9, 0.1, 0], 4: [0, 0, 0, 0.9, 0.1, 0]}, calls)
    result = BeamSearch(2, 0.0, 200)(step, {}, {}, tf.fill([3], 2), source_of([0] * 3))
    assert [tokens for _, tokens in hypotheses(result, 2)] == [(), (4,)]
    assert len(calls) == 2
    calls.clear()
    GreedySearch(200)(step, {}, {}, tf.fill([3], 2), source_of([0] * 3))
    assert len(calls) == 1


@pytest.mark.parametrize("search", [GreedySearch(5), BeamSearch(3, 0.6, 5)], ids=str)
def test_an_item_does_not_depend_on_the_others(search: GreedySearch | BeamSearch):
    table = PrefixTable(11, 5, batch=8)
    together = run(search, table)
    for item in range(8):
        alone = run(search, table, [item])
        length = alone.ids.shape[2]
        assert_same(hypotheses(alone, 0), hypotheses(together, item))
        np.testing.assert_array_equal(alone.alignments[0], together.alignments[item, :, :length])
        assert not np.any(together.ids[item, :, length:])


@pytest.mark.parametrize("search", [GreedySearch(5), BeamSearch(3, 0.6, 5)], ids=str)
def test_an_empty_batch_gives_an_empty_result(search: GreedySearch | BeamSearch):
    width = getattr(search, "width", 1)
    result = run(search, PrefixTable(1, 5), [])
    assert [tuple(part.shape) for part in result[:3]] == [(0, width, 1), (0, width), (0, width)]
    assert [tuple(part.shape) for part in result[3:]] == [(0, width, 2), (0, width, 1, 2)]
    assert [part.dtype for part in result] == [tf.int32, tf.int32, tf.float32, tf.float32, tf.float32]


def test_only_empty_hypotheses_still_have_one_column():
    step = scripted_step({2: [0, 0, 0, 1, 0, 0]}, [])
    for search in (GreedySearch(), BeamSearch(1)):
        result = search(step, {}, {}, tf.fill([2], 2), source_of([0] * 2))
        assert result.ids.numpy().tolist() == [[[0]], [[0]]]
        assert result.lengths.numpy().tolist() == [[0], [0]]
        assert result.alignments is None


@pytest.mark.parametrize("search", [GreedySearch(5), BeamSearch(4, 0.6, 5), BeamSearch(30, 0.0, 5)], ids=str)
def test_alignments_follow_the_path_of_their_hypothesis(search: GreedySearch | BeamSearch):
    table = PrefixTable(13, 5, batch=6)
    result = run(search, table)
    for item in range(6):
        for place, (_, tokens) in enumerate(hypotheses(result, item)):
            rows = result.alignments.numpy()[item, place]
            assert rows[: len(tokens)].tolist() == [[number(tokens[:t]), t] for t in range(len(tokens))]
            assert not np.any(rows[len(tokens) :])


@pytest.mark.parametrize("search", [GreedySearch(5), BeamSearch(4, 0.6, 5)], ids=str)
def test_pad_and_start_are_never_produced(search: GreedySearch | BeamSearch):
    table = PrefixTable(17, 5, batch=6)
    table.logits[:, :, [0, 2]] += 20
    for item in range(6):
        for _, tokens in hypotheses(run(search, table), item):
            assert not {0, 2, 3} & set(tokens)


def test_the_same_search_runs_eagerly_with_half_precision_logits():
    table = PrefixTable(19, 4, batch=3)
    table.logits = table.logits.astype(np.float16)
    search = BeamSearch(4, 0.6, 4)
    eager, graph = search(table.step, *table.begin()), run(search, table)
    for one, other in zip(eager, graph, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert eager.scores.dtype == tf.float32
