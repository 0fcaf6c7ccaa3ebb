"""The machine's own rate in a comparison of training steps: one matmul of large matrices, in TensorFlow."""

from __future__ import annotations

import argparse

import tensorflow as tf
from turns import serve

SIZE = 2048


def main() -> None:
    """Multiplies as often as it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    one, other = (tf.cast(tf.random.normal([SIZE, SIZE]), options.precision) for _ in range(2))
    multiply = tf.function(tf.matmul, autograph=False)
    serve(
        {"shown": [float(multiply(one, other)[0, 0])], "flop": 2 * SIZE**3}, lambda: multiply(one, other)[0, 0].numpy()
    )


if __name__ == "__main__":
    main()
