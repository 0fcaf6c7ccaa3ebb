"""An encoder whose recurrent layers become one native ONNX LSTM or GRU node each, masks included.

tf2onnx turns a masked Keras LSTM, and every Keras GRU, into a generic Loop. Here each such layer is replaced, for the
trace only, by a TensorFlow op that tf2onnx hands to `native_recurrent`, which writes one ONNX node in its place.

The op is `CudnnRNNV3`, because it has the right shapes. It is traced and never run, and its `params` are in this file's
own layout: the ONNX tensors W, R and B, flattened and joined.

No `sequence_lens` is used, since several runtimes ignore it without a word. One more input feature, 1 at padding and 0
elsewhere, closes the gates there instead:

    LSTM   input gate row -1e4, forget gate row +1e4    c is carried exactly; h is gathered at length - 1
    GRU    update gate row +1e4                         h is carried exactly

The reverse direction meets the padding first and stays at its zero state through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s.errors import ExportError

CARRIER_OP = "CudnnRNNV3"
CLOSED_GATE = 1e4

# Position of each ONNX gate among the gates of Keras: LSTM i,f,c,o -> i,o,f,c; GRU z,r,h -> z,r,h.
GATE_ORDER = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}
# What one padded step adds to each gate, in ONNX order.
PADDING_ROW = {"lstm": (-CLOSED_GATE, 0.0, CLOSED_GATE, 0.0), "gru": (CLOSED_GATE, 0.0, 0.0)}
# The carrier's `direction`, and the `seed2` that tells a lone reverse layer from a forward one.
FORWARD, REVERSE = 0, 1


def portable_encoder(encoder: keras.Model) -> keras.Model:
    """Returns an encoder with the same layers, except that recurrent ones are `NativeRecurrent`.

    Args:
        encoder: a Functional model from `source_ids` [B, S] to a dict with `memory` [B, S, M]. It is left as it is.

    Returns:
        A Functional model of the same inputs and outputs, to be traced for tf2onnx and never run.

    Raises:
        ExportError: if a recurrent layer computes something that the ONNX operator does not.
    """
    return keras.models.clone_model(encoder, clone_function=_replace_recurrent)


def _replace_recurrent(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, (keras.layers.LSTM, keras.layers.GRU, keras.layers.Bidirectional)):
        return NativeRecurrent(layer)
    if isinstance(layer, keras.layers.RNN):
        raise ExportError(
            "Only LSTM, GRU and Bidirectional layers over them have a native ONNX operator. "
            f"Received: {type(layer).__name__} {layer.name!r}"
        )
    return layer


class NativeRecurrent(keras.layers.Layer):
    """A built LSTM, GRU or Bidirectional layer as one `CudnnRNNV3` op that stands for an ONNX node.

    Args:
        layer: the built Keras layer; its weights are copied into the graph as constants.
    """

    def __init__(self, layer: keras.layers.Layer):
        super().__init__(name=f"{layer.name}_native", trainable=False, dtype="float32")
        self.layer = layer
        self.bidirectional = isinstance(layer, keras.layers.Bidirectional)
        self.directions = [layer.forward_layer, layer.backward_layer] if self.bidirectional else [layer]
        self.merge_mode = layer.merge_mode if self.bidirectional else "concat"
        self.kind = _kind(self.directions)
        self.supports_masking = True
        self.params = np.concatenate([part.ravel() for part in onnx_weights(self.directions)])
        self.built = True

    def call(self, sequence: tf.Tensor, mask: tf.Tensor | None = None) -> Any:
        """Maps `sequence` [B, S, I] and `mask` bool [B, S] to what the Keras layer returns.

        At padded positions the outputs differ from those of Keras: no later layer may look at them unmasked.
        """
        sequence = tf.cast(sequence, tf.float32)
        if mask is None:
            mask = tf.ones(tf.shape(sequence)[:2], tf.bool)
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        outputs, hidden, cell = self._recur(sequence, mask)
        per_direction = tf.split(outputs, len(self.directions), axis=2)
        states = []
        for index, (layer, output) in enumerate(zip(self.directions, per_direction, strict=True)):
            carried = self.kind == "gru" or layer.go_backwards
            states.append(hidden[index] if carried else last_step(output, lengths))
            if self.kind == "lstm":
                states.append(cell[index])
        return self._as_keras(per_direction, states)

    def _recur(self, sequence: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Emits the op: outputs [B, S, D*U], last hidden and cell states [D, B, U], for D directions."""
        padding = 1.0 - tf.cast(mask, tf.float32)[:, :, tf.newaxis]
        inputs = tf.transpose(tf.concat([sequence, padding], axis=2), [1, 0, 2])
        zeros = tf.zeros([len(self.directions), tf.shape(sequence)[0], self.directions[0].units])
        outputs, hidden, cell, _, _ = tf.raw_ops.CudnnRNNV3(
            input=inputs,
            input_h=zeros,
            input_c=zeros,
            params=tf.constant(self.params),
            sequence_lengths=tf.zeros([1], tf.int32),
            rnn_mode=self.kind,
            direction="bidirectional" if self.bidirectional else "unidirectional",
            seed=int(getattr(self.directions[0], "reset_after", False)),
            seed2=REVERSE if self.directions[0].go_backwards else FORWARD,
            num_proj=self.directions[0].units,
            is_training=False,
        )
        width = len(self.directions) * self.directions[0].units
        outputs = tf.ensure_shape(tf.transpose(outputs, [1, 0, 2]), [None, None, width])
        return outputs, hidden, cell

    def _as_keras(self, outputs: list[tf.Tensor], states: list[tf.Tensor]) -> Any:
        if not self.directions[0].return_sequences:
            per_state = len(states) // len(self.directions)
            outputs = states[::per_state]
        elif not self.bidirectional and self.directions[0].go_backwards:
            outputs = [tf.reverse(outputs[0], axis=[1])]
        merged = _merge(outputs, self.merge_mode)
        if not self.directions[0].return_state:
            return merged
        return (*merged, *states) if isinstance(merged, list) else (merged, *states)


