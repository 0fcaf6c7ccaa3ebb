"""Text to text: two tokenizers, batches of pairs of strings, and the in-graph way from strings to ids and back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kerass2s.data import Batching, BucketByExamples, Pair, batches, to_dataset
from kerass2s.data.columns import with_named_sides
from kerass2s.data.curriculum import Pace
from kerass2s.data.pipeline import Tokenize, count, with_end
from kerass2s.decoding import GreedySearch, Hypothesis, Rollout
from kerass2s.errors import ConfigError, DataError
from kerass2s.text import END_ID, PAD_ID, START_ID, UNKNOWN_ID, SentencePieceTokenizer
from kerass2s.training import Perplexity, SequenceAccuracy, TokenAccuracy, TokenCrossentropy

__all__ = ["LONGEST_TEXT", "TextCodec", "TextTargets", "counted", "need_tokenizer"]

LONGEST_TEXT = 10_000
"""The most characters of a source: what a model holds in memory of one grows with its length."""
SHOWN = 60
"""How many characters of what was received stand in a message."""


def need_tokenizer(architecture: str, side: str, tokenizer: Any) -> SentencePieceTokenizer:
    """Return the tokenizer, or say which one is missing.

    Raises:
        ConfigError: there is none.
    """
    if tokenizer is None:
        raise ConfigError(f"Architecture {architecture} needs a tokenizer: give {side}_tokenizer. Received: None")
    return tokenizer


def counted(batched: tf.data.Dataset) -> tf.data.Dataset:
    """Give batches whose number is known.

    Keras warns at the end of a dataset whose length it does not know, and shows no progress until then. Shuffling can
    move that length by a batch, so the next pass lends what is missing. Batches of a curriculum are counted already.
    """
    return batched if batched.cardinality() >= 0 else batched.repeat().take(count(batched))


class TextTargets:
    """The target half of every codec whose targets are text: ids, the loss on them, and strings of them."""

    target_tokenizer: SentencePieceTokenizer
    window: int = 1

    @property
    def target_size(self) -> int:
        """V of the target."""
        return self.target_tokenizer.vocabulary_size

    def loss(self) -> keras.losses.Loss:
        """Make the loss of `compile` where none is given."""
        return TokenCrossentropy()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Make the metrics of `compile` where none are given."""
        return [TokenAccuracy(), SequenceAccuracy(), Perplexity()]

    def need_tokens(self, what: str) -> None:
        """Let it pass: the targets are tokens."""

    def search(self) -> GreedySearch:
        """Make the search where none is given."""
        return GreedySearch()

    def settings(self, search: Any) -> dict[str, np.ndarray]:
        """Return what an export with `search` takes as further inputs, each with the value it has in `search`.

        Raises:
            ConfigError: `search` predicts no tokens.
        """
        if isinstance(search, Rollout):
            raise ConfigError(f"The targets are tokens, so the search is greedy, beam or sample. Received: {search}")
        if search.copy_unknown:
            self.need_pieces(search)
        return search.settings()

    def need_pieces(self, search: Any) -> None:
        """Refuse a search that copies from sources that have no pieces of text.

        Raises:
            ConfigError: always, unless a codec has such sources and says so.
        """
        raise ConfigError(f"copy_unknown copies a token of the source, and the sources are vectors. Received: {search}")

    def first(self, source: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return what the decoder is fed before its first output: START, int32 [B]."""
        return tf.fill([tf.shape(source)[0]], START_ID)

    def answers(self, found: dict[str, tf.Tensor], request: dict[str, tf.Tensor], search: Any) -> dict[str, tf.Tensor]:
        """Add the texts to what a search found, `text string [B, K]`."""
        return {**found, "text": self.texts(found["target_ids"], request, search.copy_unknown)}

    def texts(self, target_ids: tf.Tensor, request: dict[str, tf.Tensor], copies: bool = False) -> tf.Tensor:
        """Detokenise in the graph, `target_ids int32 [B, K, T] -> string [B, K]`; `request` is what was asked.

        Ids beyond the vocabulary are only looked for where the search `copies`.
        """
        rows, beams, time = tf.unstack(tf.shape(target_ids))
        texts = self.target_tokenizer.detokenize(tf.reshape(target_ids, [rows * beams, time]))
        return tf.reshape(texts, [rows, beams])

    def hypotheses(self, answer: dict[str, np.ndarray], source: Any) -> list[Hypothesis]:
        """Unpack the answer to `source`, best first: ids [K, T], lengths [K], scores [K], alignments [K, T, M] if any.

        A tiny vocabulary can have fewer outputs than there are beams: those that do not exist score -inf.
        """
        found = []
        for k in np.flatnonzero(np.isfinite(answer["scores"])):
            length = answer["target_lengths"][k]
            ids = answer["target_ids"][k, :length].tolist()
            text = answer["text"][k].decode("utf-8") if "text" in answer else self.decode(ids, source)
            alignment = answer["alignments"][k, :length] if "alignments" in answer else None
            # After a hypothesis that was cut there is no END, and nothing that it added.
            added = answer["token_scores"][k, : length + 1].tolist()
            token_scores = added if added[-1] else added[:-1]
            found.append(Hypothesis(text, float(answer["scores"][k]), ids, alignment, token_scores))
        return found

    def best(self, answer: dict[str, np.ndarray], source: Any) -> str:
        """Return the best text of the answer to `source`; the empty one where the search's filters allow none."""
        found = self.hypotheses(answer, source)
        return found[0].text if found else ""

    def decode(self, ids: Sequence[int], source: Any) -> str:
        """Turn the ids of an answer to `source` into text, without a graph."""
        return self.target_tokenizer.decode(ids)

    def target_pieces(self, ids: Sequence[int], source: Any) -> list[str]:
        """Name the tokens of an answer to `source`, for people."""
        pieces = self.target_tokenizer.pieces
        return [pieces[each] for each in ids]

    def labels(self, targets: tf.Tensor, request: dict[str, tf.Tensor]) -> tf.RaggedTensor:
        """Tokenise targets in the graph, `string [B] -> int32 [B, None]`, each row with its END."""
        return with_end(self.target_tokenizer.tokenize(targets))


class TextCodec(TextTargets):
    """Text to text.

    A `request` is what a user hands over, here `{"text": string [B]}`; `source` is what the encoder reads, here
    `source_ids int32 [B, S]` with `source_lengths int32 [B]`. In an answer the id V + s, V that of the target, stands
    for the piece at position s of the source; a search with `copy_unknown` gives such ids. Unknown neighbours that the
    tokenizer runs together are one piece, and are copied together.

    Args:
        architecture: for messages.
        source_tokenizer: source text to ids; its subword sampling, if any, is used in training alone.
        target_tokenizer: target text to ids and back, likewise.

    Raises:
        ConfigError: a tokenizer is missing.
    """

    source_name: ClassVar[str] = "source_ids"
    request_spec: ClassVar[dict[str, tf.TensorSpec]] = {"text": tf.TensorSpec([None], tf.string, name="text")}
    source_spec: ClassVar[dict[str, tf.TensorSpec]] = {
        "source_ids": tf.TensorSpec([None, None], tf.int32, name="source_ids"),
        "source_lengths": tf.TensorSpec([None], tf.int32, name="source_lengths"),
    }
    open_vocabulary: ClassVar[bool] = False
    """Whether every unknown token of a source has an id, which the model itself can copy."""

    def __init__(self, architecture: str, source_tokenizer: Any, target_tokenizer: Any) -> None:
        source_tokenizer = need_tokenizer(architecture, "source", source_tokenizer)
        target_tokenizer = need_tokenizer(architecture, "target", target_tokenizer)
        # Subword sampling is for training alone: everything else sees each text's one segmentation.
        self._training = (source_tokenizer, target_tokenizer)
        self.source_tokenizer = source_tokenizer.with_sampling(None)
        self.target_tokenizer = target_tokenizer.with_sampling(None)

    @cached_property
    def target_vocabulary(self) -> list[str]:
        """The V pieces of the target."""
        return self.target_tokenizer.pieces

    @property
    def source_size(self) -> int:
        """V of the source."""
        return self.source_tokenizer.vocabulary_size

    def tokenizers(self) -> dict[str, SentencePieceTokenizer]:
        """The two tokenizers, under "source" and "target"."""
        return {"source": self.source_tokenizer, "target": self.target_tokenizer}

    # === Training ===

    def batches(self, data: Any, batching: Batching | None, seed: int | None, pace: Pace | None = None) -> Any:
        """Turn pairs of strings into batches, shuffled if there is a seed; leave anything else to Keras.

        A table whose columns are named "source" and "target" is pairs, too; see `kerass2s.data.columns`.

        Raises:
            ConfigError: there are no pairs.
            DataError: a table has no such columns.
        """
        data = with_named_sides(data)
        if isinstance(data, Sequence) and not data:
            raise ConfigError(f"There is nothing to train or evaluate on. Received: {data!r}")
        if isinstance(data, Sequence) and len(data[0]) >= 2 and isinstance(data[0][0], str):
            data = to_dataset([Pair(*pair) for pair in data])
        if not _is_text(data):
            return data
        tokenizers = (self.source_tokenizer, self.target_tokenizer) if seed is None else self._training
        batching, tokenize = batching or BucketByExamples(), self.tokenize_pairs(*tokenizers)
        return counted(batches(data, *tokenizers, batching, shuffle_seed=seed, tokenize=tokenize, pace=pace))

    def tokenize_pairs(
        self, source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer
    ) -> Tokenize | None:
        """Say how pairs become ids in training where the ids of one side depend on the other; None: they do not."""
        return None

    # === Requests ===

    def check(self, sources: Any, first: int = 0) -> None:
        """Refuse what is not a list of texts that can be read; `first` is the number of its first one.

        Raises:
            ConfigError: `sources` is a single string.
            DataError: one of them is no text, holds a lone surrogate, or has more than `LONGEST_TEXT` characters.
        """
        if isinstance(sources, str):
            raise ConfigError(f"Give a list of texts, not one text. Received: {sources[:SHOWN]!r}")
        for index, text in enumerate(sources, first):
            _check_text(text, index)

    def request(self, sources: Sequence[str]) -> dict[str, tf.Tensor]:
        """Make a request of some texts."""
        return {"text": tf.constant(list(sources), tf.string)}

    def rows(self, sources: Sequence[str]) -> list[np.ndarray]:
        """Tokenise outside the graph: the row of source ids of each text, END included."""
        return [np.array([*self.source_tokenizer.encode(text), END_ID], np.int32) for text in sources]

    def example(self, generator: np.random.Generator, length: int) -> str:
        """Make a random text of the source's own pieces."""
        known = np.arange(END_ID + 1, self.source_size)
        return self.source_tokenizer.decode(generator.choice(known, length).tolist()) if len(known) else ""

    def strange(self) -> list[str]:
        """Make the empty text, and texts of one character that the tokenizer does not know."""
        private = (chr(code) for code in range(0xE000, 0xF8FF))
        unknown = next(text for text in private if UNKNOWN_ID in self.source_tokenizer.encode(text))
        return ["", unknown, unknown * 3]

    def source_pieces(self, source: str) -> list[str]:
        """Name the tokens of a source, its END included."""
        pieces = self.source_tokenizer.pieces
        return [*(pieces[each] for each in self.source_tokenizer.encode(source)), "(end)"]

    def need_pieces(self, search: Any) -> None:
        """Let it pass: the sources are text."""

    def decode(self, ids: Sequence[int], source: Any) -> str:
        """Turn the ids of an answer to `source` into text, without a graph.

        Raises:
            DataError: an id is negative.
        """
        kept = [int(each) for each in itertools.takewhile(lambda each: each != END_ID, ids)]
        if max(kept, default=0) < self.target_size:
            return self.target_tokenizer.decode(kept)
        return self.target_tokenizer.join(
            self.target_pieces([each for each in kept if each not in (PAD_ID, START_ID)], source)
        )

    def target_pieces(self, ids: Sequence[int], source: Any) -> list[str]:
        """Name the tokens of an answer to `source`, for people; what was copied by what stands there.

        Raises:
            DataError: an id is negative.
        """
        if min(ids, default=0) < 0:
            raise DataError(f"Ids must not be negative. Received: {list(ids)}")
        own, size = self.target_vocabulary, self.target_size
        places = self.source_tokenizer.split(source, apart=self.open_vocabulary) if max(ids, default=0) >= size else []
        # As in the graph, what points past the source spells nothing; no model does that.
        return [own[each] if each < size else "".join(places[each - size : each - size + 1]) for each in ids]

    # === Graph ===

    def source(self, request: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Tokenise in the graph, `text string [B] -> source_ids int32 [B, S], source_lengths int32 [B]`.

        Every source ends with the end id, so that an empty string still has one position.
        """
        ids = with_end(self.source_tokenizer.tokenize(request["text"]))
        return ids.to_tensor(PAD_ID), tf.cast(ids.row_lengths(), tf.int32)

    def encoder_inputs(self, source: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Make the encoder's inputs; ids beyond a row's length are ignored, whatever they are."""
        positions = tf.range(tf.shape(source)[1])
        return {"source_ids": tf.where(positions[None, :] < lengths[:, None], source, PAD_ID)}

    def texts(self, target_ids: tf.Tensor, request: dict[str, tf.Tensor], copies: bool = False) -> tf.Tensor:
        """Detokenise in the graph, `target_ids int32 [B, K, T] -> string [B, K]`; `request` is what was asked.

        Ids beyond the vocabulary are only looked for where the search `copies`.
        """
        if not (copies or self.open_vocabulary):
            return super().texts(target_ids, request)
        rows, beams, time = tf.unstack(tf.shape(target_ids))
        pieces = self.source_tokenizer.tokenize_pieces(request["text"], apart=self.open_vocabulary).to_tensor("")
        pieces = tf.pad(pieces, [[0, 0], [0, 1]], constant_values="")  # what an empty source is asked for
        places = tf.clip_by_value(target_ids - self.target_size, 0, tf.shape(pieces)[1] - 1)
        copied = tf.reshape(tf.gather(pieces, tf.reshape(places, [rows, beams * time]), batch_dims=1), [-1, time])
        ids = tf.reshape(target_ids, [rows * beams, time])
        own = tf.gather(tf.constant(self.target_vocabulary), tf.minimum(ids, self.target_size - 1))
        spelled = tf.where(ids < self.target_size, own, copied)
        spelled = tf.ragged.boolean_mask(spelled, self.target_tokenizer.spelled(ids))
        return tf.reshape(self.target_tokenizer.detokenize_pieces(spelled), [rows, beams])


def _check_text(text: Any, index: int) -> None:
    if not isinstance(text, str):
        raise DataError(f"Source {index}: must be a text. Received: {type(text).__name__} {str(text)[:SHOWN]!r}")
    if len(text) > LONGEST_TEXT:
        raise DataError(
            f"Source {index}: a text has at most {LONGEST_TEXT:,} characters; cut it into sentences or paragraphs. "
            f"Received: {len(text):,}"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"Source {index}: must be valid Unicode, without lone surrogates. "
            f"Received: {text[max(error.start - 10, 0) : error.start + 10]!r}"
        ) from error


def _is_text(data: Any) -> bool:
    """Tell whether `data` is a tf.data.Dataset of (source, target) string scalars."""
    if not isinstance(data, tf.data.Dataset):
        return False
    spec = data.element_spec
    return isinstance(spec, tuple) and len(spec) == 2 and all(getattr(s, "dtype", None) == tf.string for s in spec)
