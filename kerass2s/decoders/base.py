"""The decoder's contract: three Functional graphs (start, sequence, step) over the same layer objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
from keras import ops

from kerass2s.decoding import StepOutput
from kerass2s.dropout import SEED, Dropping, SequenceSeed, drop
from kerass2s.elements import Elements, OneHot, Tokens
from kerass2s.errors import ConfigError
from kerass2s.projection import Unprojected

__all__ = [
    "Decoder",
    "DenseReadout",
    "MaxoutReadout",
    "ParallelDecoder",
    "Readout",
    "Start",
    "TiedLogits",
    "named_inputs",
    "to_predictions",
]


@dataclass(frozen=True)
class _Graphs:
    """The two graphs beside the sequence one; a plain object, so that Keras does not count their weights twice."""

    start: keras.Model
    sequence: tuple[dict[str, Any], Any]
    step: keras.Model
    target_name: str

    @cached_property
    def features(self) -> keras.Model | None:
        """The sequence's layers but for the last, where that is the projection of tokens; None where it is not."""
        inputs, prediction = self.sequence
        last = prediction._keras_history
        if self.target_name != Tokens.target_name or not isinstance(last.operation, (keras.layers.Dense, TiedLogits)):
            return None
        return keras.Model(inputs, last.operation._inbound_nodes[last.node_index].input_tensors[0], name="features")

    def unprojected(self, inputs: dict[str, Any]) -> Unprojected:
        """Run the sequence in training as far as its last layer, `-> logits [B, T, V]` that are not made."""
        layer = self.sequence[1]._keras_history.operation
        kernel = ops.transpose(layer.embedding.embeddings) if isinstance(layer, TiedLogits) else layer.kernel
        return Unprojected(self.features(inputs, training=True), kernel, layer.bias if layer.use_bias else None)

    @cached_property
    def soft_step(self) -> keras.Model:
        """The step's layers once more, behind an input of probabilities [B, V] in place of ids [B]."""
        embedding = self.step.get_layer("target_embedding")
        size = embedding.depth if isinstance(embedding, OneHot) else embedding.input_dim
        inputs = {**self.step.input, self.target_name: keras.Input((size,), name=self.target_name)}
        return keras.models.clone_model(
            self.step,
            input_tensors=inputs,
            clone_function=lambda layer: MeanEmbedding(embedding) if layer is embedding else layer,
        )


@dataclass(frozen=True)
class Start:
    """What a decoder begins with: `state`, which changes at each step, and `memory`, which never does; batch first."""

    state: dict[str, Any]
    memory: dict[str, Any]


