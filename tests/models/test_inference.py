"""Scores of given targets, candidates put in another order, and streams of any length."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from kerass2s import BeamSearch, GreedySearch, Hypothesis, Pair, Seq2Seq, zoo
from kerass2s.errors import ConfigError, UserError
from kerass2s.export import load_predictor
from kerass2s.inference import answered

GREEDY = GreedySearch(max_length=6)


@pytest.fixture(scope="module")
def model(source_tokenizer, target_tokenizer) -> Seq2Seq:
    """A tiny model with opinions; tests leave it as it is."""
    keras.utils.set_random_seed(3)
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
    model = zoo.build("luong2015", **tokenizers, preset="tiny")
    model.set_weights([3 * weight for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def certain(source_tokenizer, target_tokenizer) -> Seq2Seq:
    """A model that says the same of everything: END has half of the probability, and 8 other tokens share the rest."""
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
    model = zoo.build("luong2015", **tokenizers, preset="tiny")
    logits = model.decoder.get_layer("logits")
    size = target_tokenizer.vocabulary_size
    bias = np.full(size, np.log(0.5 / (size - 1)))
    bias[3] = np.log(0.5)
    logits.set_weights([np.zeros_like(logits.get_weights()[0]), bias])
    return model


# === Scores ===


def test_tokens_and_perplexities_by_hand(certain: Seq2Seq, target_tokenizer):
    other = np.log(0.5 / (target_tokenizer.vocabulary_size - 1))
    pairs = [Pair("cat", "K AE T"), Pair("a", ""), Pair("", "K K")]
    tokens = certain.score_tokens(pairs, batch_size=2)
    for found, count in zip(tokens, (3, 0, 2), strict=True):
        np.testing.assert_allclose(found, [other] * count + [np.log(0.5)], rtol=1e-5)
    np.testing.assert_allclose(certain.score_pairs(pairs), [each.sum() for each in tokens], rtol=1e-6)
    expected = [np.exp(-(3 * other + np.log(0.5)) / 4), 2.0, np.exp(-(2 * other + np.log(0.5)) / 3)]
    np.testing.assert_allclose(certain.perplexities(pairs), expected, rtol=1e-5)
    assert len(certain.score_tokens([])) == len(certain.perplexities([])) == len(certain.score_pairs([])) == 0


def test_candidates_are_put_in_order_by_the_models_own_scores(model: Seq2Seq, target_tokenizer):
    sources, candidates = ["cat", "stick", "a"], [["K AE T", "T", "S S"], ["S T IH K"], []]
    found = model.rescore(sources, candidates, batch_size=2)
    assert [len(row) for row in found] == [3, 1, 0]
    own = model.score_pairs([Pair("cat", text) for text in candidates[0]])
    order = np.argsort(-own)
    assert [one.text for one in found[0]] == [candidates[0][i] for i in order]
    np.testing.assert_allclose([one.score for one in found[0]], own[order], rtol=1e-6)
    assert found[1][0].ids == target_tokenizer.encode("S T IH K")


def test_a_first_models_scores_have_their_weight(model: Seq2Seq):
    first = [[Hypothesis("K AE T", -1.0, []), Hypothesis("T", -2.0, []), Hypothesis("S", -2.0, [])]]
    own = dict(zip("KTS", model.score_pairs([Pair("cat", one.text) for one in first[0]]), strict=True))
    (found,) = model.rescore(["cat"], first, weight=0.25)
    scores = {one.text[0]: one.score for one in found}
    assert scores == pytest.approx({key: 0.25 * own[key] + 0.75 * (-1.0 if key == "K" else -2.0) for key in "KTS"})
    assert [one.score for one in found] == sorted(scores.values(), reverse=True)
    assert [one.text for one in model.rescore(["cat"], first, weight=0.0)[0]] == ["K AE T", "T", "S"], (
        "of equals the first"
    )
    again = model.rescore(["cat"], model.n_best(["cat"], BeamSearch(3, max_length=30)))
    assert [one.text for one in again[0]] == [
        one.text for one in model.n_best(["cat"], BeamSearch(3, max_length=30))[0]
    ]


def test_what_cannot_be_rescored_is_refused(model: Seq2Seq):
    with pytest.raises(ConfigError, match="Received: 2 sources, 1 lists"):
        model.rescore(["a", "b"], [["T"]])
    with pytest.raises(ConfigError, match="Received: 1.5"):
        model.rescore(["a"], [["T"]], weight=1.5)
    with pytest.raises(ConfigError, match="Received: 'T'"):
        model.rescore(["a"], [["T"]], weight=0.5)


# === Streams ===


@pytest.mark.parametrize("window", [1, 3, 100])
def test_an_iterator_gives_what_a_list_gives(model: Seq2Seq, lexicon, window: int):
    words = [source for source, _ in lexicon] + ["", "zz", "stackstackstack"]
    streamed = model.generate(iter(words), GREEDY, batch_size=2, window=window)
    assert isinstance(streamed, Iterator)
    assert list(streamed) == model.generate(words, GREEDY)
    predictor = load_predictor(model, search="greedy:max_length=6")
    rows = list(predictor.n_best((word for word in words), batch_size=2, window=window))
    assert [row[0].text for row in rows] == model.generate(words, GREEDY)


def test_a_stream_reads_no_further_ahead_than_its_window(model: Seq2Seq):
    read: list[str] = []

    def sources() -> Iterator[str]:
        for word in itertools.cycle(["cat", "a", "stick"]):
            read.append(word)
            yield word

    answers = model.generate(sources(), GREEDY, batch_size=2, window=4)
    assert not read, "nothing is read before it is needed"
    for taken in range(1, 10):
        next(answers)
        assert len(read) == 4 * -(-taken // 4)


def test_streams_that_are_empty_or_wrong(model: Seq2Seq):
    assert list(model.generate(iter([]))) == []
    with pytest.raises(ConfigError, match="Received: 0"):
        model.generate(iter(["cat"]), window=0)
    with pytest.raises(UserError, match="targets are tokens"):
        from kerass2s import Rollout

        model.generate(iter(["cat"]), Rollout(3))


class Echo:
    """A codec that takes everything."""

    def check(self, sources: list[str], first: int) -> None:
        """Nothing but one window comes at once."""
        assert len(sources) <= 500


def test_memory_stays_flat_over_many_lines():
    batches = []

    def ask(batch: list[str]) -> dict[str, np.ndarray]:
        batches.append((len(batch), max(map(len, batch)) - min(map(len, batch))))
        return {"text": np.array(batch)}

    lines = (f"{'x' * (i % 10)}{i}" for i in range(200_000))
    tracemalloc.start()
    answers = answered(Echo(), lines, ask, lambda answer, source: (str(answer["text"]), source), 50, 500)
    for number, (answer, source) in enumerate(answers):
        assert answer == source and answer.endswith(str(number))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number == 199_999
    # 200,000 such lines alone would take 12 MB; the list of what was asked, 4,000 entries, is ours.
    assert most < 2_000_000
    assert {size for size, _ in batches} == {50}
    assert max(spread for _, spread in batches[1000:]) <= 2, "lines of similar length share a batch"
