"""The copying codec: ids by hand, the same in and out of the graph, and text that comes back."""

from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerass2s import BucketByExamples, Pair, Sampling, SentencePieceTokenizer
from kerass2s.codec.copying import CopyCodec
from kerass2s.errors import ConfigError, DataError

SOURCE_TEXTS = ["my name is", "is it me"]
TARGET_TEXTS = ["hello you", "is it"]
LETTERS = st.text(st.sampled_from("amyis ☃ß\u00a0▁李⁇<|>é\u0301"), max_size=12)
TEXTS = st.lists(st.sampled_from(["my", "name", "is", "it", "hello", "Ann", "☃☃", "Bob", "⁇"]), max_size=7).map(
    " ".join
)


def made(kind: str) -> CopyCodec:
    """A codec whose two vocabularies share a few pieces."""
    size = 40 if kind in ("unigram", "bpe") else None
    sides = (SentencePieceTokenizer.train(texts, kind, size) for texts in (SOURCE_TEXTS, TARGET_TEXTS))
    return CopyCodec("a model", *sides)


CODECS = {kind: made(kind) for kind in ("word", "char", "unigram", "bpe")}


@pytest.fixture
def codec() -> CopyCodec:
    """A codec of words."""
    return CODECS["word"]


def source_id(codec: CopyCodec, word: str) -> int:
    return codec.source_tokenizer.pieces.index(f"▁{word}")


def target_id(codec: CopyCodec, word: str) -> int:
    return codec.target_tokenizer.pieces.index(f"▁{word}")


def test_the_docstrings_example(codec: CopyCodec) -> None:
    my, name, is_ = (source_id(codec, word) for word in ("my", "name", "is"))
    beyond, new = codec.source_size, codec.target_size
    expected = [my, name, is_, beyond + 3, beyond + 3, 3]
    source, lengths = codec.source(codec.request(["my name is Ann Ann", "Ann"]))
    assert source.numpy().tolist() == [expected, [beyond, 3, 0, 0, 0, 0]]
    assert lengths.numpy().tolist() == [6, 2]
    assert [row.tolist() for row in codec.rows(["my name is Ann Ann", "Ann"])] == [expected, [beyond, 3]]
    labels = codec.labels(
        tf.constant(["hello Ann", "hello Bob my it"]), codec.request(["my name is Ann Ann", "my name is Ann"])
    )
    hello, it = target_id(codec, "hello"), target_id(codec, "it")
    # "my" is a word of the source alone, "Bob" of neither, "it" of the target's vocabulary.
    assert labels.to_list() == [[hello, new + 3, 3], [hello, 1, new + 0, it, 3]]


def test_the_copy_table_goes_by_piece(codec: CopyCodec) -> None:
    table = codec.copy_table()
    assert len(table) == codec.source_size and table[:4] == [0, -1, -1, 3]
    assert table[source_id(codec, "is")] == target_id(codec, "is")
    assert table[source_id(codec, "it")] == target_id(codec, "it")
    assert table[source_id(codec, "name")] == -1


def test_batches_point_into_their_own_source(codec: CopyCodec) -> None:
    pairs = [("my name is Ann", "hello Ann"), ("Bob is my name", "Bob")]
    ((features, labels, weights),) = codec.batches(pairs, None, None)
    beyond, new, hello = codec.source_size, codec.target_size, target_id(codec, "hello")
    assert features["source_ids"].numpy()[:, [0, 3]].tolist() == [
        [source_id(codec, "my"), beyond + 3],
        [beyond, source_id(codec, "name")],
    ]
    assert labels.numpy().tolist() == [[hello, new + 3, 3], [new, 3, 0]]
    assert features["target_ids"].numpy().tolist() == [[2, hello, new + 3], [2, new, 0]]
    assert weights.numpy().tolist() == [[1, 1, 1], [1, 1, 0]]


def test_with_subword_sampling_labels_point_into_what_was_drawn() -> None:
    sampled = SentencePieceTokenizer.train(["banana", "bandana", "cabana"], "unigram", 20).with_sampling(Sampling(0.1))
    codec = CopyCodec("a model", sampled, sampled)
    drawn = set()
    for features, labels, _ in codec.batches([("banana ☃", "☃")] * 20, BucketByExamples(1), 1):
        source, label = features["source_ids"].numpy()[0].tolist(), labels.numpy()[0].tolist()
        assert source[-2] == codec.source_size + len(source) - 2
        assert label[-2:] == [codec.target_size + len(source) - 2, 3]
        drawn.add(len(source))
    assert len(drawn) > 1