class Decoder(keras.Model):
    """A Functional keras.Model, `{"target_ids" [B, T], **state, **memory} -> logits [B, T, V]`, that can also step.

    Subclasses build their layers, wire them three times and hand the graphs over:

    - start: `{"memory", "memory_mask", "summary"} (those it needs) -> {**state, **memory}`
    - sequence: all target positions at once, teacher forced
    - step: `{"target_ids" [B], **state, **memory} -> {"prediction" [B, V], **next state, "alignment" [B, S] if any}`

    A decoder of vectors has `target_values [B, T, N]` for `target_ids`, and predicts values [B, T, N].

    Args:
        start: inputs and outputs of the first graph.
        sequence: inputs and output of the second.
        step: inputs and outputs of the third.
        target_name: "target_ids" or "target_values", the input that is the previous output.
        state_names: which of the start's outputs change at each step; the rest is memory.
        extra_layers: the start's own layers.
        mixable: the step reads a token by its embedding alone, and each token has one, so it can be fed mixtures.

    Where the sequence's inputs have a `dropout_seed`, the start draws it: masks that a sequence keeps are made of it.
    """

    def __init__(
        self,
        start: tuple[dict[str, Any], dict[str, Any]],
        sequence: tuple[dict[str, Any], Any],
        step: tuple[dict[str, Any], dict[str, Any]],
        target_name: str,
        state_names: list[str],
        extra_layers: list[keras.layers.Layer],
        mixable: bool = True,
    ) -> None:
        if SEED in sequence[0]:
            seed = SequenceSeed(name=f"draw_{SEED}")
            start = start[0], {**start[1], SEED: seed(next(iter(start[0].values())))}
            extra_layers = [*extra_layers, seed]
        super().__init__(inputs=sequence[0], outputs=sequence[1], name="decoder")
        # Layers that only the start uses (the bridge) are not in the sequence graph, but they are trained with it.
        self.start_layers = extra_layers
        self.target_name = target_name
        self.state_names = tuple(state_names)
        self._start_inputs = tuple(start[0])
        self._graphs = _Graphs(
            keras.Model(*start, name="start"), sequence, keras.Model(*step, name="step"), target_name
        )
        self.mixable = mixable and target_name == Tokens.target_name
        self.fused = False

    @property
    def aligned(self) -> bool:
        """Whether a step gives an alignment."""
        return "alignment" in self._graphs.step.output

    def begin(self, context: dict[str, Any], training: bool = False) -> Start:
        """Turn the encoder's `memory [B, S, M]`, `memory_mask [B, S]`, `summary [B, M']` into a first state.

        In training the memory also says which units are dropped, where a sequence keeps its masks (`Dropping`).
        """
        made = self._graphs.start({name: context[name] for name in self._start_inputs}, training=training)
        state = {name: made[name] for name in self.state_names}
        return Start(state, {name: value for name, value in made.items() if name not in state})

    def sequence(self, target: Any, start: Start, training: bool = False) -> Any:
        """Run teacher forced, `target [B, T]` (shifted right) `-> logits [B, T, V]`.

        In training with `fused` set they are `Unprojected`, where the last layer is a projection to the vocabulary.
        """
        inputs = {self.target_name: target, **start.state, **start.memory}
        if training and self.fused and self._graphs.features:
            return self._graphs.unprojected(inputs)
        return self(inputs, training=training)

    def step(self, target: Any, state: dict[str, Any], memory: dict[str, Any], training: bool = False) -> StepOutput:
        """Run one position, `target [B] -> logits [B, V], next state, alignment [B, S] or None`."""
        return self._stepped(self._graphs.step({self.target_name: target, **state, **memory}, training=training))

    def soft_step(
        self, probabilities: Any, state: dict[str, Any], memory: dict[str, Any], training: bool = False
    ) -> StepOutput:
        """Run one position that is fed a mixture of tokens, `probabilities [B, V] -> logits [B, V], …`.

        What is fed is the mean of the tokens' embeddings, so the gradient of the mixture is there too.

        Raises:
            ConfigError: the decoder is of vectors, looks at the ids themselves, or says tokens that have no embedding.
        """
        made = self._mixing()({self.target_name: probabilities, **state, **memory}, training=training)
        return self._stepped(made)

    def mixture(self, target: Any) -> Any:
        """Make the mixture that is one token alone, `ids [B] -> probabilities [B, V]`, for `soft_step`, and as that."""
        return ops.one_hot(target, self._mixing().input[self.target_name].shape[-1])

    def entrances(self) -> list[keras.layers.Layer]:
        """Return the layers by which what is fed enters: the embedding, and that of mixtures where they can be fed."""
        mean = [self._graphs.soft_step.get_layer("mean_target_embedding")] if self.mixable else []
        return [self.get_layer("target_embedding"), *mean]

    def _mixing(self) -> keras.Model:
        if not self.mixable:
            raise ConfigError(
                "A mixture of tokens can only be fed to a decoder that reads each token by its embedding alone; "
                f"use feedback 'sample' or 'argmax'. Received: {type(self).__name__}"
            )
        return self._graphs.soft_step

    def _stepped(self, made: dict[str, Any]) -> StepOutput:
        return StepOutput(made["prediction"], {name: made[name] for name in self.state_names}, made.get("alignment"))


class ParallelDecoder(Decoder):
    """A decoder without a recurrence, whose step is its sequence with T = 1: one function wires both.

    Args:
        elements: what the target is made of.
        start: inputs and outputs of the start graph.
        state: the inputs that change at each step, by name.
        memory: the inputs that never do.
        run: wires the layers, `target [B, T] -> prediction [B, T, V], next state, alignment [B, T, S]`.
    """

    def __init__(
        self,
        elements: Elements,
        start: tuple[dict[str, Any], dict[str, Any]],
        state: dict[str, Any],
        memory: dict[str, Any],
        run: Callable[[Any], tuple[Any, dict[str, Any], Any]],
    ) -> None:
        target, one = elements.target(None), elements.target()
        prediction, _, _ = run(target)
        stepped, following, alignment = run(ops.expand_dims(one, 1))
        super().__init__(
            start=start,
            sequence=({elements.target_name: target, **state, **memory}, prediction),
            step=(
                {elements.target_name: one, **state, **memory},
                {"prediction": stepped[:, 0], **following, "alignment": alignment[:, 0]},
            ),
            target_name=elements.target_name,
            state_names=list(state),
            extra_layers=[],
        )


class MeanEmbedding(keras.layers.Layer):
    """The mean of tokens' vectors, `probabilities [..., V] -> [..., E]`, by the table of another layer."""

    def __init__(self, embedding: keras.layers.Layer, **options: Any) -> None:
        super().__init__(name=f"mean_{embedding.name}", **options)
        self.embedding = embedding

    def call(self, probabilities: Any) -> Any:
        """Weigh the rows of the table; a one-hot vector is the mean of itself."""
        if isinstance(self.embedding, OneHot):
            return probabilities
        return ops.matmul(probabilities, ops.cast(self.embedding.embeddings, probabilities.dtype))


def named_inputs(sizes: dict[str, int | None]) -> dict[str, Any]:
    """Make one batch-first Input [B, size] for each name; None for a size that the batch decides."""
    return {name: keras.Input((size,), name=name) for name, size in sizes.items()}


