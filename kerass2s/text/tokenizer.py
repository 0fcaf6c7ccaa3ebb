"""One SentencePiece model with two faces: Python (`sentencepiece`) and TensorFlow graph (`tensorflow_text`)."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from kerass2s.errors import ConfigError, DataError
from kerass2s.files import MEBIBYTE, read_bytes, write_bytes
from kerass2s.text.outside import OutsideTokenizer, tensorflow_text_if_any
from kerass2s.text.special import END_ID, PAD_ID, SPECIAL_IDS, START_ID, UNKNOWN_ID

if TYPE_CHECKING:
    import tensorflow as tf

KINDS: Final = ("char", "word", "unigram", "bpe")
"""What a piece is: a character, a word between spaces, or a subword of one of the two usual families."""

LARGEST_TOKENIZER: Final = 64 * MEBIBYTE
"""Bytes of a model file; one of a million pieces has about a third of that."""

_SUBWORD_KINDS: Final = ("unigram", "bpe")
_SUBWORD_VOCABULARY_SIZE: Final = 8000
_EVERY_SYMBOL: Final = 1 << 24  # A soft limit that no alphabet and no word list reaches.
_LONGEST_WORD: Final = 200  # Characters: 7200 bytes at most once normalised; SentencePiece loads no piece over 7999.
_SPACE_PIECE: Final = "\u2581"
_WITHIN: Final = re.compile(f"(.){_SPACE_PIECE}")
_CUT: Final = f"\\1\n{_SPACE_PIECE}"  # No piece holds a line break, so one can stand where words come apart.


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Subword regularisation (Kudo 2018, arXiv:1804.10959): another segmentation of the same text each time.

    Attributes:
        alpha: for `unigram` the smoothing of the segmentation's distribution (smaller is flatter), for `bpe` the
            probability that a merge is dropped (Provilkov et al. 2020, arXiv:1910.13267).
        nbest_size: `unigram` only: sample from so many best segmentations; -1 samples from all of them.

    Raises:
        ConfigError: if alpha is outside [0, 1] or nbest_size is neither -1 nor above 1.
    """

    alpha: float = 0.1
    nbest_size: int = -1

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ConfigError(f"Sampling needs 0 <= alpha <= 1. Received: alpha={self.alpha!r}")
        if self.nbest_size != -1 and self.nbest_size < 2:
            raise ConfigError(f"Sampling needs nbest_size -1 (all) or above 1. Received: {self.nbest_size!r}")


