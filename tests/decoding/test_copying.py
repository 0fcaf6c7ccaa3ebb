"""Unknown words: pointers by hand, and the same texts live, from the SavedModel and from the ONNX file."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import zoo
from kerass2s.codec import TextCodec
from kerass2s.decoding import (
    BeamSearch,
    GreedySearch,
    Prefix,
    Rollout,
    SamplingSearch,
    SearchResult,
    parse_search,
    search_spec,
)
from kerass2s.decoding.copying import copied
from kerass2s.errors import ConfigError
from kerass2s.export import load_predictor
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import SentencePieceTokenizer

KINDS = [GreedySearch, BeamSearch, SamplingSearch]
SOURCES = ["my name is Ann", "Bob", "", "is Eve my name", "Ann Lee is my name"]


def found(ids: list[list[int]], attention: list[list[list[float]]]) -> SearchResult:
    """One item's hypotheses."""
    lengths = tf.constant([[sum(each != 0 for each in row) for row in ids]])
    scores = tf.zeros([1, len(ids)])
    return SearchResult(tf.constant([ids]), lengths, scores, scores[:, :, None], tf.constant([attention]))


def test_the_docstrings_example() -> None:
    result = found([[5, 1]], [[[0.8, 0.1, 0.1], [0.2, 0.3, 0.5]]])
    assert copied(result, tf.constant([[True, True, False]]), 9).ids.numpy().tolist() == [[[5, 10]]]