@keras.saving.register_keras_serializable("kerass2s")
class TiedLogits(keras.layers.Layer):
    """Logits by the embedding's own table E [V, U], `x [..., U] -> x E^T (+ b) [..., V]`.

    Press and Wolf 2017, arXiv:1608.05859; Inan, Khosravi and Socher 2017, arXiv:1611.01462. The loss reaches the table
    from both its ends.

    Args:
        embedding: has the table.
        use_bias: add a bias b [V] of the logits' own.
    """

    def __init__(
        self, embedding: keras.layers.Embedding, use_bias: bool = False, name: str = "logits", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.embedding = embedding
        self.use_bias = use_bias

    def build(self, vectors_shape: tuple[int | None, ...]) -> None:
        """Refuse vectors that are not of the embedding's width; the table is already there."""
        if vectors_shape[-1] != self.embedding.output_dim:
            raise ConfigError(
                f"tie_embeddings needs an embedding as wide as what is read out of the decoder, {vectors_shape[-1]}. "
                f"Received: an embedding of {self.embedding.output_dim}"
            )
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.embedding.input_dim,), initializer="zeros", name="bias")

    def call(self, vectors: Any) -> Any:
        """Score every token of the vocabulary."""
        logits = ops.matmul(vectors, ops.transpose(ops.cast(self.embedding.embeddings, vectors.dtype)))
        return logits + self.bias if self.use_bias else logits

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        embedding = keras.saving.serialize_keras_object(self.embedding)
        return {**super().get_config(), "embedding": embedding, "use_bias": self.use_bias}


def to_predictions(size: int, tied: keras.layers.Layer | None = None, use_bias: bool = True) -> keras.layers.Layer:
    """Make the layer "logits", `[..., U] -> [..., size]`, in float32.

    Args:
        size: V of the target, or N of its vectors.
        tied: the target's embedding, whose table then is the layer's own; None for weights of its own.
        use_bias: whether tied logits have a bias; others do.

    Raises:
        ConfigError: what is tied has no table.
    """
    if tied is None:
        return keras.layers.Dense(size, dtype="float32", name="logits")
    if not isinstance(tied, keras.layers.Embedding):
        raise ConfigError(f"tie_embeddings needs a learned embedding of the target. Received: {type(tied).__name__}")
    return TiedLogits(tied, use_bias, dtype="float32")


class Readout:
    """The end of a decoder, from what it knows at a position to its prediction: features, dropout, a linear map.

    Subclass it to predict otherwise; `inputs` names what more of the encoder's output that takes.

    Args:
        size: V of the target, or N of its vectors.
        features: a layer called with (d_t, c_t, y_{t-1}); None for d_t alone.
        dropout: rate on the features, in training only; or a `Dropping`.
    """

    def __init__(self, size: int, features: keras.layers.Layer | None = None, dropout: float | Dropping = 0.0) -> None:
        self.features = features
        self.dropping = Dropping.of(dropout)
        self.dropped = self.dropping.layer("output_dropout")
        self.size = size
        self.to_logits = to_predictions(size)

    def tie(self, embedding: keras.layers.Layer) -> None:
        """Predict by the table of the target's embedding from here on; to be said before the first call."""
        self.to_logits = to_predictions(self.size, embedding)

    def inputs(self) -> dict[str, Any]:
        """Make one Input, batch first, for each further output of the encoder that is handed on as memory; none."""
        return {}

    def __call__(self, hidden: Any, context: Any, embedded: Any, alignment: Any, memory: dict[str, Any]) -> Any:
        """Predict, `hidden [..., U], context [..., M], embedded [..., E] -> logits [..., V]`.

        `alignment [..., S]` and `memory`, all that never changes and the previous outputs by the decoder's name for
        them, are for subclasses. `...` is B, or B and T.
        """
        features = self.features(hidden, context, embedded) if self.features else hidden
        return self.to_logits(drop(self.dropped, features, memory))


@keras.saving.register_keras_serializable("kerass2s")
class MaxoutReadout(keras.layers.Layer):
    """The maxout hidden layer between decoder and vocabulary, `d_t, c_t, y_{t-1} -> [..., units]`.

    Goodfellow et al. 2013; in Cho et al. 2014, appendix, and Bahdanau, Cho and Bengio 2015, appendix A.2.2.
    """

    def __init__(self, units: int, name: str = "readout", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.units = units
        self.dense = keras.layers.Dense(2 * units, name="dense")

    def call(self, hidden: Any, context: Any, embedded: Any) -> Any:
        """Keep the larger of each pair of units."""
        return ops.maximum(*ops.split(self.dense(ops.concatenate([hidden, context, embedded], -1)), 2, axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("kerass2s")
class DenseReadout(keras.layers.Layer):
    """One layer over state and context, `act(W [d_t; c_t] + b) [..., units]`, without y_{t-1}."""

    def __init__(self, units: int, activation: str | None = "tanh", name: str = "readout", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.units = units
        self.activation = activation
        self.dense = keras.layers.Dense(units, activation=activation, name="dense")

    def call(self, hidden: Any, context: Any, embedded: Any) -> Any:
        """Map `[d_t; c_t]`."""
        return self.dense(ops.concatenate([hidden, context], -1))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units, "activation": self.activation}