def test_answers_are_spelled_alike_in_and_out_of_the_graph(codec: CopyCodec) -> None:
    sources, new = ["my name is Ann ☃☃", "Bob", ""], codec.target_size
    hello, you = target_id(codec, "hello"), target_id(codec, "you")
    ids = [
        [[hello, new + 3, you, new + 4, 3, you], [new + 3, new + 2, 3, 0, 0, 0]],
        [[new, hello, 1, 3, 0, 0], [1, new, 0, 0, 0, 0]],
        [[hello, 3, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]],
    ]
    expected = [["hello Ann you ☃☃", "Ann is"], ["Bob hello ⁇ ", " ⁇  Bob"], ["hello", ""]]
    texts = codec.texts(tf.constant(ids), codec.request(sources)).numpy()
    assert [[text.decode() for text in row] for row in texts] == expected
    for source, rows, wanted in zip(sources, ids, expected, strict=True):
        assert [codec.decode(row, source) for row in rows] == wanted
    assert codec.target_pieces([hello, new + 3], sources[0]) == ["▁hello", "▁Ann"]
    assert codec.source_pieces(sources[0])[-2:] == ["▁☃☃", "(end)"]


@pytest.mark.parametrize("kind", CODECS)
@settings(max_examples=25)
@given(st.lists(st.tuples(st.one_of(LETTERS, TEXTS), st.one_of(LETTERS, TEXTS)), min_size=1, max_size=3))
def test_both_sides_agree_and_what_is_known_comes_back(kind: str, pairs: list[tuple[str, str]]) -> None:
    codec = CODECS[kind]
    sources, targets = zip(*pairs, strict=True)
    request = codec.request(sources)
    ids, lengths = codec.source(request)
    for row, length, made in zip(ids.numpy(), lengths.numpy(), codec.rows(sources), strict=True):
        assert row[:length].tolist() == made.tolist()
    labels = codec.labels(tf.constant(targets), request)
    texts = codec.texts(labels.to_tensor(0)[:, None, :], request).numpy()[:, 0]
    for source, target, row, text in zip(sources, targets, labels.to_list(), texts, strict=True):
        assert codec.decode(row, source) == text.decode()
        if 1 not in row:
            assert text.decode() == codec.target_tokenizer.normalize(target)
        if max(row) < codec.target_size:
            assert text.decode() == codec.target_tokenizer.decode(row)


@pytest.mark.parametrize("kind", CODECS)
@settings(max_examples=25)
@given(st.one_of(LETTERS, TEXTS))
def test_pieces_split_and_join_alike(kind: str, text: str) -> None:
    tokenizer = CODECS[kind].source_tokenizer
    pieces = tokenizer.split(text)
    ragged = tokenizer.tokenize_pieces(tf.constant([text]))
    assert [piece.decode() for piece in ragged.to_list()[0]] == pieces
    assert tokenizer.join(pieces) == tokenizer.normalize(text)
    assert tokenizer.detokenize_pieces(ragged).numpy()[0].decode() == tokenizer.normalize(text)
    known = [each for each in tokenizer.piece_ids(ragged).to_list()[0] if each != 1]
    assert known == [each for each in tokenizer.encode(text) if each != 1]


def test_no_rows_at_all(codec: CopyCodec) -> None:
    request = codec.request([])
    ids, lengths = codec.source(request)
    assert ids.shape[0] == 0 and lengths.shape == (0,)
    assert codec.texts(tf.zeros([0, 2, 3], tf.int32), request).shape == (0, 2)


def test_the_worst_texts_have_ids(codec: CopyCodec) -> None:
    for texts in ([""], ["<|end|>"], ["<|pad|> <|unknown|> <|start|>"], codec.strange()):
        ids, lengths = codec.source(codec.request(texts))
        for row, length, made in zip(ids.numpy(), lengths.numpy(), codec.rows(texts), strict=True):
            assert row[:length].tolist() == made.tolist()
            assert (row[: length - 1] > 3).all() and row[length - 1] == 3


def test_mistakes_are_refused(codec: CopyCodec) -> None:
    with pytest.raises(DataError, match=r"Ids must be in \[0, 8\)"):
        codec.decode([-1], "my name")
    with pytest.raises(DataError, match="negative"):
        codec.decode([-1, codec.target_size], "my name")
    with pytest.raises(ConfigError, match="source_tokenizer"):
        CopyCodec("a model", None, codec.target_tokenizer)
    with pytest.raises(ConfigError, match="nothing to train"):
        codec.batches([], None, None)


def test_pairs_of_the_data_room_are_taken_too(codec: CopyCodec) -> None:
    ((_, labels, _),) = codec.batches([Pair("Ann", "hello Ann")], None, 3)
    assert labels.numpy().tolist() == [[target_id(codec, "hello"), codec.target_size, 3]]
