"""Seq2Seq: encoder, decoder and their tokenizers as one keras.Model that fits, generates, saves and exports."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

import keras
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.data import Batching, ShortFirst
from kerass2s.data.curriculum import Pace
from kerass2s.decoders import Decoder
from kerass2s.errors import ConfigError
from kerass2s.fused import set_fused
from kerass2s.inference import GraphCache, Inference
from kerass2s.text import SentencePieceTokenizer
from kerass2s.training import Standing, TeacherForcing
from kerass2s.training.distribution import (
    Workers,
    expect_sums,
    needing_all_workers,
    share_of_steps,
    shares,
    summed,
)
from kerass2s.training.standing import Position

__all__ = ["Seq2Seq"]

COMPILED = 8_000_000
"""Up to how many numbers of a weight an update is compiled: XLA writes what is new beside what is old, and memory of
more than 32 MB is fetched from the system, and filled with zeros, for each update."""


@keras.saving.register_keras_serializable("kerass2s")
class Seq2Seq(Inference, keras.Model):
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

    Raises:
        ConfigError: a config that is no dataclass, which no export or preset could write down.
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
        if not is_dataclass(config):
            raise ConfigError(f"config must be a dataclass of the architecture's settings. Received: {config!r}")
        super().__init__(name=architecture)
        self.encoder = encoder
        self.decoder = decoder
        self.codec = codec
        self.architecture = architecture
        self.config = config
        self._own_feeding = feeding or TeacherForcing()
        self.feeding = self._own_feeding
        self._graphs = GraphCache()
        self.position: Position | None = None
        self.built = True

    # === Training ===

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Run teacher forced, or in training as the feeding says: `source_ids [B, S], target_ids [B, T] -> [B, T, V]`.

        `target_ids` is the target shifted right: `[start, y_1, …]`.
        """
        source = {name: inputs[name] for name in self.encoder.input}
        target = inputs[self.decoder.target_name]
        start = self.decoder.begin(self.encoder(source, training=training), training=training)
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

    def count_batches(self) -> int:
        """Count the batches so far; several make one update where gradients are accumulated."""
        return int(self.optimizer.iterations.numpy()) * (self.optimizer.gradient_accumulation_steps or 1)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Sum the compiled loss, in training as much of it as the feeding leaves, and what layers and feeding add.

        With several replicas the losses of all of them add up to the loss of their batches as one.
        """
        whole = super().compute_loss(x, y, y_pred, sample_weight, training) * share_of_steps(y, sample_weight)
        share = self.feeding.likelihood
        if not training or share == 1:
            return whole
        return share * whole + (1 - share) * sum(self.losses)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train on a batch, and return the metrics and what the feeding has to show.

        As `keras.Model.train_step`, but for the gradients of embeddings, which come row by row: all rows of a token are
        summed before they are clipped and used. Keras' optimizers take a gradient's square row by row, so that by Adam
        a token that stands in a batch n times can move by up to sqrt(n) as much, and its clipping is of such rows too.
        So are the gradients of all replicas.
        """
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        shown = self.feeding.report(self._updates())
        with tf.GradientTape() as tape:
            outputs = self(inputs, training=True)
            loss = self.compute_loss(inputs, labels, outputs, weights, training=True)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_weights)
        dense = [None if each is None else tf.convert_to_tensor(each) for each in gradients]
        self._update(summed(dense))
        return {**self._measure(inputs, labels, outputs, weights, loss), **shown}

    def _update(self, gradients: list[Any]) -> None:
        """Let the optimizer use the gradients; where fused by a program that XLA makes, not some dozen ops a weight."""

        def update(*gradients: Any) -> None:
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))

        if self._updates_compiled():
            update = tf.function(update, jit_compile=True, autograph=False)
        update(*gradients)

    def _updates_compiled(self) -> bool:
        small = all(weight.shape.num_elements() <= COMPILED for weight in self.trainable_weights)
        one = self.distribute_strategy.num_replicas_in_sync == 1
        return self.fused and small and one and tf.inside_function() and not tf.config.list_logical_devices("GPU")

    def test_step(self, data: Any) -> dict[str, Any]:
        """Score a batch, teacher forced, and return the metrics."""
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self(inputs, training=False)
        loss = self.compute_loss(inputs, labels, outputs, weights, training=False)
        return self._measure(inputs, labels, outputs, weights, loss)

    def _measure(self, inputs: Any, labels: Any, outputs: Any, weights: Any, loss: Any) -> dict[str, Any]:
        """Add a batch to the mean of the losses, by its rows, and to the other metrics."""
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(summed([loss])[0], sample_weight=tf.shape(tf.nest.flatten(inputs)[0])[0])
        return self.compute_metrics(inputs, labels, outputs, weights)

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        *,
        feeding: Any = None,
        weighted_metrics: list[Any] | None = None,
        jit_compile: bool = False,
        fused: bool = False,
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
            fused: train the recurrent layers by a time loop of our own, project to the vocabulary and take the
                cross-entropy in one, without the logits [B, T, V], and let XLA compile the optimizer's update, each
                where it can stand in for what Keras does; see `kerass2s.fused`, `kerass2s.projection` and
                docs/performance.md. The numbers are the same but for rounding; with a policy of bfloat16 the logits,
                too, are computed in that.
            **options: `run_eagerly`, `steps_per_execution`, … of `keras.Model.compile`.

        Raises:
            ConfigError: fused and jit_compile; or several replicas, and what does not add up to that of one device: a
                loss that is no mean over the real steps, a feeding with an objective, accumulated gradients.
        """
        if fused and jit_compile:
            raise ConfigError(
                f"XLA compiles no loops of open length: no jit_compile with fused. Received: {jit_compile}"
            )
        loss = loss or self.codec.loss()
        self.feeding = feeding or self._own_feeding
        self.fused = fused
        set_fused(self, fused)
        self.decoder.fused = fused
        super().compile(
            optimizer=optimizer,
            loss=loss,
            weighted_metrics=self.codec.metrics() if weighted_metrics is None else weighted_metrics,
            jit_compile=jit_compile,
            **options,
        )
        if self.distribute_strategy.num_replicas_in_sync > 1:
            self._prepare_for_replicas(loss)

    def _prepare_for_replicas(self, loss: Any) -> None:
        if getattr(loss, "reduction", None) != "mean_with_sample_weight":
            raise ConfigError(
                'With several replicas a loss is an object with reduction="mean_with_sample_weight", the mean over the '
                f"real steps of all replicas. Received: {loss!r}"
            )
        if self.feeding.likelihood != 1:
            raise ConfigError(
                "With several replicas the compiled loss alone is minimised; train on one device by what a feeding "
                f"minimises. Received: {type(self.feeding).__name__}"
            )
        expect_sums(self.optimizer)

    def get_compile_config(self) -> dict[str, Any]:
        """Return what `keras.saving` keeps of `compile`, the feeding included."""
        config = super().get_compile_config()
        if not config:
            return {}
        return {**config, "feeding": keras.saving.serialize_keras_object(self.feeding), "fused": self.fused}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile again as `get_compile_config` told, so that a reloaded model goes on training."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *,
        validation_data: Any = None,
        batching: Batching | None = None,
        seed: int = 0,
        curriculum: ShortFirst | None = None,
        standing: Standing | None = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """Train; like `keras.Model.fit`, to which `options` go as they are.

        Args:
            x: a list of pairs, a tf.data.Dataset of (source, target) strings, or anything `keras.Model.fit` takes.
                A side that is vectors is an array of floats, [S, N] or [T, D].
            y: only as in `keras.Model.fit`.
            validation_data: of the same kinds; scored teacher forced. See `FreeRunningValidation` for the other way.
            batching: how pairs are put into batches; None for `BucketByExamples()`.
            seed: of the order of the pairs; the same seed gives the same batches, those of an epoch by its number.
            curriculum: which pairs each step draws from, such as `ShortFirst(steps=5000)`; None for all.
            standing: where a run that was cut short goes on, as `Checkpoints.restore` tells; None for the beginning.
            **options: `epochs`, `callbacks`, `initial_epoch`, … of `keras.Model.fit`.

        Raises:
            ConfigError: a curriculum for what is no pairs.
            TrainingError: of several workers one is gone.
        """
        position = Position(standing or Standing(options.get("initial_epoch", 0)))
        data = self.codec.batches(x, batching, seed, Pace(curriculum, position.begin, position.epoch))
        if curriculum is not None and data is x:
            raise ConfigError(f"A curriculum orders pairs, and batches have their order. Received: {type(x).__name__}")
        if isinstance(data, tf.data.Dataset):
            options["shuffle"] = False  # it shuffles by itself, and Keras warns when asked to
        if standing is not None:
            options["initial_epoch"] = standing.epoch
        dev = None if validation_data is None else self._shared(self.codec.batches(validation_data, batching, None))
        options["callbacks"] = position.before(options.get("callbacks"))
        self.position, position.data = position, data
        self._build_optimizer()
        try:
            with needing_all_workers():
                return super().fit(self._shared(data), y, validation_data=dev, **options)
        finally:
            self.train_function = position.train or self.train_function
            self.position = None

    def make_train_function(self, force: bool = False) -> None:
        """Make what trains on batches as `keras.Model` does; those that a run was cut short after pass by."""
        super().make_train_function(force)
        train, passing = self.train_function, self.position.start.batch if self.position else 0

        def step(iterator: Any) -> Any:
            nonlocal passing
            if passing <= 0:
                self.train_function = train
                return train(iterator)
            for _ in range(self.steps_per_execution):
                next(iterator)
                passing -= 1
            return self.get_metrics_result()

        if passing:
            self.position.train, self.train_function = train, step

    def trained_batches(self, first: int, last: int) -> list[Any]:
        """Return batches of the epoch that `fit` is in, by their numbers, as they were trained on; for callbacks.

        There are none where `fit` was given what is no tf.data.Dataset, nor pairs.
        """
        data = self.position and self.position.data
        return list(data.skip(first).take(last - first + 1)) if isinstance(data, tf.data.Dataset) else []

    def _build_optimizer(self) -> None:
        """Make what the optimizer remembers of each weight: TensorFlow traces a step that makes it itself twice."""
        if self.compiled and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    # === Several replicas ===

    def _shared(self, data: Any) -> Any:
        """Cut a dataset's batches among the replicas, where there are several.

        Raises:
            ConfigError: it is no dataset; Keras would cut it otherwise on each worker.
        """
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            return data
        if not isinstance(data, tf.data.Dataset):
            raise ConfigError(f"Several replicas take pairs or a tf.data.Dataset. Received: {type(data).__name__}")
        super()._maybe_symbolic_build(data_batch=data.element_spec)
        return shares(data, strategy)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Leave datasets to `_shared`.

        Keras 3.15 makes the variables of metrics by the mean of the replicas' first batches, whose shapes differ.
        """
        if iterator is None:
            super()._maybe_symbolic_build(data_batch=data_batch)

    def _make_function(self, step_function: Callable[[Any], dict[str, Any]]) -> Callable[..., Any]:
        """Make what runs a step on all replicas.

        Of several workers Keras 3.15 takes the mean along the figures' first axis, so they are given one.
        """
        if Workers(self.distribute_strategy).count == 1:
            return super()._make_function(step_function)
        return super()._make_function(lambda data: {name: each[None] for name, each in step_function(data).items()})

    def evaluate(self, x: Any = None, y: Any = None, *, batching: Any = None, **options: Any) -> Any:
        """Return loss and metrics, teacher forced; takes what `fit` takes. `options` go to `keras.Model.evaluate`."""
        data = (
            x
            if isinstance(x, tf.distribute.DistributedDataset)
            else self._shared(self.codec.batches(x, batching, None))
        )
        return super().evaluate(data, y, **options)

    def predict(self, x: Any, **options: Any) -> Any:
        """Return teacher-forced logits of tokenised batches as `keras.Model.predict`; for text see `generate`."""
        return super().predict(x, **options)

    # === Inference ===

    def networks(self) -> list[keras.Model]:
        """Return the model itself."""
        return [self]

    def rewired_encoder(self, rewire: Callable[[keras.Model], keras.Model]) -> keras.Model:
        """Return the encoder in another wiring, for an exporter."""
        return rewire(self.encoder)

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

    @staticmethod
    def from_preset(name: Any) -> Seq2Seq:
        """Load a model from a preset's name or directory.

        Raises:
            PresetError: no such preset, it is an ensemble, or a file of it is missing, damaged or not understood.
        """
        from kerass2s.presets import load_single  # stands above this room, as the zoo does

        return load_single(name)
