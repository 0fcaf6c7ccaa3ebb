"""Curricula: the share by hand, the shortest pairs first, all at the end, repeatable, and going on where it stood."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import BucketByExamples, ShortFirst, zoo
from kerass2s.codec import SeriesCodec, VectorTextCodec
from kerass2s.data import batches, to_dataset
from kerass2s.data.curriculum import Pace
from kerass2s.errors import ConfigError
from kerass2s.text import SentencePieceTokenizer

LETTERS = SentencePieceTokenizer.train(["a"], kind="char")
LONGEST = 50
PAIRS = [("a" * (1 + number * 7 % LONGEST), "a") for number in range(LONGEST)]  # each length from 1 to 50 once


def paced(curriculum: ShortFirst, begin: Any = lambda: 0, seed: int | None = 3) -> tf.data.Dataset:
    dataset = to_dataset(PAIRS)
    pace = Pace(curriculum, begin)
    return batches(dataset, LETTERS, LETTERS, BucketByExamples(5), shuffle_seed=seed, pace=pace)


def lengths(dataset: tf.data.Dataset) -> list[list[int]]:
    """How long the sources of each batch are, END not counted."""
    return [(np.sum(features["source_ids"] > 0, axis=1) - 1).tolist() for features, *_ in dataset.as_numpy_iterator()]


def flat(found: list[list[int]]) -> list[int]:
    return [length for batch in found for length in batch]


@pytest.mark.parametrize(
    ("power", "expected"),
    [(1, [0.2, 0.4, 0.6, 0.8, 1, 1]), (2, [0.2, 0.28**0.5, 0.52**0.5, 0.76**0.5, 1, 1])],
)
def test_competence_by_hand(power: float, expected: list[float]) -> None:
    curriculum = ShortFirst(100, initial=0.2, power=power)
    np.testing.assert_allclose([curriculum.competence(step) for step in (0, 25, 50, 75, 100, 1000)], expected)


def test_the_first_epoch_is_of_the_shortest_tenth_and_the_last_of_all() -> None:
    slow = ShortFirst(10**9, initial=0.1)
    whole = batches(to_dataset(PAIRS), LETTERS, LETTERS, BucketByExamples(5), shuffle_seed=3)
    first = paced(slow)
    assert first.cardinality() == len(list(whole))
    assert set(flat(lengths(first))) == {1, 2, 3, 4, 5}
    assert sorted(flat(lengths(paced(slow, begin=lambda: 10**9)))) == list(range(1, LONGEST + 1))


def test_lengths_grow_within_an_epoch_pass_by_pass() -> None:
    found = lengths(paced(ShortFirst(10, initial=0.1, power=1)))
    # Lengths 1 to 5 lie in two buckets, so the first pass has batches of 3 and 2; at step 2 the share is 0.28.
    assert sorted(flat(found[:2])) == [1, 2, 3, 4, 5]
    assert sorted(flat(found[2:7])) == list(range(1, 15))


def test_the_same_seed_gives_the_same_batches_and_each_epoch_its_own() -> None:
    one, other = (paced(ShortFirst(10**9, initial=0.5)) for _ in range(2))
    epochs = [lengths(one) for _ in range(2)]
    assert epochs == [lengths(other) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert lengths(paced(ShortFirst(10**9, initial=0.5), seed=4)) != epochs[0]


def test_each_epoch_asks_where_training_stands() -> None:
    stands = iter([0, 10**9])
    dataset = paced(ShortFirst(10**9), begin=lambda: next(stands))
    assert [max(flat(lengths(dataset))) for _ in range(2)] == [5, LONGEST]


@pytest.mark.parametrize("accumulated", [None, 2])
def test_fit_follows_the_curriculum_and_a_model_that_trained_goes_on_with_it(accumulated: int | None) -> None:
    model = zoo.build("transformer2017", source_tokenizer=LETTERS, target_tokenizer=LETTERS, preset="tiny")
    model.compile(keras.optimizers.Adam(gradient_accumulation_steps=accumulated), run_eagerly=True)
    seen: list[int] = []
    train_step, options = model.train_step, {"batching": BucketByExamples(5), "verbose": 0}
    pairs = [pair for pair in PAIRS if len(pair[0]) <= 20]

    def spy(data: Any) -> Any:
        seen.append(data[0]["source_ids"].shape[1] - 1)
        return train_step(data)

    model.train_step = spy
    epoch = int(model.codec.batches(pairs, options["batching"], 0).cardinality())
    curriculum = ShortFirst(epoch - 2, initial=0.25)
    model.fit(pairs, curriculum=curriculum, **options)
    assert max(seen[:2]) == 5
    model.fit(pairs, curriculum=curriculum, **options)  # another epoch, or a run that was resumed
    assert max(seen[epoch:]) == 20
    assert len(seen) == 2 * epoch


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"steps": 0}, {"steps": 1, "initial": 0}, {"steps": 1, "initial": 1.5}, {"steps": 1, "power": 0.5}):
        with pytest.raises(ConfigError, match="Received"):
            ShortFirst(**wrong)
    model = zoo.build("luong2015", source_tokenizer=LETTERS, target_tokenizer=LETTERS, preset="tiny")
    model.compile()
    ready = model.codec.batches(PAIRS, None, 0)
    with pytest.raises(ConfigError, match="A curriculum orders pairs"):
        model.fit(ready, curriculum=ShortFirst(10))


def test_pairs_of_vectors_follow_it_too() -> None:
    short = Pace(ShortFirst(10**9, initial=0.1), lambda: 0)
    arrays = [(np.ones([len(source), 1]), np.ones([2, 1])) for source, _ in PAIRS]
    texts = [(array, "a") for array, _ in arrays]
    for codec, pairs in ((SeriesCodec(1, 1), arrays), (VectorTextCodec("any", 1, LETTERS), texts)):
        found = list(codec.batches(pairs, BucketByExamples(5), 3, short).as_numpy_iterator())
        assert {length for features, *_ in found for length in features["source_lengths"].tolist()} == {1, 2, 3, 4, 5}
