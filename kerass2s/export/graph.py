"""The exported function, ids to ids, that the SavedModel's signatures and the ONNX file share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from kerass2s.seq2seq import Search, Seq2Seq
from kerass2s.text import PAD_ID

IDS_SIGNATURE = (
    tf.TensorSpec([None, None], tf.int32, name="source_ids"),
    tf.TensorSpec([None], tf.int32, name="source_lengths"),
)


def ids_graph(
    model: Seq2Seq, search: Search, encoder: Any = None
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """Returns graph code from `source_ids` int32 [B, S] and `source_lengths` int32 [B] to a dict.

    The dict holds `target_ids` int32 [B, K, T], `target_lengths` int32 [B, K], `scores` float32 [B, K] and, where the
    model has them, `alignments` float32 [B, K, T, S]. B and S may be 0: the search then runs over one empty row, since
    some runtimes (ONNX Runtime's LSTM among them) end the process on an empty tensor.
    """

    def run(source_ids: tf.Tensor, source_lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        batch, time = tf.unstack(tf.shape(source_ids))
        lack = tf.stack([tf.maximum(1 - batch, 0), tf.maximum(1 - time, 0)])
        ids = tf.pad(source_ids, tf.stack([tf.zeros([2], tf.int32), lack], axis=1), constant_values=PAD_ID)
        lengths = tf.pad(source_lengths, [[0, lack[0]]])
        found = model.search_graph(ids, lengths, search, encoder=encoder)
        outputs = {
            "target_ids": found.ids[:batch],
            "target_lengths": found.lengths[:batch],
            "scores": found.scores[:batch],
        }
        if found.alignments is not None:
            outputs["alignments"] = found.alignments[:batch, :, :, :time]
        return outputs

    return run


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
