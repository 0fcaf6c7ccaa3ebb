"""Random numbers by counting: the same seed gives the same numbers in TensorFlow and in ONNX, for any batch.

No generator of a runtime is the same in another, so the numbers are made of integer additions, products and remainders.
A counter is mixed by rounds of x -> (x + constant) ** 5 modulo the prime 2 ** 31 - 1, each a permutation: the cipher
MiMC (Albrecht et al. 2016, arXiv:1603.03246) with fewer rounds, which is no secret but passes for chance.
"""

from __future__ import annotations

import tensorflow as tf

PRIME = 2**31 - 1
# The fractional digits of pi, nine at a time, so that they are nobody's choice.
_ROUNDS = (141592653, 589793238, 462643383, 279502884)
_VALUE_STEPS = 4096.0


def _residue(x: tf.Tensor) -> tf.Tensor:
    """Returns whole numbers of any sign modulo `PRIME`, int64 from 0 on; in ONNX the remainder of a negative is one."""
    return (tf.cast(x, tf.int64) % PRIME + PRIME) % PRIME


def _mix(x: tf.Tensor) -> tf.Tensor:
    """Returns a permutation of the whole numbers below `PRIME`, int64; products stay below 2 ** 62."""
    for constant in _ROUNDS:
        x = (x + constant) % PRIME
        square = x * x % PRIME
        x = square * square % PRIME * x % PRIME
    return x


def uniform(*counters: tf.Tensor) -> tf.Tensor:
    """Returns float32 in (0, 1), one of 2 ** 23 values, by whole numbers of any one shape or of shapes that broadcast.

    The same counters always give the same number; it is a function of all of them and of their order.
    """
    mixed = tf.zeros([], tf.int64)
    for counter in counters:
        mixed = _mix((mixed + _residue(counter)) % PRIME)
    return (tf.cast(mixed // 2**8, tf.float32) + 0.5) * 2.0**-23


def fingerprint(source: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns a number of each source's content, `[B, S] or [B, S, N], lengths [B] -> int64 [B]`, below `PRIME`.

    It does not change with padding or with the other rows. Values are taken in steps of 1/4096.
    """
    if source.dtype.is_floating:
        source = tf.floor(source * _VALUE_STEPS)
    content = _residue(source)
    for size in source.shape[2:]:
        content = tf.reduce_sum(content * _mix(tf.range(size, dtype=tf.int64) + 1) % PRIME, axis=2)
    positions = tf.range(tf.shape(content)[1])
    weighed = content % PRIME * _mix(tf.cast(positions, tf.int64) + 1) % PRIME
    real = positions[None, :] < lengths[:, None]
    return _mix(tf.reduce_sum(tf.where(real, weighed, tf.zeros_like(weighed)), axis=1) % PRIME)