def test_only_unknown_ids_point_and_only_to_tokens() -> None:
    ids = [[1, 4, 1], [1, 1, 0]]
    first = [[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]  # the third looks at the END alone
    second = [[0.5, 0.5, 0.0], [0.0, 0.4, 0.6], [0.0, 0.0, 0.0]]  # equal weights, then less than the END's
    result = copied(found(ids, [first, second]), tf.constant([[True, True, False]]), 9)
    assert result.ids.numpy().tolist() == [[[10, 4, 1], [9, 10, 0]]]


def test_without_attention_it_is_refused() -> None:
    result = found([[1]], [[[1.0]]])._replace(alignments=None)
    with pytest.raises(ConfigError, match="with attention"):
        copied(result, tf.constant([[True]]), 9)


# === Searches ===


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_key_without_a_value(kind: type) -> None:
    search = kind(copy_unknown=True)
    assert parse_search(search_spec(search)) == search
    assert search_spec(search).endswith("copy_unknown")
    assert "copy_unknown" not in search_spec(kind())
    with pytest.raises(ConfigError, match="copy_unknown must be True or False"):
        kind(copy_unknown=1)


def test_a_spec_refuses_a_value_and_a_rollout_has_no_such_key() -> None:
    assert parse_search("beam:copy_unknown").copy_unknown
    for spec in ("greedy:copy_unknown=1", "rollout:3,copy_unknown", "beam:5,copy_unknown,copy_unknown"):
        with pytest.raises(ConfigError, match="Received"):
            parse_search(spec)


# === Spelling ===


@pytest.fixture(scope="module")
def sides() -> list[SentencePieceTokenizer]:
    """Word tokenizers that know neither Ann nor Bob."""
    return [SentencePieceTokenizer.train(texts, kind="word") for texts in (["my name is"], ["hello you"])]


def test_pointers_are_spelled_alike_in_and_out_of_the_graph(sides: list[SentencePieceTokenizer]) -> None:
    codec, new = TextCodec("a model", *sides), sides[1].vocabulary_size
    hello = sides[1].encode("hello")[0]
    sources = ["my name is Ann", "Ann Lee is", ""]
    # Unknown neighbours have one id in the source, so they are copied together.
    assert [len(row) for row in codec.rows(sources)] == [5, 3, 1]
    ids = [[[hello, new + 3, 3], [new + 1, 1, hello]], [[hello, new, 3], [new + 1, 3, hello]], [[1, 3, 0], [3, 0, 0]]]
    expected = [["hello Ann", "name ⁇  hello"], ["hello Ann Lee", "is"], [" ⁇ ", ""]]
    texts = codec.texts(tf.constant(ids), codec.request(sources), copies=True).numpy()
    assert [[text.decode() for text in row] for row in texts] == expected
    for source, rows, wanted in zip(sources, ids, expected, strict=True):
        assert [codec.decode(row, source) for row in rows] == wanted
    assert codec.target_pieces([hello, new + 3], sources[0]) == ["▁hello", "▁Ann"]


def test_without_pointers_both_ways_of_spelling_agree(sides: list[SentencePieceTokenizer]) -> None:
    codec = TextCodec("a model", *sides)
    ids, request = tf.constant([[[4, 1, 5, 3, 4]], [[5, 0, 2, 4, 1]]]), codec.request(["my", "Bob"])
    plain, copying = (codec.texts(ids, request, copies).numpy().tolist() for copies in (False, True))
    assert plain == copying


# === Models ===


@pytest.fixture(scope="module")
def model(sides: list[SentencePieceTokenizer]) -> Seq2Seq:
    """A tiny model of words with weights large enough to look somewhere."""
    keras.utils.set_random_seed(7)
    made = zoo.build("luong2015", source_tokenizer=sides[0], target_tokenizer=sides[1], preset="tiny")
    for weight in made.trainable_weights:
        weight.assign(3 * weight)
    return made


def with_unknown(sides: list[SentencePieceTokenizer], kind: type, copy_unknown: bool, **fields: int):
    """A search whose outputs begin with an unknown token, a known one and an unknown one."""
    rule = Prefix((1, sides[1].encode("hello")[0], 1))
    return kind(max_length=4, copy_unknown=copy_unknown, filters=(rule,), **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_attention_points_to_and_changes_nothing_else(model: Seq2Seq, sides, kind: type) -> None:
    size, codec = model.codec.target_size, model.codec
    plain = model.n_best(SOURCES, with_unknown(sides, kind, False))
    copying = model.n_best(SOURCES, with_unknown(sides, kind, True))
    pointers = set()
    for source, row, other in zip(SOURCES, plain, copying, strict=True):
        tokens = len(codec.source_pieces(source)) - 1  # the last is the END
        for left, right in zip(row, other, strict=True):
            assert (right.score, right.token_scores) == (left.score, left.token_scores)
            np.testing.assert_array_equal(right.alignment, left.alignment)
            expected = [
                size + int(np.argmax(left.alignment[t, :tokens])) if each == 1 and tokens else each
                for t, each in enumerate(left.ids)
            ]
            assert right.ids == expected and left.ids[:3] == [1, sides[1].encode("hello")[0], 1]
            assert right.text == codec.decode(expected, source)
            assert max(left.ids) < size and "⁇" in left.text and ("⁇" in right.text) == (not tokens)
            pointers |= {each for each in right.ids if each >= size}
    assert len(pointers) > 1
    assert model.generate(SOURCES, with_unknown(sides, kind, True)) == [row[0].text for row in copying]


def test_exports_say_the_same_as_the_live_model(model: Seq2Seq, sides, tmp_path: Path) -> None:
    search = with_unknown(sides, BeamSearch, True, width=2)
    live = [[each.text for each in row] for row in model.n_best(SOURCES, search)]
    assert live[1][0].startswith("Bob hello Bob")
    places = {"onnx": tmp_path / "model.onnx", "tf_saved_model": tmp_path / "saved"}
    for format, place in places.items():
        model.export(place, format=format, search=search)
        predictor = load_predictor(place)
        assert [[each.text for each in row] for row in predictor.n_best(SOURCES)] == live
    served = tf.saved_model.load(str(places["tf_saved_model"])).signatures["n_best"](text=tf.constant(SOURCES))
    assert [[text.decode() for text in row] for row in served["text"].numpy()] == live


def test_what_has_no_source_tokens_or_no_attention_is_refused(sides: list[SentencePieceTokenizer]) -> None:
    speech = zoo.build("listen_attend2016", target_tokenizer=sides[1], preset="tiny")
    frames = np.zeros([8, speech.codec.source_size], np.float32)
    with pytest.raises(ConfigError, match="the sources are vectors"):
        speech.generate([frames], GreedySearch(copy_unknown=True))
    blind = zoo.build("sutskever2014", source_tokenizer=sides[0], target_tokenizer=sides[1], preset="tiny")
    with pytest.raises(ConfigError, match="needs a model with attention"):
        blind.generate(["my"], GreedySearch(copy_unknown=True))
    series = zoo.build("series2series", preset="tiny")
    with pytest.raises(ConfigError, match="rollout"):
        series.generate([np.zeros([3, series.codec.source_size])], GreedySearch(copy_unknown=True))
    assert series.generate([np.zeros([3, series.codec.source_size])], Rollout(2))[0].shape[0] == 2
