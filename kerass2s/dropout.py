"""Dropout of recurrent networks: a fresh mask at each time step, or one that a sequence keeps to its end."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerass2s.errors import ConfigError

__all__ = ["SEED", "Dropping", "HeldDropout", "HeldGRUCell", "HeldLSTMCell", "SequenceSeed", "drop"]

SEED = "dropout_seed"
SEED_BYTES = 4


@dataclass(frozen=True)
class Dropping:
    """How a recurrent network drops out, in training only.

    Args:
        rate: on the input of each layer, and on what is read out.
        recurrent: on the recurrent state h_{t-1} where it enters the gates (Gal and Ghahramani 2016, equation 7,
            arXiv:1512.05287). A sequence has one mask for all its steps; the carry of a GRU and the c of an LSTM keep
            all their units.
        variational: draw the masks of `rate` once for a sequence too, and not anew at each step.

    Raises:
        ConfigError: a rate out of [0, 1).
    """

    rate: float = 0.0
    recurrent: float = 0.0
    variational: bool = False

    def __post_init__(self) -> None:
        """Check the rates."""
        for name, rate in (("dropout", self.rate), ("recurrent_dropout", self.recurrent)):
            if not 0 <= rate < 1:
                raise ConfigError(f"{name} must be in [0, 1). Received: {rate!r}")

    @classmethod
    def of(cls, dropout: float | Dropping) -> Dropping:
        """Take a bare rate for a fresh mask at each step."""
        return dropout if isinstance(dropout, Dropping) else cls(dropout)

    @property
    def held(self) -> bool:
        """Whether a decoder has masks that a sequence keeps."""
        return self.recurrent > 0 or self._held_rate

    @property
    def _held_rate(self) -> bool:
        return self.variational and self.rate > 0

    def layer(self, name: str) -> keras.layers.Layer:
        """Make a decoder's layer for `rate`; apply it by `drop`."""
        return HeldDropout(self.rate, name) if self._held_rate else keras.layers.Dropout(self.rate, name=name)

    def reader(self, name: str) -> keras.layers.Layer:
        """Make an encoder's layer for `rate`, `[B, S, N] -> [B, S, N]`; it sees all of a sequence and needs no seed."""
        make = keras.layers.SpatialDropout1D if self._held_rate else keras.layers.Dropout
        return make(self.rate, name=name)

    def inputs(self) -> dict[str, Any]:
        """Make the Input `dropout_seed [B, 4]` where masks are held; none elsewhere."""
        return {SEED: keras.Input((SEED_BYTES,), dtype="int32", name=SEED)} if self.held else {}


def drop(layer: keras.layers.Layer, inputs: Any, known: dict[str, Any]) -> Any:
    """Apply a layer of `Dropping.layer`; one that holds its mask takes the sequence's seed from what is `known`."""
    return layer(inputs, known[SEED]) if isinstance(layer, HeldDropout) else layer(inputs)


def held(inputs: Any, rate: float, seed: Any, place: str) -> Any:
    """Drop units by the mask that this seed means at this place, `inputs [B, ..., N], seed [B, 4] -> [B, ..., N]`.

    One mask [B, N] for whatever stands between: a sequence [B, T, N] and each of its steps [B, N] get the same.
    """
    first, second, third, fourth = tf.unstack(tf.cast(tf.reduce_max(seed, axis=0), tf.int32))  # the rows are alike
    key = tf.random.fold_in(tf.stack([256 * first + second, 256 * third + fourth]), zlib.crc32(place.encode()) >> 1)
    rows, *between, width = ops.shape(inputs)
    shape = tf.stack([rows, *[1 for _ in between], width])
    return tf.nn.experimental.stateless_dropout(inputs, rate, key, noise_shape=shape)


