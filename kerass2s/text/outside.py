"""The tokenizer's graph side by `sentencepiece` alone, for live graphs where there is no tensorflow-text."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from kerass2s.errors import ExportError

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["OutsideTokenizer", "need_tensorflow_text", "tensorflow_text_if_any"]


def tensorflow_text_if_any() -> ModuleType | None:
    """Returns what tokenises text inside a graph, where there is a wheel of it.

    Graphs that are traced call this: `importlib` in the place of the statement makes AutoGraph warn.
    """
    try:
        import tensorflow_text
    except ImportError:
        return None
    return tensorflow_text


def need_tensorflow_text(what: str) -> None:
    """Refuses what holds text inside a graph where there is no tensorflow-text.

    Raises:
        ExportError: there is none.
    """
    if tensorflow_text_if_any() is None:
        raise ExportError(
            f"{what} takes text inside the graph and needs tensorflow-text, which has no wheel for every platform; "
            "train, predict and ONNX work without it. Received: no module tensorflow_text"
        )


class OutsideTokenizer:
    """What `tensorflow_text.SentencepieceTokenizer` does, with the same ids, by a call out of the graph.

    Such a graph runs in this process alone: it cannot be saved.

    Args:
        processor: the model.
        out_type: tf.int32 for ids, tf.string for pieces.
        alpha: of sampling; None for none. See `kerass2s.text.Sampling`.
        nbest_size: likewise.
    """

    def __init__(self, processor: Any, out_type: tf.DType, alpha: float | None = None, nbest_size: int = -1) -> None:
        self._processor = processor
        self._out_type = out_type
        self._sampling = {} if alpha is None else {"enable_sampling": True, "alpha": alpha, "nbest_size": nbest_size}

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """String [B] to ragged [B, None]."""
        import tensorflow as tf

        def encode(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            rows = [
                self._processor.encode(text, out_type=int if self._numbers else str, **self._sampling) for text in batch
            ]
            flat = [piece if self._numbers else piece.encode() for row in rows for piece in row]
            splits = np.cumsum([0, *map(len, rows)])
            return np.array(flat, np.int32 if self._numbers else object), splits.astype(np.int64)

        flat, splits = tf.numpy_function(encode, [texts], [self._out_type, tf.int64])
        return tf.RaggedTensor.from_row_splits(tf.ensure_shape(flat, [None]), tf.ensure_shape(splits, [None]))

    def detokenize(self, tokens: tf.RaggedTensor) -> tf.Tensor:
        """Ragged ids or pieces [B, None] to string [B]."""
        import tensorflow as tf

        def decode(flat: np.ndarray, splits: np.ndarray) -> np.ndarray:
            rows = [flat[begin:end].tolist() for begin, end in pairwise(splits)]
            texts = [self._processor.decode(row) if row else b"" for row in rows]
            return np.array([text.encode() if isinstance(text, str) else text for text in texts], object)

        texts = tf.numpy_function(decode, [tokens.flat_values, tokens.row_splits], tf.string)
        return tf.ensure_shape(texts, [None])

    def string_to_id(self, pieces: tf.Tensor) -> tf.Tensor:
        """String [N] to int32 [N]."""
        import tensorflow as tf

        def look_up(batch: np.ndarray) -> np.ndarray:
            return np.array([self._processor.piece_to_id(piece) for piece in batch], np.int32)

        return tf.ensure_shape(tf.numpy_function(look_up, [pieces], tf.int32), [None])

    @property
    def _numbers(self) -> bool:
        return self._out_type.is_integer
