"""Any text at all: never a crash, as many answers as sources and in their order, memory that does not grow."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerass2s.codec.text import LONGEST_TEXT
from kerass2s.data import count_lines, read_pairs, read_sources, stream_sources
from kerass2s.data.readers import LONGEST_LINE
from kerass2s.decoding import BeamSearch
from kerass2s.errors import DataError, UserError
from kerass2s.export import load_predictor
from kerass2s.export.onnx import run_named, session
from kerass2s.export.saved_model import load_signatures
from kerass2s.inference import LARGEST_BATCH, _batched
from kerass2s.presets import load_preset
from kerass2s.text import SentencePieceTokenizer

STRANGE = [
    "",
    " ",
    "\0",
    "a\0b",
    "שלום",  # right to left
    "\u202eabc\u202c",  # overridden to read so
    "e\u0301\u0301\u0301\u0327",  # combining marks
    "\u0301",
    "👩‍👩‍👧‍👦🏴\U000e0067\U000e007f",
    "ﬁ\u00a0\u202f\ufeff\u2028\u2029\x85\v\f\r\n\t",
    "\ufffe\uffff\U0010ffff\ue000",
    "ａｂｃ",
    "<|end|><|pad|>",
    "▁",
    "A" * 300,
]
TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(STRANGE), st.from_regex("[a-z]{1,8}", fullmatch=True))


@pytest.fixture(scope="module")
def answering(pronouncer_exports: Path) -> dict[str, Callable[..., Any]]:
    """What answers, live and exported, with one search."""
    live, search = load_preset(pronouncer_exports / "preset"), BeamSearch(4)
    return {
        "live": lambda texts, batch_size=64: live.generate(texts, search, batch_size),
        "SavedModel": load_predictor(pronouncer_exports / "saved_model" / "1").generate,
        "ONNX": load_predictor(pronouncer_exports / "model.onnx").generate,
    }


@settings(max_examples=25)
@given(texts=st.lists(TEXTS, max_size=5))
def test_any_texts_have_their_answers_wherever_they_run(answering, texts: list[str]) -> None:
    found = {name: answer(texts) for name, answer in answering.items()}
    assert len(found["live"]) == len(texts)
    assert found["SavedModel"] == found["ONNX"] == found["live"]
    alone = dict(zip(texts, found["live"], strict=True))
    # An answer belongs to its text, whatever the others are: the same text has the same one.
    assert found["live"] == [alone[text] for text in texts]


def test_strange_texts_answer_as_they_do_alone(answering) -> None:
    texts = [*STRANGE, "stick", *reversed(STRANGE)]
    for name, answer in answering.items():
        together = answer(texts)
        assert together == [*together[: len(STRANGE)], together[len(STRANGE)], *together[: len(STRANGE)][::-1]], name
        assert answer([]) == []
        assert answer(["", "", ""]) == 3 * answer([""])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\ud800b", "Source 1: must be valid Unicode"),
        (b"\xff\xfe", "Source 1: must be a text. Received: bytes"),
        (None, "Source 1: must be a text. Received: NoneType"),
        (3.5, "Source 1: must be a text. Received: float"),
        ("a" * (LONGEST_TEXT + 1), "Source 1: a text has at most 10,000 characters"),
        ("a" * 1_000_000, "Received: 1,000,000"),
    ],
)
def test_what_is_no_text_is_refused_by_its_number(answering, source: Any, message: str) -> None:
    for answer in answering.values():
        with pytest.raises(DataError, match=message):
            answer(["it", source])


def test_the_longest_text_is_answered(pronouncer: Path) -> None:
    live = load_preset(pronouncer)
    texts = ["it", "ab" * (LONGEST_TEXT // 2), ""]
    short = BeamSearch(1, max_length=3)
    assert live.generate(texts, short) == [live.generate([text], short)[0] for text in texts]


@given(lengths=st.lists(st.integers(0, 3 * LARGEST_BATCH), max_size=40), size=st.integers(1, 50))
def test_every_source_is_in_one_batch_and_none_is_too_large(lengths: list[int], size: int) -> None:
    batches = list(_batched(lengths, size))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= LARGEST_BATCH


# === Exported graphs, as a server runs them ===


@pytest.fixture(scope="module")
def graphs(pronouncer_exports: Path) -> tuple[Any, Any]:
    """The signatures of the SavedModel, and an ONNX Runtime session."""
    loaded, signatures = load_signatures(pronouncer_exports / "saved_model" / "1")
    yield signatures, session(str(pronouncer_exports / "model.onnx"))
    del loaded


@settings(max_examples=15)
@given(texts=st.lists(st.one_of(st.binary(max_size=12), TEXTS.map(str.encode)), max_size=4))
def test_the_graph_of_a_saved_model_answers_any_bytes(graphs, texts: list[bytes]) -> None:
    found = graphs[0]["serving_default"](text=tf.constant(texts, tf.string))["text"].numpy()
    alone = [graphs[0]["serving_default"](text=tf.constant([text]))["text"].numpy()[0] for text in texts]
    assert found.tolist() == alone


@pytest.mark.parametrize(
    ("ids", "lengths", "answers"),
    [
        ([[5, 10**6, 3]], [3], False),
        ([[5, -(2**31), 3]], [3], False),
        ([[5, 6, 3]], [2**31 - 1], True),
        ([[5, 6, 3]], [-4], True),
        ([[5, 6, 7]], [3], True),  # without the end
        ([[3, 3, 2]], [3], True),
        ([[5, 6, 3], [3, 0, 0]], [3, 1], True),
    ],
)
def test_ids_and_lengths_of_any_size_are_answered_alike_or_refused(
    graphs, ids: Any, lengths: Any, answers: bool
) -> None:
    signatures, runtime = graphs
    asked = {"source_ids": np.array(ids, np.int32), "source_lengths": np.array(lengths, np.int32)}
    if answers:
        one = signatures["ids"](**{name: tf.constant(value) for name, value in asked.items()})["target_ids"].numpy()
        assert one.tolist() == run_named(runtime, asked)["target_ids"].tolist()
        assert len(one) == len(ids)
        return
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures["ids"](**{name: tf.constant(value) for name, value in asked.items()})
    with pytest.raises(Exception, match="out of data bounds"):  # ONNX Runtime's classes have no common one
        run_named(runtime, asked)


# === Tokenizers ===


@settings(max_examples=60)
@given(text=st.one_of(st.text(), st.sampled_from(STRANGE)))
def test_a_tokenizer_reads_any_text(source_tokenizer: SentencePieceTokenizer, text: str) -> None:
    ids = source_tokenizer.encode(text)
    assert all(0 <= each < source_tokenizer.vocabulary_size for each in ids)
    assert source_tokenizer.join(source_tokenizer.split(text)) == source_tokenizer.normalize(text)


@settings(max_examples=60)
@given(texts=st.lists(st.binary(max_size=20), max_size=4))
def test_the_graph_of_a_tokenizer_reads_any_bytes(source_tokenizer: SentencePieceTokenizer, texts: list[bytes]) -> None:
    ids = source_tokenizer.tokenize(tf.constant(texts, tf.string))
    assert ids.nrows() == len(texts)
    assert len(source_tokenizer.detokenize(ids.to_tensor(0)).numpy()) == len(texts)


def test_a_million_characters_are_tokenized(source_tokenizer: SentencePieceTokenizer) -> None:
    assert len(source_tokenizer.encode("stick" * 200_000)) == 1_000_000


# === Readers ===


@settings(max_examples=150)
@given(content=st.binary(max_size=60), name=st.sampled_from(["x.tsv", "x.tsv.gz"]))
def test_a_file_of_any_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    for read in (read_pairs, read_sources):
        try:
            found: Sequence[Any] = read(path)
            lines = content.count(b"\n") + (not content.endswith(b"\n"))
            assert name.endswith(".gz") or len(found) == lines
        except UserError as error:
            assert "Received: " in str(error)


def test_a_line_of_a_million_characters_is_read_and_an_endless_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("a" * 1_000_000 + "\nb\n")
    assert [len(each) for each in stream_sources(path)] == [1_000_000, 1]
    with gzip.open(tmp_path / "endless.gz", "wb", compresslevel=1) as file:
        for _ in range(16 + LONGEST_LINE // 1_000_000):
            file.write(b"a" * 1_000_000)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"endless.gz:1: a line has at most 4,194,304 bytes"):
        list(stream_sources(tmp_path / "endless.gz"))
    assert tracemalloc.get_traced_memory()[1] < 4 * LONGEST_LINE
    tracemalloc.stop()


def test_lines_without_number_take_no_memory(tmp_path: Path) -> None:
    path, draw = tmp_path / "many.txt", random.Random(1)
    words = ["".join(draw.choices("abc", k=8)) for _ in range(1000)]
    with path.open("w") as file:
        for _ in range(100):
            file.write("\n".join(words) + "\n")
    tracemalloc.start()
    assert count_lines(path) == sum(1 for _ in stream_sources(path)) == 100_000
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
