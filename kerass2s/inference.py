"""Inference: what every model of tokens or vectors answers with, one network or several: search, n-best and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.data import Pair
from kerass2s.data.pipeline import shift
from kerass2s.decoding import Hypothesis, MinimumBayesRisk, Search, SearchResult, Source, Trajectory
from kerass2s.decoding.copying import copied
from kerass2s.errors import ConfigError
from kerass2s.text import END_ID, PAD_ID, SentencePieceTokenizer

__all__ = ["WINDOW", "GraphCache", "Inference", "answered"]

Ask = Callable[[Sequence[Any]], dict[str, np.ndarray]]
"""From a batch of sources to the answers, by name, batch first."""
Read = Callable[[dict[str, np.ndarray], Any], Any]
"""From one row of the answers, and its source, to what a user gets."""

WINDOW = 1024
LARGEST_BATCH = 1 << 16
"""Rows times the length of the longest source: batches of longer ones have fewer rows, so that memory has a bound."""


class GraphCache:
    """Traced functions by what they compute; a plain object, so that Keras does not track what is in it."""

    def __init__(self) -> None:
        self.functions: dict[Any, Any] = {}

    def get(self, key: Any, make: Any) -> Any:
        """Return the function of a key, made when it is first asked for."""
        if key not in self.functions:
            self.functions[key] = make()
        return self.functions[key]


class Inference:
    """Decoding and scoring, for whatever has an encoder, a decoder and a codec.

    `Seq2Seq` is one network, `Ensemble` several that answer as one. A subclass sets the attributes.

    Attributes:
        codec: how sources and targets become tensors and back; see `kerass2s.codec`.
        encoder: what the encoder reads `-> context`, a keras.Model or what stands for several.
        decoder: has `begin`, `sequence` and `step`, as `kerass2s.decoders.Decoder` tells.
        architecture: what it is, for people and for what an export says of itself.
        config: the typed config of that architecture.
    """

    codec: Codec
    encoder: Any
    decoder: Any
    architecture: str
    config: Any
    _graphs: GraphCache

    def networks(self) -> list[keras.Model]:
        """Return the Keras models that it is made of."""
        raise TypeError(f"An Inference must name its networks. Received: {type(self).__name__}")

    def rewired_encoder(self, rewire: Callable[[keras.Model], keras.Model]) -> Any:
        """Return the encoder with each network's own in another wiring, for an exporter; see `search_graph`."""
        raise TypeError(f"An Inference must say how its encoder is rewired. Received: {type(self).__name__}")

    @property
    def source_tokenizer(self) -> SentencePieceTokenizer:
        """The tokenizer of the sources, where those are text."""
        return self.codec.source_tokenizer

    @property
    def target_tokenizer(self) -> SentencePieceTokenizer:
        """The tokenizer of the targets, where those are text."""
        return self.codec.target_tokenizer

    # === Search ===

    def search_graph(
        self, source: tf.Tensor, source_lengths: tf.Tensor, search: Search, encoder: Any = None, **settings: tf.Tensor
    ) -> SearchResult | Trajectory:
        """Search in the graph, `source_ids int32 [B, S], source_lengths int32 [B] -> SearchResult`.

        Where sources are vectors, the source is `float32 [B, S, N]`; where targets are, a `Trajectory` is returned.
        What stands beyond a row's length is ignored, whatever it is.

        Args:
            source: the padded source.
            source_lengths: how many elements of each row are real.
            search: how to decode.
            encoder: stands in for the model's own where an exporter needs another form of the same function; see
                `rewired_encoder`.
            **settings: what the search is to take from the graph in place of its own; see `Codec.settings`.
        """
        start = self.decoder.begin((encoder or self.encoder)(self.codec.encoder_inputs(source, source_lengths)))
        first = self.codec.first(source, source_lengths)
        known = Source.of(source, source_lengths, self.codec.window, self.decoder.aligned)
        found = search(self.decoder.step, start.state, start.memory, first, known, **settings)
        if not getattr(search, "copy_unknown", False):  # a rollout knows no tokens
            return found
        real = tf.range(tf.shape(source)[1])[None, :] < source_lengths[:, None]
        return copied(found, real & (source != END_ID), self.codec.target_size)

    def _search_function(self, search: Search) -> Any:
        # It is graph code already; and autograph would wrap a UserError in an error of its own.
        @tf.function(input_signature=[self.codec.request_spec], autograph=False)
        def run(request: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return self.codec.answers(self.search_graph(*self.codec.source(request), search).named(), request, search)

        return run

    def n_best(
        self,
        sources: Sequence[Any] | Iterator[Any],
        search: Search | None = None,
        batch_size: int = 64,
        window: int = WINDOW,
    ) -> list[list[Hypothesis]] | Iterator[list[Hypothesis]]:
        """Decode each source; return its hypotheses, best first, in the order of the sources.

        A list of sources gives a list. An iterator gives an iterator, which reads `window` sources ahead and no more,
        so that there may be any number of them in a memory that does not grow.

        Args:
            sources: any strings, the empty one too; arrays [S, N] where the architecture reads vectors.
            search: None for `GreedySearch()`, or `Rollout()` where targets are vectors.
            batch_size: sources decoded at once; those of similar length share a batch.
            window: among how many sources of an iterator those of similar length are looked for.

        Raises:
            UserError: `sources` is not what the architecture reads, or its targets are no tokens. For an iterator,
                what is wrong with its sources is told when they are read.
        """
        self.codec.need_tokens("n_best")
        return self._decode(sources, search, batch_size, window, self.codec.hypotheses)

    def generate(
        self,
        sources: Sequence[Any] | Iterator[Any],
        search: Search | None = None,
        batch_size: int = 64,
        window: int = WINDOW,
    ) -> list[Any] | Iterator[Any]:
        """Decode each source and return the best output of each, in order; see `n_best`.

        An output is a text, or an array [T, D] where the architecture predicts vectors: `search` is then a `Rollout`,
        whose horizon is T.
        """
        return self._decode(sources, search, batch_size, window, self.codec.best)

    def _decode(
        self, sources: Any, search: Search | None, batch_size: int, window: int, read: Read
    ) -> list[Any] | Iterator[Any]:
        search = search or self.codec.search()
        self.codec.settings(search)  # refuses a search for other targets
        run = self._graphs.get(search, lambda: self._search_function(search))
        if isinstance(search, MinimumBayesRisk):
            read = search.reading(read)

        def ask(batch: Sequence[Any]) -> dict[str, np.ndarray]:
            return {name: part.numpy() for name, part in run(self.codec.request(batch)).items()}

        return answered(self.codec, sources, ask, read, batch_size, window)

    # === Scores of given targets ===

    def score_pairs(self, pairs: Sequence[Pair], batch_size: int = 64) -> np.ndarray:
        """Return the log-probability (nats, the end included) of each given target, `[N]` in order.

        Raises:
            UserError: a source is not what the architecture reads, or its targets are no tokens.
        """
        return np.array([tokens.sum() for tokens in self.score_tokens(pairs, batch_size)], np.float32)

    def score_tokens(self, pairs: Sequence[Pair], batch_size: int = 64) -> list[np.ndarray]:
        """Return log p(y_t | y_1 … y_{t-1}, x) of each token of each given target, a float32 [T + 1], END last.

        Raises:
            UserError: a source is not what the architecture reads, or its targets are no tokens.
        """
        return [tokens for _, tokens in self._scored(pairs, batch_size)]

    def perplexities(self, pairs: Sequence[Pair], batch_size: int = 64) -> np.ndarray:
        """Return exp(-log p(y | x) / (T + 1)) of each given target, `[N]`: 1 for a target that was certain.

        T + 1 counts the tokens of the target and its END.

        Raises:
            UserError: a source is not what the architecture reads, or its targets are no tokens.
        """
        return np.array([np.exp(-tokens.mean()) for tokens in self.score_tokens(pairs, batch_size)], np.float32)

    def rescore(
        self,
        sources: Sequence[Any],
        candidates: Sequence[Sequence[str | Hypothesis]],
        weight: float = 1.0,
        batch_size: int = 64,
    ) -> list[list[Hypothesis]]:
        """Order the candidates of each source by this model's log-probability, best first; of equals the first leads.

        Where they are hypotheses, `weight` times this model's log-probability and `1 - weight` times the score that
        each has already may be taken together: a first model proposes, a second one that reads otherwise decides.

        Args:
            sources: what the candidates are outputs of.
            candidates: texts, or the hypotheses of a first model's `n_best`; a list for each source.
            weight: from 0, the first model's order, to 1, this model's alone.
            batch_size: candidates scored at once.

        Raises:
            ConfigError: there are not as many lists as sources, `weight` is not from 0 to 1, or it is below 1 and a
                candidate has no score.
        """
        if len(sources) != len(candidates):
            received = f"{len(sources)} sources, {len(candidates)} lists"
            raise ConfigError(f"Each source needs one list of candidates. Received: {received}")
        if not 0 <= weight <= 1:
            raise ConfigError(f"weight must be from 0 to 1. Received: {weight!r}")
        texts = [[_text(one) for one in row] for row in candidates]
        first = [[0.0 if weight == 1 else _first_score(one) for one in row] for row in candidates]
        pairs = [Pair(source, text) for source, row in zip(sources, texts, strict=True) for text in row]
        scored = iter(self._scored(pairs, batch_size))
        found = []
        for row, given in zip(texts, first, strict=True):
            rescored = []
            for text, before, (ids, tokens) in zip(row, given, islice(scored, len(row)), strict=True):
                score = weight * float(tokens.sum()) + (1 - weight) * before
                rescored.append(Hypothesis(text, score, ids[:-1].tolist(), token_scores=tokens.tolist()))
            found.append(sorted(rescored, key=lambda one: -one.score))
        return found

    def _scored(self, pairs: Sequence[Pair], batch_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Score each target, `(ids int32 [T + 1], log-probabilities float32 [T + 1])`, END last."""
        self.codec.need_tokens("score_pairs")
        self.codec.check([pair[0] for pair in pairs])
        run = self._graphs.get("score", self._score_function)
        found = []
        for begin in range(0, len(pairs), batch_size):
            sources, targets = zip(*(pair[:2] for pair in pairs[begin : begin + batch_size]), strict=True)
            labels, scores = run(self.codec.request(sources), tf.constant(targets, tf.string))
            for ids, tokens in zip(labels.numpy(), scores.numpy(), strict=True):
                found.append((ids[ids != PAD_ID], tokens[ids != PAD_ID]))
        return found

    def _score_function(self) -> Any:
        @tf.function(input_signature=[self.codec.request_spec, tf.TensorSpec([None], tf.string)])
        def run(request: dict[str, tf.Tensor], targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            source = self.codec.encoder_inputs(*self.codec.source(request))
            inputs, labels, _ = shift(source, self.codec.labels(targets, request).to_tensor(PAD_ID))
            logits = self.decoder.sequence(inputs[self.decoder.target_name], self.decoder.begin(self.encoder(source)))
            return labels, -tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

        return run

    # === Saving ===

    def save_to_preset(self, directory: Any) -> None:
        """Write a directory that `from_preset` loads; see `kerass2s.presets`."""
        from kerass2s.presets import save_preset  # stands above this room

        save_preset(self, directory)

    def export(
        self,
        path: Any,
        format: str = "tf_saved_model",
        search: Search | None = None,
        *,
        opset: int | None = None,
        precision: str | None = None,
    ) -> None:
        """Write the whole inference graph, search included, as a SavedModel directory or an ONNX file.

        Args:
            path: the directory (SavedModel, the steps) or file (ONNX) to write.
            format: "tf_saved_model", "onnx" (ids to ids), "text_onnx" (text to text, by onnxruntime-extensions), or
                "onnx_steps" for an encoder and one step of the decoder, without a search.
            search: what the export decodes with; None for `GreedySearch()` where the targets are tokens, `Rollout()`
                where they are vectors.
            opset: of ONNX, the version of its operators; None for 18.
            precision: of the weights, "float32" (None), "float16", or of ONNX "int8".

        Raises:
            ConfigError: an unknown format, an option that it does not have, or a search for other targets.
        """
        from kerass2s.export.formats import export_as  # stands above this room

        export_as(self, path, format, {"search": search, "opset": opset, "precision": precision})


def _text(candidate: str | Hypothesis) -> str:
    return candidate.text if isinstance(candidate, Hypothesis) else candidate


def _first_score(candidate: str | Hypothesis) -> float:
    if not isinstance(candidate, Hypothesis):
        raise ConfigError(f"A weight below 1 needs candidates with a score, hypotheses. Received: {candidate!r}")
    return candidate.score


# === Many sources ===


def answered(
    codec: Codec, sources: Any, ask: Ask, read: Read, batch_size: int, window: int
) -> list[Any] | Iterator[Any]:
    """Ask for each source, those of similar length together, and read each answer, in the order of the sources.

    A list gives a list; an iterator gives an iterator that holds `window` sources and their answers at once.

    Raises:
        ConfigError: `window` is below 1.
    """
    if window < 1:
        raise ConfigError(f"window must be at least 1. Received: {window!r}")
    if isinstance(sources, Iterator):
        chunks = iter(lambda: list(islice(sources, window)), [])
        numbered = enumerate(chunks)
        return (
            one for turn, chunk in numbered for one in _in_batches(codec, chunk, ask, read, batch_size, turn * window)
        )
    return _in_batches(codec, sources, ask, read, batch_size)


def _in_batches(
    codec: Codec, sources: Sequence[Any], ask: Ask, read: Read, batch_size: int, first: int = 0
) -> list[Any]:
    codec.check(sources, first)
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1. Received: {batch_size!r}")
    found: list[Any] = [None] * len(sources)
    for rows in _batched([len(source) for source in sources], batch_size):
        answers = ask([sources[i] for i in rows])
        for row, i in enumerate(rows):
            found[i] = read({name: part[row] for name, part in answers.items()}, sources[i])
    return found


def _batched(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield which sources are asked for together: those of similar length, and the fewer the longer they are."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    begin = 0
    while begin < len(order):
        count = min(batch_size, len(order) - begin)
        # The last row is the longest; with fewer rows it is another one.
        while count > 1 and count * lengths[order[begin + count - 1]] > LARGEST_BATCH:
            count = max(LARGEST_BATCH // lengths[order[begin + count - 1]], 1)
        yield order[begin : begin + count]
        begin += count