@keras.saving.register_keras_serializable("kerass2s")
class SequenceSeed(keras.layers.Layer):
    """Draws what a batch's masks are made of, `[B, ...] -> [B, 4]` of numbers below 256; without training it is zeros.

    The rows are alike: a mask has a row for each, and rows differ there. The seed comes in bytes since Keras' RNN casts
    all that rides in its state to the type it computes in, and even bfloat16 keeps those.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Draw a seed; `inputs` gives the batch size only."""
        rows = ops.shape(inputs)[0]
        if not training:
            return ops.zeros((rows, SEED_BYTES), "int32")
        drawn = keras.random.randint((1, SEED_BYTES), 0, 256, seed=self.seed_generator)
        return ops.tile(drawn, (rows, 1))


@keras.saving.register_keras_serializable("kerass2s")
class HeldDropout(keras.layers.Layer):
    """Dropout whose mask depends on the sequence's seed alone, the same at all its steps; see `held`.

    Args:
        rate: the share of the units that are dropped; the others grow to keep the mean.
    """

    def __init__(self, rate: float, name: str, **options: Any) -> None:
        super().__init__(name=name, **options)
        self.rate = rate

    def call(self, inputs: Any, seed: Any, training: bool = False) -> Any:
        """Drop in training, `inputs [B, N] or [B, T, N], seed [B, 4]`; without training nothing is left of it."""
        return held(inputs, self.rate, seed, self.name) if training else inputs

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate}


# === Cells ===


@keras.saving.register_keras_serializable("kerass2s")
class HeldLSTMCell(keras.layers.LSTMCell):
    """An LSTM cell whose gates see h_{t-1} through one mask a sequence; the seed rides behind the state (h, c).

    Keras' own `recurrent_dropout` keeps its mask in the cell, where single steps cannot be given it.

    Args:
        units: U.
        rate: the share of the units of h that are dropped.
    """

    def __init__(self, units: int, rate: float, **options: Any) -> None:
        super().__init__(units, **options)
        self.rate = rate
        self.state_size = [units, units, SEED_BYTES]

    def call(self, inputs: Any, states: list[Any], training: bool = False) -> tuple[Any, list[Any]]:
        """Step, `inputs [B, N], [h [B, U], c [B, U], seed [B, 4]] -> h [B, U], the next states`."""
        hidden, carry, seed = states
        seen = held(hidden, self.rate, seed, self.name) if training else hidden
        output, following = super().call(inputs, [seen, carry])
        return output, [*following, seed]


@keras.saving.register_keras_serializable("kerass2s")
class HeldGRUCell(keras.layers.GRUCell):
    """A GRU cell whose gates see h_{t-1} through one mask a sequence, and which carries h_{t-1} on without it.

    Args:
        units: U.
        rate: the share of the units of h that are dropped.
    """

    def __init__(self, units: int, rate: float, **options: Any) -> None:
        super().__init__(units, **options)
        self.rate = rate
        self.state_size = [units, SEED_BYTES]

    def call(self, inputs: Any, states: list[Any], training: bool = False) -> tuple[Any, list[Any]]:
        """Step, `inputs [B, N], [h [B, U], seed [B, 4]] -> h [B, U], the next states`."""
        hidden, seed = states
        seen = held(hidden, self.rate, seed, self.name) if training else hidden
        output, _ = super().call(inputs, [seen])
        if training:
            # What the cell carried is the masked state, z seen; the mask's scale would pile up there from step to step.
            output = output + self._update_gate(inputs, seen) * (hidden - seen)
        return output, [output, seed]

    def _update_gate(self, inputs: Any, seen: Any) -> Any:
        """Make z [B, U], the share of the state that is carried on."""
        input_kernel, recurrent_kernel = (kernel[:, : self.units] for kernel in (self.kernel, self.recurrent_kernel))
        bias = ops.sum(self.bias[:, : self.units], axis=0)
        return self.recurrent_activation(ops.matmul(inputs, input_kernel) + ops.matmul(seen, recurrent_kernel) + bias)