def last_step(outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Takes `outputs` [B, S, U] at position `lengths` - 1 of each row; position 0 for an empty row: [B, U]."""
    shape = tf.shape(outputs)
    rows = tf.range(shape[0]) * shape[1] + tf.maximum(lengths - 1, 0)
    return tf.gather(tf.reshape(outputs, [-1, outputs.shape[2]]), rows)


def _merge(outputs: list[tf.Tensor], mode: str | None) -> Any:
    if len(outputs) == 1:
        return outputs[0]
    forward, backward = outputs
    merges: dict[str | None, Callable[[], Any]] = {
        "concat": lambda: tf.concat(outputs, axis=-1),
        "sum": lambda: forward + backward,
        "ave": lambda: (forward + backward) / 2.0,
        "mul": lambda: forward * backward,
        None: lambda: outputs,
    }
    return merges[mode]()


def _kind(layers: list[keras.layers.Layer]) -> str:
    """Returns "lstm" or "gru", or raises ExportError for settings that the ONNX operator does not have."""
    kinds = {type(layer): layer.name for layer in layers}
    if len(kinds) != 1 or not isinstance(layers[0], (keras.layers.LSTM, keras.layers.GRU)):
        raise ExportError(f"Expected LSTM or GRU layers, both directions alike. Received: {kinds}")
    for layer in layers:
        gates = (layer.activation, layer.recurrent_activation)
        if gates != (keras.activations.tanh, keras.activations.sigmoid) or layer.stateful:
            raise ExportError(
                "Only stateless recurrent layers with tanh and sigmoid have a native ONNX operator. "
                f"Received: {layer.name!r} with {layer.activation}, {layer.recurrent_activation}, "
                f"stateful={layer.stateful}"
            )
    return "lstm" if isinstance(layers[0], keras.layers.LSTM) else "gru"


# === Weights ===


def onnx_weights(layers: list[keras.layers.Layer]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the ONNX tensors of one layer for each of D directions, with the padding feature as last input.

    Returns:
        W [D, G*U, I+1], R [D, G*U, U] and B [D, 2*G*U] for G gates, float32.
    """
    parts = [_direction_weights(layer) for layer in layers]
    return tuple(np.stack(part).astype(np.float32) for part in zip(*parts, strict=True))


def _direction_weights(layer: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kind = _kind([layer])
    units, order = layer.units, GATE_ORDER[kind]

    def gates(weights: np.ndarray) -> np.ndarray:
        """[..., G*U] in the gate order of Keras -> the same in the gate order of ONNX."""
        blocks = np.split(np.asarray(weights), len(order), axis=-1)
        return np.concatenate([blocks[gate] for gate in order], axis=-1)

    padding = np.repeat(PADDING_ROW[kind], units)
    kernel = np.concatenate([gates(layer.cell.kernel), padding[np.newaxis]], axis=0)
    bias = np.zeros([2, len(order) * units], np.float32)
    if layer.use_bias:
        given = gates(layer.cell.bias)
        bias[: given.size // bias.shape[1]] = given
    return kernel.T, gates(layer.cell.recurrent_kernel).T, bias.ravel()


# === tf2onnx ===


def native_recurrent(ctx: Any, node: Any, name: str, args: Any) -> None:
    """A tf2onnx custom op handler: replaces the carrier op by one ONNX LSTM or GRU node."""
    kind = node.get_attr_str("rnn_mode")
    units = node.get_attr_int("num_proj")
    bidirectional = node.get_attr_str("direction") == "bidirectional"
    directions = 2 if bidirectional else 1
    attributes = {"hidden_size": units, "direction": "bidirectional" if bidirectional else "forward"}
    if not bidirectional and node.get_attr_int("seed2") == REVERSE:
        attributes["direction"] = "reverse"
    if kind == "gru":
        attributes["linear_before_reset"] = node.get_attr_int("seed")

    weights = _split_params(node.inputs[3].get_tensor_value(as_list=False), directions, units, len(GATE_ORDER[kind]))
    names = [ctx.make_const(f"{name}_{letter}", part).output[0] for letter, part in zip("WRB", weights, strict=True)]
    data_type, replaced = ctx.get_dtype(node.output[0]), list(node.output)
    source = node.input[0]
    ctx.remove_node(node.name)
    state_shape, sequence_shape = [directions, -1, units], [-1, directions, -1, units]
    shapes = [sequence_shape, *[state_shape] * (2 if kind == "lstm" else 1)]
    recurrent = ctx.make_node(
        kind.upper(),
        [source, *names],
        attr=attributes,
        output_count=len(shapes),
        shapes=shapes,
        dtypes=[data_type] * len(shapes),
        name=f"{name}_{kind}",
    )

    # ONNX gives [S, D, B, U]; the carrier [S, B, D*U]. tf2onnx's optimizer breaks a Reshape of a Transpose here.
    joined = _join_directions(ctx, recurrent.output[0], directions, units, data_type)
    for old, new in zip(replaced, [joined, *recurrent.output[1:]], strict=False):
        ctx.replace_all_inputs(old, new)


def _join_directions(ctx: Any, outputs: str, directions: int, units: int, data_type: int) -> str:
    """Writes nodes that turn [S, D, B, U] into [S, B, D*U], and returns the name of the result."""
    parts = [outputs]
    if directions == 2:
        sizes = ctx.make_const(f"{outputs}_sizes", np.ones([2], np.int64)).output[0]
        one = [-1, 1, -1, units]
        split = ctx.make_node(
            "Split", [outputs, sizes], attr={"axis": 1}, output_count=2, shapes=[one] * 2, dtypes=[data_type] * 2
        )
        parts = list(split.output)
    axis = ctx.make_const(f"{outputs}_axis", np.array([1], np.int64)).output[0]
    parts = [
        ctx.make_node("Squeeze", [part, axis], shapes=[[-1, -1, units]], dtypes=[data_type]).output[0] for part in parts
    ]
    if directions == 1:
        return parts[0]
    wide = [[-1, -1, 2 * units]]
    return ctx.make_node("Concat", parts, attr={"axis": 2}, shapes=wide, dtypes=[data_type]).output[0]


def _split_params(params: np.ndarray, directions: int, units: int, gates: int) -> list[np.ndarray]:
    """Undoes the layout of `NativeRecurrent.params`: W [D, G*U, I], R [D, G*U, U], B [D, 2*G*U]."""
    rows = gates * units
    inputs = params.size // (directions * rows) - units - 2
    shapes = [(directions, rows, inputs), (directions, rows, units), (directions, 2 * rows)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(params, ends), shapes, strict=True)]


HANDLERS = {CARRIER_OP: (native_recurrent, [])}