class SentencePieceTokenizer:
    """Turns text into ids and back, with the same ids in Python, in tf.data and in an exported graph.

    Ids: pad 0, unknown 1, start 2, end 3, then the pieces. Neither `encode` nor `tokenize` adds start or end: the
    data pipeline and the models do.

    Normalisation is part of the model and so travels with it. It is SentencePiece's `nmt_nfkc`: Unicode NFKC (so
    `ａ` becomes `a` and `ﬁ` becomes `fi`), control characters that mean nothing are dropped, every kind of white
    space (tab, no-break space U+00A0 and U+202F, line separator U+2028) and `▁` (U+2581, SentencePiece's own sign for
    a space) becomes a space, and runs of spaces collapse to one, with none at either end. Accents are kept, and
    case too unless the tokenizer was trained to fold it. Bytes that are not UTF-8 (only the graph can meet them) are
    unknown. `decode(encode(text))` is `normalize(text)` for every text without unknown pieces.

    A `char` model sees exactly the text's characters; `word`, `unigram` and `bpe` models see a space before the first
    word too (SentencePiece's dummy prefix), so that a word has one piece wherever it stands.

    >>> tokenizer = SentencePieceTokenizer.train(["abc", "ab"], kind="char")
    >>> tokenizer.pieces
    ['<|pad|>', '<|unknown|>', '<|start|>', '<|end|>', 'a', 'b', 'c']
    >>> tokenizer.encode("cab"), tokenizer.encode("cat"), tokenizer.decode([6, 4, 5, 3, 0])
    ([6, 4, 5], [6, 4, 1], 'cab')

    Args:
        model_proto: a serialised SentencePiece `ModelProto` with the four special ids above.
        sampling: makes `tokenize` (the graph side only) draw a segmentation at random; see `with_sampling`.

    Raises:
        DataError: if `model_proto` is not such a model.
        ConfigError: if `sampling` is asked of a `char` or `word` model, which has one segmentation only.
    """

    def __init__(self, model_proto: bytes, *, sampling: Sampling | None = None) -> None:
        model = _parse(model_proto)
        self.model_proto = bytes(model_proto)
        self.kind: str = _kind_of(model)
        self.sampling = sampling
        if sampling is not None and self.kind not in _SUBWORD_KINDS:
            raise ConfigError(f"Sampling needs a {' or '.join(_SUBWORD_KINDS)} tokenizer. Received: {self.kind}")
        self._has_prefix = bool(model.normalizer_spec.add_dummy_prefix)
        self._processor = _processor(self.model_proto)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(SentencePieceTokenizer, sampling=self.sampling), (self.model_proto,)

    def __repr__(self) -> str:
        return f"SentencePieceTokenizer(kind={self.kind!r}, vocabulary_size={self.vocabulary_size})"

    # === Making, loading, saving ===

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: str = "char",
        vocabulary_size: int | None = None,
        *,
        fold_case: bool = False,
        split_digits: bool = False,
    ) -> SentencePieceTokenizer:
        """Trains a tokenizer; the same texts in the same order give the same bytes.

        Args:
            texts: the training texts, one unit of text each; white space at their ends means nothing. `word` learns
                no word of more than 200 characters.
            kind: one of `KINDS`.
            vocabulary_size: the most pieces to have, the four special ones included. None: every symbol seen for
                `char` and `word`, and 8000 for `unigram` and `bpe`. A small corpus gives fewer.
            fold_case: read every text in small letters (SentencePiece's `nmt_nfkc_cf`), wherever the model goes.
            split_digits: let no piece of `unigram` or `bpe` hold a digit and anything else, so that a number is
                spelt digit by digit (SentencePiece's `split_digits`).

        Raises:
            ConfigError: if `kind` is unknown, or `vocabulary_size` cannot hold the special pieces, or, for `unigram`
                and `bpe`, the special pieces and every character seen; or if `split_digits` is asked of another kind.
            DataError: if `texts` holds no text at all.
        """
        _check_choice(kind, vocabulary_size)
        if split_digits and kind not in _SUBWORD_KINDS:
            raise ConfigError(f"split_digits is for {' and '.join(_SUBWORD_KINDS)}. Received: kind {kind!r}")
        sentences = [sentence for text in texts if (sentence := _sentence(text, kind))]
        if not sentences:
            raise DataError("A tokenizer needs at least one text that is not empty to learn from. Received: none")
        normalization = "nmt_nfkc_cf" if fold_case else "nmt_nfkc"
        return cls(_train(sentences, kind, vocabulary_size, normalization, split_digits))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SentencePieceTokenizer:
        """Reads a model file written by `save` (or any SentencePiece model with the four special ids).

        Raises:
            DataError: if the file is missing or is not such a model; the message names the file.
        """
        content = read_bytes(Path(path), LARGEST_TOKENIZER)
        try:
            return cls(content)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model file, whole or not at all; sampling is a choice of the training run and is not saved."""
        write_bytes(Path(path), self.model_proto)

    def with_sampling(self, sampling: Sampling | None) -> SentencePieceTokenizer:
        """The same model with subword sampling on its graph side, for the training pipeline, or without it.

        Samples are drawn by TensorFlow Text from a random device: such a run does not repeat exactly.
        """
        return SentencePieceTokenizer(self.model_proto, sampling=sampling)

    # === Vocabulary ===

    @property
    def vocabulary_size(self) -> int:
        """V: the number of pieces, the four special ones included."""
        return self._processor.get_piece_size()

    @property
    def pieces(self) -> list[str]:
        """The V pieces in the order of their ids; `▁` stands for a space."""
        return [self._processor.id_to_piece(index) for index in range(self.vocabulary_size)]

    @property
    def scores(self) -> list[float]:
        """How usual each of the V pieces is, as the model keeps it: the log of its share of the training texts.

        For `char` and `word` it was counted, for `unigram` estimated. `bpe` keeps the order of its merges instead,
        0, -1, -2 …, the most usual first. The special pieces have 0.
        """
        return [self._processor.get_score(index) for index in range(self.vocabulary_size)]

    # === Python side ===

    def normalize(self, text: str) -> str:
        """The text as the model sees it, and as `decode(encode(text))` gives it back."""
        normal = self._processor.normalize(_checked(text))
        return normal.removeprefix(_SPACE_PIECE if self._has_prefix else "").replace(_SPACE_PIECE, " ")

    def encode(self, text: str) -> list[int]:
        """The text's ids, without start and end; never sampled.

        Raises:
            DataError: if the text holds a lone surrogate, which no UTF-8 can carry.
        """
        return self._processor.encode(_checked(text))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids up to the first end; pad and start are dropped, an unknown gives `⁇`.

        Raises:
            DataError: if an id is outside the vocabulary.
        """
        kept = [int(index) for index in itertools.takewhile(lambda index: index != END_ID, ids)]
        kept = [index for index in kept if index not in (PAD_ID, START_ID)]
        if kept and not 0 <= min(kept) <= max(kept) < self.vocabulary_size:
            raise DataError(f"Ids must be in [0, {self.vocabulary_size}). Received: {kept}")
        return self._processor.decode(kept)

    def split(self, text: str, apart: bool = True) -> list[str]:
        """The text's pieces as strings, never sampled; what the model does not know as it stands in the text.

        `encode` runs neighbours that are unknown together; here each word of a `word` model and each character of a
        `char` model is a piece by itself, or, if they shall not come `apart`, each id of `encode` has its one piece.
        """
        pieces = self._processor.encode(_checked(text), out_type=str)
        if not apart:
            return pieces
        if self.kind == "word":
            return [word for piece in pieces for word in _WITHIN.sub(_CUT, piece).split("\n")]
        return [character for piece in pieces for character in piece] if self.kind == "char" else pieces

    def without_table(self) -> bytes:
        """The model without its table of normalisation, which is most of its bytes: all that `decode` needs."""
        model = _parse(self.model_proto)
        model.normalizer_spec.ClearField("precompiled_charsmap")
        return model.SerializeToString(deterministic=True)

    def join(self, pieces: Iterable[str]) -> str:
        """The text of pieces, known and unknown ones: `join(split(text))` is `normalize(text)`."""
        text = self._processor.decode(list(pieces))  # an unknown piece comes out as it is, `▁` included
        return text.removeprefix(_SPACE_PIECE).replace(_SPACE_PIECE, " ")

    # === Graph side ===

    def _in_graph(self, out_type: Any = None) -> Any:
        """The TensorFlow Text tokenizer, made anew in the graph that is being traced (or eagerly).

        Its table lives in the graph's own operation. One table made eagerly and captured would be gone after
        `tf.random.set_seed`, which drops the kernels of eager operations and what they own. Where there is no
        tensorflow-text, `sentencepiece` does the same outside of the graph, which then cannot be saved.
        """
        import tensorflow as tf

        options = dataclasses.asdict(self.sampling) if self.sampling else {}
        tensorflow_text = tensorflow_text_if_any()
        if tensorflow_text is None:
            return OutsideTokenizer(self._processor, out_type or tf.int32, **options)
        return tensorflow_text.SentencepieceTokenizer(self.model_proto, out_type=out_type or tf.int32, **options)

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Graph code: string [B] to ragged int32 [B, None], without start and end; B may be 0."""
        return self._in_graph().tokenize(texts)

    def detokenize(self, ids: tf.Tensor) -> tf.Tensor:
        """Graph code: int32 [B, T], dense, to string [B]; does what `decode` does with each row."""
        import tensorflow as tf

        ids = tf.convert_to_tensor(ids, tf.int32)
        return self._in_graph().detokenize(tf.ragged.boolean_mask(ids, self.spelled(ids)))

    def spelled(self, ids: tf.Tensor) -> tf.Tensor:
        """Graph code: which ids int32 [B, T] stand for text, bool: those before the first end, but pad and start."""
        import tensorflow as tf

        ended = tf.cumsum(tf.cast(ids == END_ID, tf.int32), axis=1) > 0
        return ~ended & (ids != PAD_ID) & (ids != START_ID)

    def tokenize_pieces(self, texts: tf.Tensor, apart: bool = True) -> tf.RaggedTensor:
        """Graph code: string [B] to ragged string [B, None]; what `split` does with each, and sampled as `tokenize`."""
        import tensorflow as tf

        pieces = self._in_graph(tf.string).tokenize(texts)
        if not apart:
            return pieces
        if self.kind == "word":
            apart = tf.strings.regex_replace(pieces.flat_values, _WITHIN.pattern, _CUT)
            return pieces.with_flat_values(tf.strings.split(apart, "\n")).merge_dims(1, 2)
        if self.kind == "char":
            return pieces.with_flat_values(tf.strings.unicode_split(pieces.flat_values, "UTF-8")).merge_dims(1, 2)
        return pieces

    def piece_ids(self, pieces: tf.RaggedTensor) -> tf.RaggedTensor:
        """Graph code: pieces, ragged string [B, None], to their ids, int32; unknown for what is no piece of text."""
        import tensorflow as tf

        ids = self._in_graph().string_to_id(pieces.flat_values)
        return pieces.with_flat_values(tf.where(ids > END_ID, ids, UNKNOWN_ID))

    def detokenize_pieces(self, pieces: tf.RaggedTensor) -> tf.Tensor:
        """Graph code: pieces, ragged string [B, None], to string [B]; what `join` does with each row."""
        import tensorflow as tf

        texts = tf.strings.regex_replace(self._in_graph(tf.string).detokenize(pieces), "^" + _SPACE_PIECE, "")
        return tf.strings.regex_replace(texts, _SPACE_PIECE, " ")


# === Training ===


def _check_choice(kind: str, vocabulary_size: int | None) -> None:
    if kind not in KINDS:
        raise ConfigError(f"A tokenizer's kind is one of {', '.join(KINDS)}. Received: {kind!r}")
    if vocabulary_size is not None and vocabulary_size <= len(SPECIAL_IDS):
        raise ConfigError(f"A vocabulary must be larger than {len(SPECIAL_IDS)}. Received: {vocabulary_size!r}")


def _sentence(text: str, kind: str) -> str:
    """The text as the trainer takes it: it skips a text with a null character, and no piece may be very long."""
    sentence = _checked(text).replace("\0", " ").strip()
    if kind != "word" or len(sentence) <= _LONGEST_WORD:
        return sentence
    return " ".join(word for word in sentence.split() if len(word) <= _LONGEST_WORD)


def _train(
    sentences: Iterable[str], kind: str, vocabulary_size: int | None, normalization: str, split_digits: bool
) -> bytes:
    default = _SUBWORD_VOCABULARY_SIZE if kind in _SUBWORD_KINDS else _EVERY_SYMBOL
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type=kind,
            vocab_size=vocabulary_size or default,
            hard_vocab_limit=False,
            character_coverage=1.0,
            max_sentence_length=1 << 30,
            normalization_rule_name=normalization,
            split_digits=split_digits,
            add_dummy_prefix=kind != "char",
            num_threads=1,  # The sums of several threads are another run's sums plus rounding.
            minloglevel=2,
            **{f"{short}_id": index for short, index in zip(_SHORT_NAMES, SPECIAL_IDS.values(), strict=True)},
            **{f"{short}_piece": f"<|{name}|>" for short, name in zip(_SHORT_NAMES, SPECIAL_IDS, strict=True)},
        )
    except RuntimeError as error:
        raise ConfigError(f"SentencePiece refused to train: {_reason(error)}. Received: {vocabulary_size!r}") from error
    return model.getvalue()


_SHORT_NAMES: Final = ("pad", "unk", "bos", "eos")


def _reason(error: RuntimeError) -> str:
    return str(error).strip().rpartition("] ")[2].strip().rstrip(".") or "no text is left after normalisation"


# === Reading a model ===


def _parse(model_proto: bytes) -> Any:
    """The model as a message. Raises DataError for anything that is not a whole model with our special ids."""
    try:
        model = sentencepiece_model_pb2.ModelProto.FromString(bytes(model_proto))
    except Exception as error:  # The class is protobuf's own and differs between its implementations.
        raise DataError(_not_a_model(model_proto)) from error
    if not (model.pieces and model.HasField("trainer_spec") and model.HasField("normalizer_spec")):
        raise DataError(_not_a_model(model_proto))
    spec = model.trainer_spec
    ids = (spec.pad_id, spec.unk_id, spec.bos_id, spec.eos_id)
    if ids != (PAD_ID, UNKNOWN_ID, START_ID, END_ID):
        raise DataError(f"A tokenizer's pad, unknown, start and end must be 0, 1, 2 and 3. Received: {ids}")
    return model


def _processor(model_proto: bytes) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model_proto)
    except RuntimeError as error:
        raise DataError(_not_a_model(model_proto)) from error


def _not_a_model(model_proto: bytes) -> str:
    return f"This is not a whole SentencePiece model. Received: {len(model_proto)} bytes"


def _kind_of(model: Any) -> str:
    return type(model.trainer_spec).ModelType.Name(model.trainer_spec.model_type).lower()


def _checked(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"A text must be valid Unicode, without lone surrogates. Received: {text!r}") from error
    return text
