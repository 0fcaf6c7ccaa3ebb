"""The exported function, ids to ids, that the SavedModel's signatures and the ONNX file share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numpy as np
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.decoding import MinimumBayesRisk, Search, search_spec
from kerass2s.decoding.search import windows
from kerass2s.errors import ExportError
from kerass2s.inference import Inference
from kerass2s.text import END_ID


def ids_graph(model: Inference, search: Search, encoder: Any = None) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns graph code from the inputs of `inputs_spec`, in that order, to a dict.

    The dict holds `target_ids` int32 [B, K, T], `target_lengths` int32 [B, K], `scores` float32 [B, K], `token_scores`
    float32 [B, K, T + 1] and, where the model has them, `alignments` float32 [B, K, T, M]; where targets are vectors it
    holds `target_values` float32 [B, T, D] in the place of the first four. B and S may be 0: the search then runs over
    one empty row, since some runtimes (ONNX Runtime's LSTM among them) end the process on an empty tensor.

    Raises:
        ExportError: the search is not all in the graph.
    """
    if isinstance(search, MinimumBayesRisk):
        instead = search_spec(search.sampling())
        raise ExportError(
            f"mbr compares texts outside the graph; export its samples, {instead!r}. Received: {search_spec(search)}"
        )
    names = list(model.codec.settings(search))

    def run(source: tf.Tensor, source_lengths: tf.Tensor, *settings: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.shape(source)
        lack = tf.maximum([1, 1, *[0] * (len(source.shape) - 2)] - size, 0)  # of rows and of elements
        padded = tf.pad(source, tf.stack([tf.zeros_like(lack), lack], axis=1))  # PAD is 0
        padded = tf.ensure_shape(padded, [None, None, *source.shape[2:]])
        lengths = tf.concat([source_lengths, tf.zeros(lack[:1], tf.int32)], axis=0)
        found = model.search_graph(padded, lengths, search, encoder, **dict(zip(names, settings, strict=True))).named()
        outputs = {name: output[: size[0]] for name, output in found.items()}
        if "alignments" in outputs:
            kept = tf.range(windows(size[1], model.codec.window))  # in ONNX a gather is two nodes, a slice is eight
            outputs["alignments"] = tf.gather(outputs["alignments"], kept, axis=3)
        return outputs

    return run


def inputs_spec(codec: Codec, search: Search) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of the exported function by name: the source, its lengths, and what the search takes."""
    settings = codec.settings(search).items()
    return {**codec.source_spec, **{name: tf.TensorSpec(value.shape, value.dtype, name) for name, value in settings}}


def probe(codec: Codec, search: Search, rows: int) -> dict[str, np.ndarray]:
    """Returns the smallest sensible inputs of an exported function: `rows` rows of one element each."""
    return {**source_probe(codec, rows), **codec.settings(search)}


def source_probe(codec: Codec, rows: int) -> dict[str, np.ndarray]:
    """Returns the smallest sensible source: `rows` rows of one element each."""
    source = codec.source_spec[codec.source_name]
    shape = [rows, 1, *source.shape[2:]]
    return {
        source.name: np.full(shape, END_ID if source.dtype.is_integer else 0, source.dtype.as_numpy_dtype),
        "source_lengths": np.ones([rows], np.int32),
    }


@contextmanager
def without_cudnn(model: Inference) -> Iterator[None]:
    """Traces the model's recurrent layers on the path that every device has, whatever this machine has."""
    layers = [
        layer for network in model.networks() for layer in network._flatten_layers() if hasattr(layer, "use_cudnn")
    ]
    before = [layer.use_cudnn for layer in layers]
    for layer in layers:
        layer.use_cudnn = False
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.use_cudnn = value


def operators(graph: Any) -> set[str]:
    """Returns the kinds of operators in a TensorFlow GraphDef, those of the functions that it calls among them."""
    functions = attrgetter("library.function")(graph)
    return {node.op for nodes in (graph.node, *(each.node_def for each in functions)) for node in nodes}


def refuse_cudnn(function: Any) -> None:
    """Refuses a traced function that would run on a GPU with cuDNN alone.

    `without_cudnn` reaches the layers that Keras tracks; this one looks at what was traced, wherever it came from.

    Args:
        function: a concrete function of TensorFlow.

    Raises:
        ExportError: an operator of cuDNN is in it, or in a function that it calls.
    """
    found = sorted(kind for kind in operators(function.graph.as_graph_def()) if "Cudnn" in kind)
    if found:
        raise ExportError(
            f"An operator of cuDNN would end up in the export, which then ran on a GPU alone; "
            f"make the layer with use_cudnn=False. Received: {', '.join(found)}"
        )
