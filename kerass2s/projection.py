"""The projection to the vocabulary and its cross-entropy in one, so that the logits are never there all at once.

The logits of a batch are its largest tensor by far: 12,800 tokens of a vocabulary of 32,000 are 1.6 GB in float32, and
the gradient as much again. Here as many rows as fit into `TILE` are projected at a time, and each tile leaves its
losses, the gradient at its features and its part of the gradient at the kernel. That takes the three matmuls that
there are without it, and none for padding, which is left out. Liger-Kernel (arXiv:2410.10989) does the same on GPUs.

In bfloat16 the matmuls and the logits are in that type, the softmax and the sums over tiles in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

__all__ = ["Scores", "Unprojected", "crossentropy"]

TILE = 8_000_000
"""How many logits there are at a time, 32 MB: few enough for the cache, and so many that adding up the gradient of the
kernel, which is read and written for every tile, costs little."""


class Scores(NamedTuple):
    """What is known of each position, [B, T], without its logits; all zeros at padding.

    Attributes:
        loss: the cross-entropy with the label smoothing that was asked for; the one that is differentiated.
        nll: -log p of the label.
        right: 1.0 where the label is the likeliest token, and else 0.0.
    """

    loss: tf.Tensor
    nll: tf.Tensor
    right: tf.Tensor


class Unprojected:
    """Logits [B, T, V] that are not made yet: a loss and metrics that know of it do without them.

    For all others it becomes a tensor when it is used as one.

    Args:
        features: [B, T, U].
        kernel: [U, V].
        bias: [V], or None.
    """

    def __init__(self, features: tf.Tensor, kernel: Any, bias: Any = None) -> None:
        self.features = features
        self.kernel = kernel
        self.bias = bias
        self.scores: Scores | None = None
        self.shape = tf.TensorShape([*features.shape[:-1], kernel.shape[-1]])
        self.dtype = tf.float32
        self._logits: tf.Tensor | None = None

    def score(self, labels: tf.Tensor, weights: tf.Tensor, label_smoothing: float = 0.0) -> Scores:
        """Score `labels [B, T]` where `weights [B, T]` are not zero, and keep it as `scores`; see `crossentropy`."""
        shape, rows = tf.shape(labels), tf.reshape(self.features, [-1, self.kernel.shape[0]])
        labels, weights = tf.reshape(labels, [-1]), tf.reshape(weights, [-1])
        real = tf.where(weights > 0)
        rows, labels, weights = (tf.gather_nd(each, real) for each in (rows, labels, weights))
        found = crossentropy(rows, self.kernel, self.bias, labels, weights, label_smoothing)
        count = tf.reduce_prod(tf.cast(shape, real.dtype))[None]
        self.scores = Scores(*(tf.reshape(tf.scatter_nd(real, each, count), shape) for each in found))
        return self.scores

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        """Make the logits, [B, T, V] in float32."""
        if self._logits is None:
            self._logits = _project(tf.cast(self.features, tf.float32), self.kernel, self.bias)
        return self._logits if dtype is None else tf.cast(self._logits, dtype)


def crossentropy(
    features: tf.Tensor,
    kernel: Any,
    bias: Any,
    labels: tf.Tensor,
    weights: tf.Tensor,
    label_smoothing: float = 0.0,
) -> Scores:
    """Project and score rows, `features [N, U], kernel [U, V], bias [V] or None, labels [N] -> Scores, each [N]`.

    Only `loss` has a gradient, and it is made before anything is known of what comes after the loss: right where the
    gradients that arrive at the losses are a common multiple of `weights` [N], as after any weighted sum or mean.
    """
    labels, weights = tf.cast(labels, tf.int32), tf.cast(weights, tf.float32)
    kernel = tf.convert_to_tensor(kernel)
    bias = tf.zeros(kernel.shape[1:], kernel.dtype) if bias is None else tf.convert_to_tensor(bias)

    @tf.custom_gradient
    def run(features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[Any, Callable[..., Any]]:
        scores, dfeatures, dkernel, dbias = _tiles(features, kernel, bias, labels, weights, label_smoothing)

        def gradient(dloss: tf.Tensor, *_: Any) -> tuple[tf.Tensor, ...]:
            share = tf.math.divide_no_nan(tf.reduce_sum(dloss), tf.reduce_sum(weights))
            drows = tf.cast(dloss[:, None], dfeatures.dtype) * dfeatures
            return drows, tf.cast(share * dkernel, kernel.dtype), tf.cast(share * dbias, bias.dtype)

        return scores, gradient

    return Scores(*run(features, kernel, bias))


def _project(features: tf.Tensor, kernel: Any, bias: Any) -> tf.Tensor:
    """Make logits, `[..., U] -> [..., V]`."""
    logits = tf.matmul(features, tf.cast(tf.convert_to_tensor(kernel), features.dtype))
    return logits if bias is None else tf.nn.bias_add(logits, tf.cast(tf.convert_to_tensor(bias), features.dtype))


def _tiles(
    features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, smoothing: float
) -> tuple[Any, ...]:
    """Score rows, and return the gradients of the weighted losses' sum: by row, but for its weight; [U, V]; [V]."""
    count, size, kind = tf.shape(features)[0], kernel.shape[-1], features.dtype
    tiles = tf.maximum(1, -(-count // max(1, TILE // size)))  # even where there are no rows
    rows = -(-count // tiles)
    kernel, bias = tf.cast(kernel, kind), tf.cast(bias, kind)

    def step(i: tf.Tensor, arrays: Any, dkernel: tf.Tensor, dbias: tf.Tensor) -> tuple[Any, ...]:
        part, label, weight = (each[i * rows : (i + 1) * rows] for each in (features, labels, weights))
        weighted = part * tf.cast(weight[:, None], kind)
        *scores, dlogits = _score(_project(part, kernel, bias), label, smoothing)
        made = (*scores, tf.matmul(dlogits, kernel, transpose_b=True))
        arrays = tuple(array.write(i, each) for array, each in zip(arrays, made, strict=True))
        dkernel += tf.cast(tf.matmul(weighted, dlogits, transpose_a=True), tf.float32)
        dbias += tf.cast(tf.matmul(tf.cast(weight[None], kind), dlogits)[0], tf.float32)
        return i + 1, arrays, dkernel, dbias

    kinds = (tf.float32, tf.float32, tf.float32, kind)
    arrays = tuple(tf.TensorArray(each, tiles, infer_shape=False) for each in kinds)
    begin = (tf.constant(0), arrays, tf.zeros(kernel.shape), tf.zeros(bias.shape))
    _, arrays, dkernel, dbias = tf.while_loop(lambda i, *_: i < tiles, step, begin, parallel_iterations=1)
    *scores, dfeatures = (array.concat() for array in arrays)
    return tuple(scores), tf.ensure_shape(dfeatures, features.shape), dkernel, dbias


def _score(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tuple[tf.Tensor, ...]:
    """Return loss, nll and right, float32 [R], of logits [R, V], and the gradient at the logits, of their type."""
    kind, logits = logits.dtype, tf.cast(logits, tf.float32)
    shares = tf.nn.softmax(logits)  # several times as fast as the op that gives loss and gradient in one
    likeliest = tf.argmax(shares, axis=-1, output_type=tf.int32)
    # log sum exp from the likeliest token: its share cannot underflow, that of the label can.
    whole = _chosen(logits, likeliest) - tf.math.log(_chosen(shares, likeliest))
    loss = nll = whole - _chosen(logits, labels)
    places = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)
    dlogits = tf.tensor_scatter_nd_sub(shares, places, tf.fill(tf.shape(labels), 1.0 - smoothing))
    if smoothing:
        loss = (1 - smoothing) * nll + smoothing * (whole - tf.reduce_mean(logits, axis=-1))
        dlogits -= smoothing / logits.shape[-1]
    return loss, nll, tf.cast(likeliest == labels, tf.float32), tf.cast(dlogits, kind)


def _chosen(values: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Take one value of each row, `[R, V], [R] -> [R]`."""
    return tf.gather(values, ids, batch_dims=1)
