"""LSTM and GRU layers that train faster on a CPU: Keras' own, with a time loop and a gradient written by hand.

Keras multiplies by all weights at each step, lets TensorFlow remember every intermediate result and adds up a gradient
of the weights at each step. Here a step multiplies by the recurrent kernel alone: the inputs of all steps are projected
by one matmul before the loop, the gradients of both kernels are one matmul each after the backward loop, and what is
kept of a step is its gates and its state. Gates are computed in float32 whatever the policy, each step's by one kernel
that XLA compiles for the batch's size.

Outside of training, on a GPU (where Keras uses cuDNN) and for options that are not covered, the layers are Keras' own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

__all__ = ["GRU", "LSTM", "set_fused"]


class _Weights(NamedTuple):
    """Of one layer with G gates: kernel [N, G U], recurrent kernel [U, G U], bias [G U] and, of a GRU, a second one."""

    kernel: tf.Tensor
    recurrent_kernel: tf.Tensor
    bias: tf.Tensor
    recurrent_bias: tf.Tensor | None = None

    def add(self, h: tf.Tensor) -> tf.Tensor:
        """Return what the state adds to the gates, `[B, U] -> [B, G U]`."""
        added = tf.matmul(h, self.recurrent_kernel)
        return added if self.recurrent_bias is None else tf.nn.bias_add(added, self.recurrent_bias)


# === Gates ===


def _wide(*tensors: tf.Tensor) -> list[tf.Tensor]:
    return [tf.cast(tensor, tf.float32) for tensor in tensors]


class _LSTMGates:
    """The arithmetic of an LSTM's step, and its derivative; everything in float32.

    `forward(projected [B, 4U], recurrent [B, 4U], h, c) -> kept [B, 4U], next states`; what is kept and the states
    before the step are all that `backward` needs. That one gives the gradients at the two sums that go into the gates,
    side by side where they are not the same, and at the states, as far as it does not come through the recurrence.
    """

    @staticmethod
    def forward(projected: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tuple[Any, ...]:
        # sigmoid(x) = (tanh(x / 2) + 1) / 2: one tanh for all four, which XLA makes one loop of, without a concat.
        sigmoid = tf.repeat(tf.constant([0.5, 0.5, 0.0, 0.5]), h.shape[-1])
        kept = (1 - sigmoid) * tf.tanh((1 - sigmoid) * (projected + recurrent)) + sigmoid
        i, f, g, o = tf.split(kept, 4, axis=1)
        c = f * c + i * g
        return kept, o * tf.tanh(c), c

    @staticmethod
    def backward(kept: tf.Tensor, h: tf.Tensor, c: tf.Tensor, dh: tf.Tensor, dc: tf.Tensor) -> tuple[Any, ...]:
        i, f, g, o = tf.split(kept, 4, axis=1)
        squashed = tf.tanh(f * c + i * g)
        dc += dh * o * (1 - squashed * squashed)
        gates = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * squashed * o * (1 - o)]
        return tf.concat(gates, 1), tf.zeros_like(dh), dc * f

    @staticmethod
    def projected(gradient: tf.Tensor) -> tf.Tensor:
        """Of what `backward` gave, [..., 4U]: the gradient at the projected input."""
        return gradient

    recurrent = projected


class _GRUGates:
    """The arithmetic of a GRU's step with `reset_after`; see `_LSTMGates`, but with one state and three gates."""

    @staticmethod
    def forward(projected: tf.Tensor, recurrent: tf.Tensor, h: tf.Tensor) -> tuple[Any, ...]:
        (z, r, g), (hz, hr, hg) = tf.split(projected, 3, axis=1), tf.split(recurrent, 3, axis=1)
        z, r = tf.sigmoid(z + hz), tf.sigmoid(r + hr)
        g = tf.tanh(g + r * hg)
        return tf.concat([z, r, g, hg], 1), z * h + (1 - z) * g

    @staticmethod
    def backward(kept: tf.Tensor, h: tf.Tensor, dh: tf.Tensor) -> tuple[Any, ...]:
        z, r, g, hg = tf.split(kept, 4, axis=1)
        dg = dh * (1 - z) * (1 - g * g)
        gates = [dh * (h - g) * z * (1 - z), dg * hg * r * (1 - r), dg, dg * r]
        return tf.concat(gates, 1), dh * z

    @staticmethod
    def projected(gradient: tf.Tensor) -> tf.Tensor:
        """Of what `backward` gave, [..., 4U]: the gradient at the projected input [..., 3U]."""
        return gradient[..., : gradient.shape[-1] // 4 * 3]

    @staticmethod
    def recurrent(gradient: tf.Tensor) -> tf.Tensor:
        """Of what `backward` gave, [..., 4U]: the gradient at what the state adds, [..., 3U]."""
        z, r, _, g = tf.split(gradient, 4, axis=-1)
        return tf.concat([z, r, g], -1)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _open_gates(gates: Any, sums: Any, states: Any, real: tf.Tensor | None) -> list[tf.Tensor]:
    """Return what `gates.forward` gives, in the layer's own dtype; the states as they were where not `real [B, 1]`."""
    before = _wide(*states)
    kept, *after = gates.forward(*_wide(*sums), *before)
    if real is not None:
        after = [tf.where(real, new, old) for new, old in zip(after, before, strict=True)]
    return [tf.cast(each, states[0].dtype) for each in (kept, *after)]


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _close_gates(gates: Any, kept: Any, arriving: Any, dstates: Any, real: tf.Tensor | None) -> list[tf.Tensor]:
    """Return what `gates.backward` gives where `real [B, 1]`, the first of it in the layer's own dtype.

    What arrives at h in that dtype, of the output and through the recurrence, is added to its gradient.
    """
    dstates = [sum(_wide(*arriving), dstates[0]), *dstates[1:]]
    dsums, *before = gates.backward(*_wide(*kept), *dstates)
    if real is not None:
        share = tf.cast(real, tf.float32)
        dsums *= share
        before = [old + share * (new - old) for new, old in zip(before, dstates, strict=True)]
    return [tf.cast(dsums, arriving[0].dtype), *before]


# === Loop ===


def run_layer(gates: Any, inputs: tf.Tensor, states: list[tf.Tensor], weights: _Weights, mask: Any) -> list[tf.Tensor]:
    """Run over time, `inputs [T, B, N], states [B, U] -> outputs [T, B, U], last states`; differentiable once.

    Where `mask [T, B, 1]` is false a step leaves the states as they are, and its output is the h that stands there.
    """
    count = len(states)

    @tf.custom_gradient
    def run(inputs: tf.Tensor, *given: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        states, weights = given[:count], _Weights(*given[count:])
        outputs, last, kept = _forward(gates, inputs, states, weights, mask)

        def gradient(doutputs: tf.Tensor, *dlast: tf.Tensor) -> list[tf.Tensor]:
            before = tf.concat([states[0][tf.newaxis], outputs[:-1]], 0)
            dgates, dstates = _backward(gates, doutputs, dlast, weights, kept, before, mask)
            dinputs, dweights = _finish(gates, dgates, inputs, before, weights)
            return [dinputs, *dstates, *dweights]

        return [outputs, *last], gradient

    return run(inputs, *states, *(each for each in weights if each is not None))


def _forward(gates: Any, inputs: Any, states: Any, weights: _Weights, mask: Any) -> tuple[Any, ...]:
    """Return outputs [T, B, U], last states, and what the backward loop reads: arrays of gates and of states before.

    Not of h before, which the outputs tell.
    """
    length, kind = tf.shape(inputs)[0], inputs.dtype
    projected = tf.nn.bias_add(tf.matmul(_rows(inputs), weights.kernel), weights.bias)
    projected = tf.reshape(projected, [length, -1, projected.shape[-1]])

    def step(t: tf.Tensor, before: Any, outputs: Any, kept: Any) -> tuple[Any, ...]:
        sums = projected[t], weights.add(before[0])
        one, *after = _open_gates(gates, sums, before, None if mask is None else mask[t])
        remembered = (one, *before[1:])
        kept = tuple(array.write(t, each) for array, each in zip(kept, remembered, strict=True))
        return t + 1, tuple(after), outputs.write(t, after[0]), kept

    arrays = tuple(_array(kind, length) for _ in states)
    begin = (tf.constant(0), tuple(states), _array(kind, length), arrays)
    _, last, outputs, kept = tf.while_loop(lambda t, *_: t < length, step, begin, _any_batch(begin))
    outputs = outputs.stack()
    outputs.set_shape([*inputs.shape[:2], states[0].shape[-1]])
    for each, first in zip(last, states, strict=True):
        each.set_shape(first.shape)
    return outputs, list(last), kept


def _backward(
    gates: Any, doutputs: Any, dlast: Any, weights: _Weights, kept: Any, before: tf.Tensor, mask: Any
) -> tuple[Any, ...]:
    """Return the gradients at the gates' sums, [T, B, G U] as `gates.backward` has them, and at the first states.

    `before [T, B, U]` is h_{t-1}.
    """
    length, kind = tf.shape(doutputs)[0], doutputs.dtype
    turned = tf.transpose(weights.recurrent_kernel)

    def step(t: tf.Tensor, returning: tf.Tensor, dstates: Any, dgates: Any) -> tuple[Any, ...]:
        one, *states = (array.read(t) for array in kept)
        real = None if mask is None else mask[t]
        dsums, *earlier = _close_gates(gates, (one, before[t], *states), (doutputs[t], returning), dstates, real)
        return t - 1, tf.matmul(gates.recurrent(dsums), turned), tuple(earlier), dgates.write(t, dsums)

    dh, *others = dlast
    begin = (length - 1, dh, (tf.zeros_like(dh, tf.float32), *_wide(*others)), _array(kind, length))
    _, returning, dstates, dgates = tf.while_loop(lambda t, *_: t >= 0, step, begin, _any_batch(begin))
    dstates = [dstates[0] + tf.cast(returning, tf.float32), *dstates[1:]]
    return dgates.stack(), [tf.cast(each, kind) for each in dstates]


def _finish(gates: Any, dgates: Any, inputs: Any, before: Any, weights: _Weights) -> tuple[Any, list[tf.Tensor]]:
    """Return the gradients at the inputs [T, B, N] and the weights, of all steps at once; `before` is h_{t-1}."""
    dprojected, drecurrent = _rows(gates.projected(dgates)), _rows(gates.recurrent(dgates))
    dinputs = tf.reshape(tf.matmul(dprojected, tf.transpose(weights.kernel)), tf.shape(inputs))
    ones = tf.ones([1, tf.shape(dprojected)[0]], inputs.dtype)  # a matmul sums in float32, and is quick
    dweights = [
        tf.matmul(_rows(inputs), dprojected, transpose_a=True),
        tf.matmul(_rows(before), drecurrent, transpose_a=True),
        tf.matmul(ones, dprojected)[0],
    ]
    return dinputs, dweights if weights.recurrent_bias is None else [*dweights, tf.matmul(ones, drecurrent)[0]]


def _rows(sequence: tf.Tensor) -> tf.Tensor:
    """`[T, B, N] -> [T B, N]`."""
    return tf.reshape(sequence, [-1, sequence.shape[-1]])


def _array(kind: tf.DType, length: tf.Tensor) -> tf.TensorArray:
    # Eager ones forget what was read, and the way back reads again for each gradient that is asked for.
    return tf.TensorArray(kind, length, clear_after_read=False)


def _any_batch(variables: Any) -> Any:
    """Say that of the loop's variables only the widths are known."""

    def shape(variable: Any) -> tf.TensorShape:
        if isinstance(variable, tf.TensorArray):
            return tf.TensorShape(None)
        return tf.TensorShape([None, variable.shape[-1]] if len(variable.shape) else [])

    return tf.nest.map_structure(shape, variables)


# === Layers ===


class _Fused:
    """What both layers share: when the loop above runs, and how it stands in for Keras' own `inner_loop`."""

    fused = False
    """Set by `set_fused`."""

    def _covered(self) -> bool:
        gates = (self.activation, self.recurrent_activation) == (keras.activations.tanh, keras.activations.sigmoid)
        further = self.dropout or self.recurrent_dropout or self.unroll
        narrow = self.compute_dtype != "float64"
        return gates and self.use_bias and narrow and not further and not tf.config.list_logical_devices("GPU")

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """Run the layer as Keras asks for it, `[B, T, N] -> last output [B, U], outputs [B, T, U], last states`."""
        if not (training and self.fused and self._covered()):
            return super().inner_loop(sequences, initial_state, mask, training)
        inputs, states = tf.convert_to_tensor(sequences), tf.nest.flatten(initial_state)
        weights = _Weights(*(tf.cast(tf.convert_to_tensor(each), inputs.dtype) for each in self._weights()))
        # What Keras' RNN gives, sliced, does not know its own width.
        inputs = tf.transpose(tf.ensure_shape(inputs, [None, None, weights.kernel.shape[0]]), [1, 0, 2])
        if mask is not None:
            mask = tf.transpose(tf.nest.flatten(mask)[0])[:, :, tf.newaxis]
        if self.go_backwards:
            # Not [::-1], whose gradient is slow.
            inputs, mask = tf.reverse(inputs, [0]), None if mask is None else tf.reverse(mask, [0])
        outputs, *last = run_layer(self.gates, inputs, states, weights, mask)
        if mask is not None:
            # At padding Keras repeats the last real output, and has zeros where there is none or it is asked for them.
            shown = mask if self.zero_output_for_mask else tf.cumsum(tf.cast(mask, tf.int32)) > 0
            outputs = tf.where(shown, outputs, tf.zeros_like(outputs))
        return outputs[-1], tf.transpose(outputs, [1, 0, 2]), last


@keras.saving.register_keras_serializable("kerass2s")
class LSTM(_Fused, keras.layers.LSTM):
    """Keras' LSTM, which may be fused in training.

    It has the name of Keras' class: weights in a file are named after the class of their layer.
    """

    gates = _LSTMGates

    def _weights(self) -> tuple[Any, ...]:
        cell = self.cell
        return cell.kernel, cell.recurrent_kernel, cell.bias


@keras.saving.register_keras_serializable("kerass2s")
class GRU(_Fused, keras.layers.GRU):
    """Keras' GRU, which may be fused in training; see `LSTM`."""

    gates = _GRUGates

    def _covered(self) -> bool:
        return self.reset_after and super()._covered()

    def _weights(self) -> tuple[Any, ...]:
        cell = self.cell
        return cell.kernel, cell.recurrent_kernel, cell.bias[0], cell.bias[1]


def set_fused(model: keras.Model, fused: bool) -> None:
    """Say for all layers of a model, however deep, whether they train fused; a traced graph stays as it is."""
    for layer in model._flatten_layers():
        if isinstance(layer, _Fused):
            layer.fused = fused
