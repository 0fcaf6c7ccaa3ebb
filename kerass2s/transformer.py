"""What transformers are made of: multi-head attention, feed-forward networks, residuals with their norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kerass2s.attention import Attention
from kerass2s.context import choose
from kerass2s.elements import Elements, Tokens
from kerass2s.errors import ConfigError
from kerass2s.positions import SinusoidalPositions

__all__ = [
    "CausalMask",
    "Entrance",
    "MultiHeadAttention",
    "Residual",
    "ScaledDotProductAttention",
    "feed_forward",
    "final_norm",
]

NORMS = {"post": False, "pre": True}
EPSILON = 1e-6


@keras.saving.register_keras_serializable("kerass2s")
class ScaledDotProductAttention(Attention):
    """softmax(Q K^T / sqrt(d_k)) V (Vaswani et al. 2017, equation 1), of h heads at once.

    The query is [B, h, T, d_k], keys [B, h, S, d_k] and values, in the memory's place, [B, h, S, d_v]; the mask may
    differ from query to query: [B, T, S], or 1 for what is the same everywhere.
    """

    def score(self, query: Any, keys: Any) -> Any:
        """Score, `query [B, h, T, d_k], keys [B, h, S, d_k] -> [B, h, T, S]`."""
        return ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(keys, (0, 1, 3, 2)))


@keras.saving.register_keras_serializable("kerass2s")
class MultiHeadAttention(keras.layers.Layer):
    """Concat(head_1, … head_h) W^O, head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V) (Vaswani et al. 2017, section 3.2.2).

    Keys and values are made by `project`, once for a sequence, with the heads side by side: [B, S, U].

    Args:
        units: U, h times d_k = d_v.
        heads: h.
        name: of the layer; it begins the names of the layers inside.
        **options: as of every Keras layer.

    Raises:
        ConfigError: the heads do not share the units evenly.
    """

    def __init__(self, units: int, heads: int, name: str = "attention", **options: Any) -> None:
        if units % heads:
            raise ConfigError(f"heads must divide units, which are {units}. Received: {heads}")
        super().__init__(name=name, **options)
        self.units, self.heads = units, heads
        self.query_projection, self.key_projection, self.value_projection, self.output_projection = (
            keras.layers.Dense(units, use_bias=False, name=f"{name}_{role}")
            for role in ("query", "key", "value", "output")
        )
        self.attention = ScaledDotProductAttention(name="heads")

    def build(self, query_shape: tuple[int | None, ...], *others: Any) -> None:
        """Build what the query and the heads' answers meet; `project` built the rest."""
        self.query_projection.build(query_shape)
        self.output_projection.build((*query_shape[:-1], self.units))

    def project(self, memory: Any) -> tuple[Any, Any]:
        """Make keys and values, `memory [B, S, M] -> keys [B, S, U], values [B, S, U]`."""
        return self.key_projection(memory), self.value_projection(memory)

    def call(self, query: Any, keys: Any, values: Any, mask: Any) -> tuple[Any, Any]:
        """Attend, `query [B, T, U], keys, values [B, S, U] -> [B, T, U], mean alignment of the heads [B, T, S]`.

        `mask` is bool [B, T, S], or 1 for what is the same everywhere: true where a query may look.
        """
        answers, alignments = self.attention(
            self._split(self.query_projection(query)), self._split(keys), self._split(values), mask
        )
        return self.output_projection(self._join(answers)), ops.mean(alignments, axis=1)

    # Reshape and transpose would do, but tf2onnx breaks them; of stack and unstack OpenVINO makes a fusion that fails.

    def _split(self, vectors: Any) -> Any:
        """[B, T, U] -> [B, h, T, U / h]."""
        return ops.concatenate(ops.split(ops.expand_dims(vectors, 1), self.heads, axis=3), axis=1)

    def _join(self, answers: Any) -> Any:
        """[B, h, T, U / h] -> [B, T, U]."""
        return ops.squeeze(ops.concatenate(ops.split(answers, self.heads, axis=1), axis=3), axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units, "heads": self.heads}


@keras.saving.register_keras_serializable("kerass2s")
class CausalMask(keras.layers.Layer):
    """Lets a position see what came before it and itself: bool [1, T, t + T] for T positions after a cache of t."""

    def call(self, vectors: Any, past: Any) -> Any:
        """Mask for `vectors [N, T, …]` that continue `past [N, t, …]`."""
        known, new = ops.shape(past)[1], ops.shape(vectors)[1]
        mask = ops.expand_dims(ops.arange(known + new), 0) <= ops.expand_dims(known + ops.arange(new), 1)
        return ops.expand_dims(mask, 0)


class Residual:
    """A sub-layer F with its residual connection, dropout and layer normalisation.

    "post" is LayerNorm(x + Dropout(F(x))) (Vaswani et al. 2017, sections 3.1 and 5.4); "pre" is
    x + Dropout(F(LayerNorm(x))), which trains without a warm-up (Xiong et al. 2020, arXiv:2002.04745).
    """

    def __init__(self, norm: str, dropout: float, name: str) -> None:
        self.before = choose("norm", norm, NORMS)
        self.norm = keras.layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm")
        self.dropout = keras.layers.Dropout(dropout, name=f"{name}_dropout")

    def __call__(self, vectors: Any, sublayer: Callable[[Any], Any]) -> Any:
        """Run, `[N, T, U] -> [N, T, U]`."""
        if self.before:
            return vectors + self.dropout(sublayer(self.norm(vectors)))
        return self.norm(vectors + self.dropout(sublayer(vectors)))


def feed_forward(units: int, inner_units: int, name: str) -> keras.Sequential:
    """Make max(0, x W_1 + b_1) W_2 + b_2, `[N, T, U] -> [N, T, U]` (Vaswani et al. 2017, equation 2)."""
    layers = [
        keras.Input((None, units)),
        keras.layers.Dense(inner_units, activation="relu", name="inner"),
        keras.layers.Dense(units, name="outer"),
    ]
    return keras.Sequential(layers, name=name)


def final_norm(norm: str) -> keras.layers.Layer:
    """Make what ends a stack: with "pre" its sum was never normalised; with "post" there is nothing left to do."""
    if choose("norm", norm, NORMS):
        return keras.layers.LayerNormalization(epsilon=EPSILON, name="final_norm")
    return keras.layers.Identity(name="final_norm")


class Entrance:
    """How elements enter a stack: as vectors [N, T, U], with their positions, then dropout.

    Embeddings are scaled by sqrt(U) (Vaswani et al. 2017, section 3.4). Elements of another width than U are mapped to
    it by a learned matrix in the scale's place.
    """

    def __init__(self, elements: Elements, side: str, units: int, dropout: float) -> None:
        width = elements.embedding_size if isinstance(elements, Tokens) else elements.size
        self.embedding = elements.embedding(side)
        scale = keras.layers.Rescaling(units**0.5, name=f"{side}_scale")
        self.fitting = scale if width == units else keras.layers.Dense(units, name=f"{side}_projection")
        self.positions = SinusoidalPositions(name=f"{side}_positions")
        self.dropout = keras.layers.Dropout(dropout, name=f"{side}_dropout")

    def __call__(self, elements: Any, past: Any = None) -> Any:
        """Embed `elements [N, T]` (or [N, T, width]) that continue a cache `past [N, t, …]`."""
        return self.dropout(self.positions(self.fitting(self.embedding(elements)), past))
