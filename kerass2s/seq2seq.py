"""Seq2Seq: encoder, decoder and their tokenizers as one keras.Model that fits, generates, saves and exports."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.data import Batching, Pair, ShortFirst
from kerass2s.data.curriculum import Pace
from kerass2s.data.pipeline import shift
from kerass2s.decoders import Decoder
from kerass2s.decoding import Hypothesis, MinimumBayesRisk, Search, SearchResult, Source, Trajectory
from kerass2s.decoding.copying import copied
from kerass2s.errors import ConfigError
from kerass2s.text import END_ID, PAD_ID, SentencePieceTokenizer
from kerass2s.training import TeacherForcing

__all__ = ["Seq2Seq"]


class _GraphCache:
    """Traced search functions by search; a plain object, so that Keras does not track what is in it."""

    def __init__(self) -> None:
        self.functions: dict[Any, Any] = {}

    def get(self, key: Any, make: Any) -> Any:
        if key not in self.functions:
            self.functions[key] = make()
        return self.functions[key]


@keras.saving.register_keras_serializable("kerass2s")
class Seq2Seq(keras.Model):
    """An encoder and a decoder, trained jointly: the decoder's loss flows back through the context.

    Built by `kerass2s.zoo.build`. `compile`, `fit`, `evaluate`, `predict`, callbacks and `keras.saving` work as on
    any keras.Model; where they take data, they also take pairs of strings.

    Args:
        encoder: `{"source_ids" [B, S]} -> {"memory" [B, S, M], "memory_mask" [B, S], "summary" [B, M']}`.
        decoder: see `kerass2s.decoders.Decoder`.
        codec: how sources and targets become tensors and back; see `kerass2s.codec`.
        architecture: the name of the zoo entry that built it.
        config: that entry's typed config.
        feeding: what the decoder is fed in training where `compile` does not say.
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: Decoder,
        *,
        codec: Codec,
        architecture: str,
        config: Any,
        feeding: Any = None,
    ) -> None:
        super().__init__(name=architecture)
        self.encoder = encoder
        self.decoder = decoder
        self.codec = codec
        self.architecture = architecture
        self.config = config
        self._own_feeding = feeding or TeacherForcing()
        self.feeding = self._own_feeding
        self._graphs = _GraphCache()
        self.built = True

    @property
    def source_tokenizer(self) -> SentencePieceTokenizer:
        """The tokenizer of the sources, where those are text."""
        return self.codec.source_tokenizer

    @property
    def target_tokenizer(self) -> SentencePieceTokenizer:
        """The tokenizer of the targets, where those are text."""
        return self.codec.target_tokenizer

    # === Training ===

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Run teacher forced, or in training as the feeding says: `source_ids [B, S], target_ids [B, T] -> [B, T, V]`.

        `target_ids` is the target shifted right: `[start, y_1, …]`.
        """
        source = {name: inputs[name] for name in self.encoder.input}
        target = inputs[self.decoder.target_name]
        start = self.decoder.begin(self.encoder(source, training=training))
        if not training:
            return self.decoder.sequence(target, start)
        fed = (self.decoder, target, start, self._updates())
        objective = self.feeding.objective(*fed)
        if objective is not None:
            self.add_loss(objective)
        return self.feeding(*fed)

    def _updates(self) -> Any:
        """Count the updates so far, which is where a curriculum stands; saved with the optimizer."""
        return self.optimizer.iterations if self.compiled else 0

    def _trained_batches(self) -> int:
        """Count the batches so far; several make one update where gradients are accumulated."""
        return int(self.optimizer.iterations) * (self.optimizer.gradient_accumulation_steps or 1)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Sum the compiled loss, in training as much of it as the feeding leaves, and what layers and feeding add."""
        whole = super().compute_loss(x, y, y_pred, sample_weight, training)
        share = self.feeding.likelihood
        if not training or share == 1:
            return whole
        added = sum(self.losses) / tf.distribute.get_strategy().num_replicas_in_sync
        return share * whole + (1 - share) * added

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train on a batch as `keras.Model.train_step` does, and report what the feeding has to show."""
        shown = self.feeding.report(self._updates())
        return {**super().train_step(data), **shown}

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        *,
        feeding: Any = None,
        weighted_metrics: list[Any] | None = None,
        jit_compile: bool = False,
        **options: Any,
    ) -> None:
        """Configure training as `keras.Model.compile` does; `options` go to it as they are.

        Args:
            optimizer: a Keras optimizer or its name; gradient clipping and learning-rate schedules are its own.
            loss: None for that of the targets: `TokenCrossentropy()` for tokens, the mean squared error for vectors;
                with vectors, any Keras loss over their last axis. Keras' own default of `reduction` divides by the
                padded steps too, "mean_with_sample_weight" by the real ones.
            feeding: what the decoder is fed in training; None for the architecture's own, mostly `TeacherForcing()`.
            weighted_metrics: None for those of the targets: token accuracy, sequence accuracy and perplexity for
                tokens, the mean absolute error for vectors, padding left out.
            jit_compile: off by default: on a CPU it costs more than it brings.
            **options: `run_eagerly`, `steps_per_execution`, … of `keras.Model.compile`.
        """
        self.feeding = feeding or self._own_feeding
        super().compile(
            optimizer=optimizer,
            loss=loss or self.codec.loss(),
            weighted_metrics=self.codec.metrics() if weighted_metrics is None else weighted_metrics,
            jit_compile=jit_compile,
            **options,
        )

    def get_compile_config(self) -> dict[str, Any]:
        """Return what `keras.saving` keeps of `compile`, the feeding included."""
        config = super().get_compile_config()
        return {**config, "feeding": keras.saving.serialize_keras_object(self.feeding)} if config else {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile again as `get_compile_config` told, so that a reloaded model goes on training."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *,
        validation_data: Any = None,
        batching: Batching | None = None,
        seed: int = 0,
        curriculum: ShortFirst | None = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """Train; like `keras.Model.fit`, to which `options` go as they are.

        Args:
            x: a list of pairs, a tf.data.Dataset of (source, target) strings, or anything `keras.Model.fit` takes.
                A side that is vectors is an array of floats, [S, N] or [T, D].
            y: only as in `keras.Model.fit`.
            validation_data: of the same kinds; scored teacher forced. See `FreeRunningValidation` for the other way.
            batching: how pairs are put into batches; None for `BucketByExamples()`.
            seed: of the order of the pairs; the same seed gives the same batches.
            curriculum: which pairs each step draws from, such as `ShortFirst(steps=5000)`; None for all.
            **options: `epochs`, `callbacks`, `initial_epoch`, … of `keras.Model.fit`.

        Raises:
            ConfigError: a curriculum for what is no pairs.
        """
        pace = None if curriculum is None else Pace(curriculum, self._trained_batches)
        data = self.codec.batches(x, batching, seed, pace)
        if curriculum is not None and data is x:
            raise ConfigError(f"A curriculum orders pairs, and batches have their order. Received: {type(x).__name__}")
        if isinstance(data, tf.data.Dataset):
            options["shuffle"] = False  # it shuffles by itself, and Keras warns when asked to
        return super().fit(
            data,
            y,
            validation_data=None if validation_data is None else self.codec.batches(validation_data, batching, None),
            **options,
        )

    def evaluate(self, x: Any = None, y: Any = None, *, batching: Any = None, **options: Any) -> Any:
        """Return loss and metrics, teacher forced; takes what `fit` takes. `options` go to `keras.Model.evaluate`."""
        return super().evaluate(self.codec.batches(x, batching, None), y, **options)

    def predict(self, x: Any, **options: Any) -> Any:
        """Return teacher-forced logits of tokenised batches as `keras.Model.predict`; for text see `generate`."""
        return super().predict(x, **options)

    # === Inference graph ===

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
            encoder: stands in for the model's own where an exporter needs another form of the same function.
            **settings: what the search is to take from the graph in place of its own; see `Codec.settings`.
        """
        start = self.decoder.begin((encoder or self.encoder)(self.codec.encoder_inputs(source, source_lengths)))
        first = self.codec.first(source, source_lengths)
        known = Source.of(source, source_lengths, self.codec.window)
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
        self, sources: Sequence[Any], search: Search | None = None, batch_size: int = 64
    ) -> list[list[Hypothesis]]:
        """Decode each source; return its hypotheses, best first, in the order of the sources.

        Args:
            sources: any strings, the empty one too; arrays [S, N] where the architecture reads vectors.
            search: None for `GreedySearch()`, or `Rollout()` where targets are vectors.
            batch_size: sources decoded at once; those of similar length share a batch.

        Raises:
            UserError: `sources` is not a list of what the architecture reads, or its targets are no tokens.
        """
        self.codec.need_tokens("n_best")
        return self._decode(sources, search, batch_size, self.codec.hypotheses)

    def generate(self, sources: Sequence[Any], search: Search | None = None, batch_size: int = 64) -> list[Any]:
        """Decode each source and return the best output of each, in order; see `n_best`.

        An output is a text, or an array [T, D] where the architecture predicts vectors: `search` is then a `Rollout`,
        whose horizon is T.
        """
        return self._decode(sources, search, batch_size, self.codec.best)

    def _decode(
        self, sources: Sequence[Any], search: Search | None, batch_size: int, read: Callable[[dict, Any], Any]
    ) -> list[Any]:
        """Search for each source, those of similar length together, and `read` each row of the answers."""
        self.codec.check(sources)
        search = search or self.codec.search()
        self.codec.settings(search)  # refuses a search for other targets
        run = self._graphs.get(search, lambda: self._search_function(search))
        if isinstance(search, MinimumBayesRisk):
            read = search.reading(read)
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        found: list[Any] = [None] * len(sources)
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            answers = run(self.codec.request([sources[i] for i in rows]))
            answers = {name: part.numpy() for name, part in answers.items()}
            for row, i in enumerate(rows):
                found[i] = read({name: part[row] for name, part in answers.items()}, sources[i])
        return found

    def score_pairs(self, pairs: Sequence[Pair], batch_size: int = 64) -> np.ndarray:
        """Return the log-probability (nats, the end included) of each given target, `[N]` in order.

        Raises:
            UserError: a source is not what the architecture reads, or its targets are no tokens.
        """
        self.codec.need_tokens("score_pairs")
        self.codec.check([pair[0] for pair in pairs])
        run = self._graphs.get("score", self._score_function)
        scores = [np.zeros([0], np.float32)]
        for begin in range(0, len(pairs), batch_size):
            sources, targets = zip(*(pair[:2] for pair in pairs[begin : begin + batch_size]), strict=True)
            scores.append(run(self.codec.request(sources), tf.constant(targets, tf.string)).numpy())
        return np.concatenate(scores)

    def _score_function(self) -> Any:
        @tf.function(input_signature=[self.codec.request_spec, tf.TensorSpec([None], tf.string)])
        def run(request: dict[str, tf.Tensor], targets: tf.Tensor) -> tf.Tensor:
            source = self.codec.encoder_inputs(*self.codec.source(request))
            inputs, labels, weights = shift(source, self.codec.labels(targets, request).to_tensor(PAD_ID))
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, self(inputs, training=False))
            return -tf.reduce_sum(loss * weights, axis=1)

        return run

    # === Saving ===

    def get_config(self) -> dict[str, Any]:
        """Return what `keras.saving` needs to build the model again."""
        return {
            "architecture": self.architecture,
            "config": asdict(self.config),
            "tokenizers": {
                side: base64.b64encode(tokenizer.model_proto).decode("ascii")
                for side, tokenizer in self.codec.tokenizers().items()
            },
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Seq2Seq:
        """Build the model that `get_config` describes, with fresh weights."""
        from kerass2s import zoo  # the zoo stands above this room and builds on it

        return zoo.build(
            config["architecture"],
            **{
                f"{side}_tokenizer": SentencePieceTokenizer(base64.b64decode(proto))
                for side, proto in config["tokenizers"].items()
            },
            **config["config"],
        )

    def save_to_preset(self, directory: Any) -> None:
        """Write config.json, model.weights.h5, source.spm and target.spm; see `kerass2s.presets`."""
        from kerass2s.presets import save_preset  # stands above this room, as the zoo does

        save_preset(self, directory)

    @staticmethod
    def from_preset(name: Any) -> Seq2Seq:
        """Load a model from a preset's name or directory.

        Raises:
            PresetError: no such preset, or a file of it is missing, damaged or not understood.
        """
        from kerass2s.presets import load_preset  # stands above this room, as the zoo does

        return load_preset(name)

    def export(self, path: Any, format: str = "tf_saved_model", search: Search | None = None) -> None:
        """Write the whole inference graph, search included, as a SavedModel directory or an ONNX file.

        Args:
            path: the directory (SavedModel) or file (ONNX) to write.
            format: "tf_saved_model" or "onnx".
            search: what the export decodes with; None for `GreedySearch()` where the targets are tokens, `Rollout()`
                where they are vectors.

        Raises:
            ConfigError: an unknown format, or a search for other targets.
        """
        from kerass2s.export import export_onnx, export_saved_model  # stands above this room

        formats = {"tf_saved_model": export_saved_model, "onnx": export_onnx}
        if format not in formats:
            raise ConfigError(f"format must be one of {', '.join(formats)}. Received: {format!r}")
        formats[format](self, path, search or self.codec.search())
