"""Text to text with an open vocabulary: what a tokenizer does not know can be copied from the source."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from kerass2s.codec.text import TextCodec
from kerass2s.data.pipeline import Tokenize, with_end
from kerass2s.text import END_ID, PAD_ID, UNKNOWN_ID, SentencePieceTokenizer

__all__ = ["CopyCodec"]


class CopyCodec(TextCodec):
    """Text to text, where ids beyond a vocabulary stand for tokens at places of the source (See et al. 2017, 2.2).

    With V' source and V target tokens:

    - a source token that its tokenizer does not know has the id V' + the first position in the source of that piece,
      so that equal ids are equal tokens;
    - a target token that its tokenizer does not know, but the source has, is V + the first position in the source of
      that piece, be it known there or not.

    For word tokenizers that know "my", "name", "is" (4, 5, 6) and "hello" (4) the pair ("my name is Ann Ann", "hello
    Ann") has the source `[4, 5, 6, V' + 3, V' + 3, 3]` and the labels `[4, V + 3, 3]`. Pieces are compared as strings,
    so the two tokenizers should be of one kind.
    """

    open_vocabulary: ClassVar[bool] = True

    def __init__(self, architecture: str, source_tokenizer: Any, target_tokenizer: Any) -> None:
        super().__init__(architecture, source_tokenizer, target_tokenizer)
        self._source_pieces = self.source_tokenizer.pieces
        self._source_ids = _by_piece(self._source_pieces)

    def copy_table(self) -> list[int]:
        """Return the target's id of each source piece [V'], -1 where it has none; end and padding are their own."""
        target_ids = _by_piece(self.target_vocabulary)
        table = [target_ids.get(piece, -1) for piece in self._source_pieces]
        table[: END_ID + 1] = [PAD_ID, -1, -1, END_ID]
        return table

    # === Training ===

    def tokenize_pairs(
        self, source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer
    ) -> Tokenize | None:
        """Say how pairs become ids in training: labels point into the source, which sampling may cut anew."""
        return functools.partial(_pairs, source_tokenizer, target_tokenizer)

    # === Requests ===

    def rows(self, sources: Sequence[str]) -> list[np.ndarray]:
        """Tokenise outside the graph: the row of source ids of each text, END included."""
        return [np.array([*self._open_ids(self.source_tokenizer.split(text)), END_ID], np.int32) for text in sources]

    def _open_ids(self, pieces: list[str]) -> list[int]:
        return [self._source_ids.get(piece, self.source_size + pieces.index(piece)) for piece in pieces]

    def source_pieces(self, source: str) -> list[str]:
        """Name the tokens of a source, its END included; unknown ones by what stands there."""
        return [*self.source_tokenizer.split(source), "(end)"]

    # === Graph ===

    def source(self, request: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Tokenise in the graph, `text string [B] -> source_ids int32 [B, S], source_lengths int32 [B]`."""
        ids = with_end(_source_ids(self.source_tokenizer, self.source_tokenizer.tokenize_pieces(request["text"])))
        return ids.to_tensor(PAD_ID), tf.cast(ids.row_lengths(), tf.int32)

    def labels(self, targets: tf.Tensor, request: dict[str, tf.Tensor]) -> tf.RaggedTensor:
        """Tokenise targets in the graph, `string [B] -> int32 [B, None]`, each row with its END."""
        return _pairs(self.source_tokenizer, self.target_tokenizer, request["text"], targets)[1]


def _by_piece(pieces: list[str]) -> dict[str, int]:
    """Number the pieces of text; the four special ones are none, whatever a text says."""
    return {piece: index for index, piece in enumerate(pieces) if index > END_ID}


def _pairs(
    source_tokenizer: SentencePieceTokenizer,
    target_tokenizer: SentencePieceTokenizer,
    sources: tf.Tensor,
    targets: tf.Tensor,
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Tokenise pairs together, strings [B], [B] to ragged ids [B, None], [B, None], each row with its END."""
    places, pieces = source_tokenizer.tokenize_pieces(sources), target_tokenizer.tokenize_pieces(targets)
    labels, found = target_tokenizer.piece_ids(pieces).flat_values, _first_places(pieces, places).flat_values
    pointed = target_tokenizer.vocabulary_size + found
    labels = pieces.with_flat_values(tf.where((labels == UNKNOWN_ID) & (found >= 0), pointed, labels))
    return with_end(_source_ids(source_tokenizer, places)), with_end(labels)


def _source_ids(tokenizer: SentencePieceTokenizer, pieces: tf.RaggedTensor) -> tf.RaggedTensor:
    """Number the pieces of sources, ragged string [B, None] to int32, each unknown one by its first place."""
    ids, first = tokenizer.piece_ids(pieces).flat_values, _first_places(pieces, pieces).flat_values
    return pieces.with_flat_values(tf.where(ids == UNKNOWN_ID, tokenizer.vocabulary_size + first, ids))


def _first_places(pieces: tf.RaggedTensor, among: tf.RaggedTensor) -> tf.RaggedTensor:
    """Find each piece's first position in the same row of `among`, -1 where it is not: string [B, None] to int32.

    Equal pieces of a row get one number, in the order in which they first come, so that time and memory grow with the
    number of pieces alone.
    """
    keys = tf.concat([_with_row(among), _with_row(pieces)], axis=0)
    unique, numbers = tf.unique(keys)
    count = tf.size(among.flat_values)
    first = tf.math.unsorted_segment_min(tf.range(tf.size(keys)), numbers, tf.size(unique))
    found = tf.gather(first, numbers[count:])
    starts = tf.cast(tf.gather(among.row_starts(), pieces.value_rowids()), tf.int32)
    return pieces.with_flat_values(tf.where(found < count, found - starts, -1))


def _with_row(pieces: tf.RaggedTensor) -> tf.Tensor:
    return tf.strings.join([tf.strings.as_string(pieces.value_rowids()), pieces.flat_values], " ")
