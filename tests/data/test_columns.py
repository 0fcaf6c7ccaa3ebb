"""Pairs out of other libraries' datasets: tables with named columns, and tf.data of dicts."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

import kerass2s
from kerass2s.codec import TextCodec
from kerass2s.data import Pair
from kerass2s.data.columns import with_named_sides
from kerass2s.errors import DataError
from kerass2s.text import SentencePieceTokenizer


class Table:
    """What a `datasets.Dataset` is to us: the names of its columns, and each column by its name."""

    def __init__(self, **columns: Any) -> None:
        self._columns, self.column_names = columns, list(columns)

    def __getitem__(self, name: str) -> Any:
        return iter(self._columns[name])


TRANSLATIONS = Table(id=[0, 1], translation=[{"en": "cat", "de": "Katze"}, {"en": "dog", "de": "Hund"}])


def test_columns_become_pairs():
    assert kerass2s.pairs_of(Table(target=["K AE T"], source=["cat"])) == [Pair("cat", "K AE T")]
    found = kerass2s.pairs_of(TRANSLATIONS, "translation.de", "translation.en")
    assert found == [Pair("Katze", "cat"), Pair("Hund", "dog")]
    assert kerass2s.pairs_of({"a.b": ["x"], "c": [b"y"]}, "a.b", "c") == [Pair("x", "y")]


def test_a_dataset_of_dicts_stays_lazy():
    data = tf.data.Dataset.from_tensor_slices({"translation": {"en": ["cat", "dog"], "de": ["Katze", "Hund"]}})
    found = kerass2s.pairs_of(data, "translation.de", "translation.en")
    assert list(found.as_numpy_iterator()) == [(b"Katze", b"cat"), (b"Hund", b"dog")]
    with pytest.raises(DataError, match="holds translation. Received: 'en'"):
        kerass2s.pairs_of(data, "en", "de")


def test_fit_takes_a_table_as_it_takes_pairs(
    lexicon: list[tuple[str, str]],
    source_tokenizer: SentencePieceTokenizer,
    target_tokenizer: SentencePieceTokenizer,
):
    sources, targets = map(list, zip(*lexicon, strict=True))
    columns = {"source": sources, "target": targets}
    assert with_named_sides(Table(**columns, id=list(range(12)))) == [Pair(*pair) for pair in lexicon]
    lazy = with_named_sides(tf.data.Dataset.from_tensor_slices(columns))
    assert [tuple(side.decode() for side in pair) for pair in lazy.as_numpy_iterator()] == lexicon
    codec = TextCodec("any", source_tokenizer, target_tokenizer)
    batches = codec.batches(Table(**columns), None, None)
    assert sum(int(labels.shape[0]) for _, labels, _ in batches) == len(lexicon)
    assert codec.batches(batches, None, None) is batches, "batches are what Keras takes as they are"


def test_a_table_without_sides_says_how_to_name_them(
    source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer
):
    codec = TextCodec("any", source_tokenizer, target_tokenizer)
    with pytest.raises(DataError, match=r"columns id, translation; name two: kerass2s.pairs_of.*Received: 'source'"):
        codec.batches(TRANSLATIONS, None, None)
    with pytest.raises(DataError, match="A cell has no 'fr'; it holds en, de"):
        kerass2s.pairs_of(TRANSLATIONS, "translation.fr", "translation.en")
    with pytest.raises(DataError, match="Received: 0 in row 0 of 'id'"):
        kerass2s.pairs_of(TRANSLATIONS, "id", "translation.en")
    with pytest.raises(DataError, match="named columns. Received: int"):
        kerass2s.pairs_of(3)
