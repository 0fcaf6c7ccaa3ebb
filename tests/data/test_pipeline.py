"""The tf.data pipeline: every pair once, shifted right, within its bucket, in an order that the seed decides."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerass2s.data import BucketByExamples, BucketByTokens, Pair, batches, to_dataset
from kerass2s.errors import ConfigError, DataError
from kerass2s.text import END_ID, PAD_ID, START_ID, Sampling, SentencePieceTokenizer

LETTERS = SentencePieceTokenizer.train(["a", "ab"], kind="char")
A, B = LETTERS.encode("a") + LETTERS.encode("b")


def some_pairs(count: int, longest: int = 30) -> list[Pair]:
    """Pairs of random a's and b's whose sources differ in their first 12 letters, their numbers in binary."""
    draw = random.Random(7)
    tail = [["".join(draw.choices("ab", k=draw.randint(0, longest))) for _ in range(2)] for _ in range(count)]
    return [
        Pair(f"{index:012b}".replace("0", "a").replace("1", "b") + source, target)
        for index, (source, target) in enumerate(tail)
    ]


def make(pairs: list[Any], batching: Any = None, **options: Any) -> tf.data.Dataset:
    options.setdefault("shuffle_seed", None)
    return batches(to_dataset(pairs), LETTERS, LETTERS, batching or BucketByExamples(4), **options)


def read(dataset: tf.data.Dataset) -> list[tuple[Any, ...]]:
    return list(dataset.as_numpy_iterator())


def pairs_of(dataset: tf.data.Dataset) -> list[tuple[str, str]]:
    """The texts in the order in which a model would see them."""
    return texts_of(read(dataset))


def texts_of(found: list[tuple[Any, ...]]) -> list[tuple[str, str]]:
    """The texts of these batches, row by row."""
    return [
        (LETTERS.decode(source), LETTERS.decode(target))
        for features, labels, _ in found
        for source, target in zip(features["source_ids"].tolist(), labels.tolist(), strict=True)
    ]


# === What a batch holds ===


def test_the_worked_example_of_the_docstring() -> None:
    ((features, labels, weight),) = read(make([("ab", "b"), ("a", "ba")]))
    assert features["source_ids"].tolist() == [[A, B, END_ID], [A, END_ID, PAD_ID]]
    assert features["target_ids"].tolist() == [[START_ID, B, PAD_ID], [START_ID, B, A]]
    assert labels.tolist() == [[B, END_ID, PAD_ID], [B, A, END_ID]]
    assert weight.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert {array.dtype for array in (*features.values(), labels)} == {np.dtype("int32")}
    assert weight.dtype == np.float32


def test_element_spec_has_open_shapes() -> None:
    features, labels, weight = make([("a", "b")]).element_spec
    for spec in (*features.values(), labels, weight):
        assert spec.shape.as_list() == [None, None]


def test_empty_sides_are_an_end() -> None:
    ((features, labels, weight),) = read(make([("", "")]))
    assert features["source_ids"].tolist() == labels.tolist() == [[END_ID]]
    assert features["target_ids"].tolist() == [[START_ID]]
    assert weight.tolist() == [[1]]


def test_no_pairs_are_no_batches() -> None:
    assert read(make([])) == []
    assert read(make([], shuffle_seed=1)) == []


SIDE = st.text(alphabet="ab", max_size=20)
BATCHINGS = st.builds(BucketByExamples, st.integers(1, 5)) | st.builds(BucketByTokens, st.integers(1, 40))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.lists(st.tuples(SIDE, SIDE), max_size=30), BATCHINGS, st.none() | st.integers(0, 2**31))
def test_every_pair_comes_once_and_shifted(pairs: list[tuple[str, str]], batching: Any, seed: int | None) -> None:
    found = read(make(pairs, batching, shuffle_seed=seed))
    assert sorted(texts_of(found)) == sorted(pairs)
    for features, labels, weight in found:
        assert (weight == (labels != PAD_ID)).all()
        assert (features["target_ids"][:, 0] == START_ID).all()
        shifted = np.where(labels[:, :-1] == END_ID, PAD_ID, labels[:, :-1])
        assert (features["target_ids"][:, 1:] == shifted).all()
        assert ((labels == END_ID).sum(axis=1) == 1).all()
        assert (labels[:, -1] != PAD_ID).any()
        assert (features["source_ids"][:, -1] != PAD_ID).any()


# === Buckets ===


def test_tokens_bound_every_batch() -> None:
    sizes = []
    for features, labels, _ in read(make(some_pairs(600, longest=90), BucketByTokens(80), shuffle_seed=3)):
        rows, longest = len(labels), max(labels.shape[1], features["source_ids"].shape[1])
        assert rows == 1 or rows * longest <= 80
        sizes.append(rows)
    assert max(sizes) > 1 == min(sizes)


def test_examples_bound_every_batch_and_lengths_in_it_are_alike() -> None:
    pairs = some_pairs(600)
    found = read(make(pairs, BucketByExamples(16), shuffle_seed=3))
    assert max(len(labels) for _, labels, _ in found) == 16
    assert len(found) < 600 / 16 + len(BucketByExamples().boundaries)
    for features, labels, _ in found:
        lengths = np.maximum((features["source_ids"] != PAD_ID).sum(1), (labels != PAD_ID).sum(1))
        assert lengths.max() <= 1.5 * lengths.min()


@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 48, 4096])
def test_bucket_sizes_fit_boundaries(tokens: int) -> None:
    batching = BucketByTokens(tokens)
    assert list(batching.boundaries) == sorted(set(batching.boundaries))
    assert batching.boundaries[-1] == tokens
    assert len(batching.batch_sizes) == len(batching.boundaries) + 1
    assert all(
        1 <= boundary * size <= tokens
        for boundary, size in zip(batching.boundaries, batching.batch_sizes, strict=False)
    )


@pytest.mark.parametrize("batching", [BucketByExamples, BucketByTokens])
def test_a_batch_of_nothing_is_refused(batching: Any) -> None:
    with pytest.raises(ConfigError, match="at least 1. Received: "):
        batching(0)


# === Order ===


def test_without_a_seed_the_order_of_the_pairs_is_kept() -> None:
    pairs = [Pair("ab" * (index % 2), "a" * index) for index in range(3)] * 5
    assert pairs_of(make(pairs, cache=False)) == pairs_of(make(pairs)) == [(pair.source, pair.target) for pair in pairs]


@pytest.mark.parametrize("options", [{}, {"cache": False}, {"shuffle_buffer": 1}, {"shuffle_buffer": 1500}])
def test_the_same_seed_gives_the_same_orders_and_each_epoch_another(options: dict[str, Any]) -> None:
    pairs = some_pairs(2500, longest=3)

    def epochs(seed: int) -> list[list[tuple[str, str]]]:
        dataset = make(pairs, BucketByExamples(64), shuffle_seed=seed, **options)
        return [pairs_of(dataset) for _ in range(2)]

    first = epochs(1)
    assert first == epochs(1)
    assert first[0] != first[1]
    assert all(sorted(epoch) == sorted((pair.source, pair.target) for pair in pairs) for epoch in first)


def test_another_seed_gives_another_order() -> None:
    pairs = some_pairs(100)
    assert pairs_of(make(pairs, shuffle_seed=1)) != pairs_of(make(pairs, shuffle_seed=2))


def digest_of_two_epochs() -> str:
    """A hash of every id in the order in which a model would see it."""
    tf.random.set_seed(11)
    pairs = [("ab" * (index % 7), "b" * (index % 5)) for index in range(500)]
    dataset = make(pairs, BucketByExamples(8), shuffle_seed=5)
    digest = hashlib.sha256()
    for features, labels, _ in read(dataset) + read(dataset):
        digest.update(features["source_ids"].tobytes() + labels.tobytes())
    return digest.hexdigest()


def test_another_process_has_the_same_order() -> None:
    program = "import test_pipeline; print(test_pipeline.digest_of_two_epochs())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", program]
    there = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert there.stdout.strip() == digest_of_two_epochs()


def test_shuffling_mixes_the_pairs_and_the_lengths_of_batches() -> None:
    pairs = some_pairs(2000, longest=20)
    dataset = make(pairs, BucketByExamples(16), shuffle_seed=1)
    place = {pair.source: index for index, pair in enumerate(pairs)}
    seen = [place[source] for source, _ in pairs_of(dataset)]
    assert abs(np.corrcoef(seen, range(len(seen)))[0, 1]) < 0.1
    widths = [labels.shape[1] for _, labels, _ in read(dataset)]
    assert abs(np.corrcoef(widths, range(len(widths)))[0, 1]) < 0.3


def test_an_endless_dataset_streams() -> None:
    endless = to_dataset([("a", "b"), ("ab", "a")]).repeat()
    dataset = batches(endless, LETTERS, LETTERS, BucketByExamples(4), shuffle_seed=1, shuffle_buffer=10, cache=False)
    assert len(list(dataset.take(600))) == 600


# === Cache, sampling, too long pairs ===


@pytest.mark.parametrize(("cache", "reads"), [(True, 1), (False, 3)])
@pytest.mark.parametrize("sampling", [None, Sampling()])
def test_the_cache_reads_the_dataset_once(cache: bool, reads: int, sampling: Sampling | None) -> None:
    calls = []

    def source() -> Any:
        calls.append(1)
        yield from [("a", "b"), ("ab", "ab")]

    spec = tf.TensorSpec([], tf.string)
    strings = tf.data.Dataset.from_generator(source, output_signature=(spec, spec))
    subwords = SentencePieceTokenizer.train(["ab ab", "abab"], kind="unigram", vocabulary_size=20)
    tokenizer = subwords.with_sampling(sampling)
    dataset = batches(strings, tokenizer, tokenizer, BucketByExamples(4), shuffle_seed=1, cache=cache)
    for _ in range(3):
        assert len(read(dataset)) == 1
    assert len(calls) == reads


def test_sampling_gives_each_epoch_other_ids_of_the_same_text() -> None:
    subwords = SentencePieceTokenizer.train(["abcabc abc cab bca"] * 3, kind="unigram", vocabulary_size=30)
    sampled = subwords.with_sampling(Sampling(alpha=0.1))
    pairs = to_dataset([("abcabc cab bca abc", "abc")] * 8)
    dataset = batches(pairs, sampled, subwords, BucketByExamples(1), shuffle_seed=1)
    seen = {tuple(features["source_ids"][0]) for _ in range(3) for features, _, _ in dataset.as_numpy_iterator()}
    assert len(seen) > 1
    assert {sampled.decode(ids) for ids in seen} == {"abcabc cab bca abc"}


@pytest.mark.parametrize("cache", [True, False])
def test_pairs_too_long_are_dropped_only_if_asked_and_counted(cache: bool, caplog: pytest.LogCaptureFixture) -> None:
    pairs = [("a" * 4, "b"), ("a" * 5, "b"), ("a", "b" * 4), ("a", "b" * 9), ("", "")] * 500
    with caplog.at_level(logging.INFO, logger="kerass2s"):
        assert len(pairs_of(make(pairs, cache=cache))) == 2500
        assert caplog.messages == []
        kept = pairs_of(make(pairs, cache=cache, max_length=5))
    assert sorted(kept) == sorted([("a" * 4, "b"), ("a", "b" * 4), ("", "")] * 500)
    assert caplog.messages == ["Dropped 1000 pairs with a side longer than 5 ids."]


def test_dropping_every_pair_leaves_no_batches() -> None:
    assert read(make([("a", "b")] * 9, max_length=1, shuffle_seed=1)) == []


@pytest.mark.parametrize("options", [{"max_length": 0}, {"shuffle_buffer": 0}])
def test_bad_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1. Received: "):
        make([("a", "b")], **options)


# === to_dataset ===


def test_to_dataset_keeps_the_text_and_leaves_alternatives_out() -> None:
    pairs = [Pair("é\0\u2028", "x", ("y",)), ("", "z")]
    found = [(source.decode(), target.decode()) for source, target in to_dataset(pairs).as_numpy_iterator()]
    assert found == [("é\0\u2028", "x"), ("", "z")]


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(DataError, match="lone surrogates. Received: "):
        to_dataset([("a\ud800", "b")])
