"""The exported function, ids to ids, that the SavedModel's signatures and the ONNX file share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s.seq2seq import Search, Seq2Seq
from kerass2s.text import END_ID


def ids_graph(
    model: Seq2Seq, search: Search, encoder: Any = None
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """Returns graph code from the codec's source, [B, S] or [B, S, N], and `source_lengths` int32 [B] to a dict.

    The dict holds `target_ids` int32 [B, K, T], `target_lengths` int32 [B, K], `scores` float32 [B, K] and, where the
    model has them, `alignments` float32 [B, K, T, S]. B and S may be 0: the search then runs over one empty row, since
    some runtimes (ONNX Runtime's LSTM among them) end the process on an empty tensor.
    """

    def run(source: tf.Tensor, source_lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        batch, time = tf.unstack(tf.shape(source)[:2])
        lack = [tf.maximum(1 - batch, 0), tf.maximum(1 - time, 0), *[0] * (len(source.shape) - 2)]
        padded = tf.pad(source, tf.stack([tf.zeros([len(lack)], tf.int32), tf.stack(lack)], axis=1))  # PAD is 0
        lengths = tf.pad(source_lengths, [[0, lack[0]]])
        found = model.search_graph(padded, lengths, search, encoder=encoder).named()
        outputs = {name: output[:batch] for name, output in found.items()}
        if "alignments" in outputs:
            outputs["alignments"] = outputs["alignments"][:, :, :, :time]
        return outputs

    return run


def probe(source: tf.TensorSpec, rows: int) -> dict[str, np.ndarray]:
    """Returns the smallest sensible source of an exported function: `rows` rows of one element each."""
    shape = [rows, 1, *source.shape[2:]]
    return {source.name: np.full(shape, END_ID if source.dtype.is_integer else 0, source.dtype.as_numpy_dtype)}


@contextmanager
def without_cudnn(model: keras.Model) -> Iterator[None]:
    """Traces the model's recurrent layers on the path that every device has, whatever this machine has."""
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")]
    before = [layer.use_cudnn for layer in layers]
    for layer in layers:
        layer.use_cudnn = False
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.use_cudnn = value
