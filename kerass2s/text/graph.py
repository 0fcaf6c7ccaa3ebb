"""The graph side of a tokenizer: TensorFlow Text's, over a model that outlives TensorFlow's kernel cache."""

from __future__ import annotations

import hashlib

import tensorflow as tf
import tensorflow_text
from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer


class _SharedModel(tf.saved_model.experimental.TrackableResource):
    """A SentencePiece model in TensorFlow's memory, shared under the hash of its bytes.

    TensorFlow Text leaves the model to the kernel that made it, and `tf.random.set_seed` (so
    `keras.utils.set_random_seed` too) drops every such kernel: the tokenizer, and each dataset and function that was
    made with it, would then fail with "Resource does not exist". A shared model belongs to no kernel.
    """

    def __init__(self, model_proto: bytes) -> None:
        super().__init__()
        self._model_proto = model_proto
        self._name = f"sentencepiece_{hashlib.sha256(model_proto).hexdigest()}"
        _ = self.resource_handle  # Makes the resource, now and here.

    def _create_resource(self) -> tf.Tensor:
        return gen_sentencepiece_tokenizer.sentencepiece_op(model=self._model_proto, shared_name=self._name)


class GraphTokenizer(tensorflow_text.SentencepieceTokenizer):
    """string [B] to ragged int32 [B, None] and back; a `tf.Module`, so that a SavedModel can hold the model.

    Args:
        model_proto: the serialised model.
        nbest_size: 0 does not sample; see `Sampling`.
        alpha: see `Sampling`.
    """

    def __init__(self, model_proto: bytes, *, nbest_size: int = 0, alpha: float = 1.0) -> None:
        super().__init__(model_proto, out_type=tf.int32, nbest_size=nbest_size, alpha=alpha)
        self._model_resource = _SharedModel(model_proto)
