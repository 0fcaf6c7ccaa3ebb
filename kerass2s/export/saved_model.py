"""The SavedModel export: text to text, n-best and ids signatures, with warm-up requests for TensorFlow Serving."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.context import choose
from kerass2s.data.padding import padded
from kerass2s.decoding import Search
from kerass2s.errors import ExportError
from kerass2s.export.describe import describe, first_line, needed, write_saved_model_description
from kerass2s.export.graph import ids_graph, inputs_spec, refuse_cudnn, without_cudnn
from kerass2s.export.place import whole_directory
from kerass2s.export.precision import FULL, LEAST
from kerass2s.export.quiet import quiet
from kerass2s.inference import Inference
from kerass2s.text.outside import need_tensorflow_text, tensorflow_text_if_any

WARMUP_REQUESTS = Path("assets.extra", "tf_serving_warmup_requests")
Held = Sequence[tuple[keras.Variable, tf.Variable]]
LOGS = "tensorflow_serving.apis.prediction_log_pb2"
WARMUP_SHAPES = ((1, 1), (1, 8), (1, 30), (8, 20), (32, 10))
"""The warm-up requests as (rows, length of the longest): a short, a usual and a long source, and batches."""


def export_saved_model(
    model: Inference, path: str | os.PathLike[str], search: Search, *, precision: str = FULL
) -> None:
    """Writes `model` with `search` as a SavedModel directory; it takes its name only when it is complete.

    It needs no kerass2s to load, only tensorflow and, for the tokenizers' ops, tensorflow_text. Signatures:

        serving_default        text string [batch] -> text string [batch], score float32 [batch]
        n_best                 text string [batch] -> text string [batch, beams], score float32 [batch, beams]
        ids                    source_ids, source_lengths -> target_ids, target_lengths, scores, token_scores and,
                               where the model has them, alignments, as `ids_graph` tells
        n_best_with_settings   as n_best and ids, and what the search takes from outside beside: max_length,
        ids_with_settings      length_penalty, temperature, seed. TensorFlow Serving fills in what a request leaves out
                               (the defaults are in the signature); Python wants them all

    TensorFlow Serving replays requests of several lengths and batches when it loads the model; see `WARMUP_SHAPES`.

    Where sources are vectors, all take source_values and source_lengths. Where targets are vectors, there is one:

        serving_default   source_values, source_lengths, horizon int32 [] -> target_values

    Args:
        model: the model.
        path: the directory to write; an older SavedModel there is replaced.
        search: the search that goes into the file.
        precision: "float32", or "float16" for half the bytes: weights are held in 16 bits, and cast to float32 at each
            call, which computes as ever.

    Raises:
        ConfigError: an unknown precision.
        ExportError: something else is at the path, an extra is not installed, the model has a layer for GPUs alone, or
            TensorFlow cannot write it, as where the disk is full.
        OSError: the path cannot be written.
    """
    path = Path(path)
    hold = choose("precision of a SavedModel", precision, PRECISIONS)
    if model.codec.tokenizers():
        need_tensorflow_text("A SavedModel")
    _check_target(path)
    needed(LOGS, "serving")  # what would fail in the end is tried first
    with whole_directory(path) as made:
        with quiet(), without_cudnn(model):
            signatures, outputs = _signatures(model, search, hold(model))
            for signature in signatures.values():
                refuse_cudnn(signature.get_concrete_function())
            module = _module(signatures)
            with _written(path):
                tf.saved_model.save(module, str(made), signatures=signatures)
        with _written(path):
            _write_warmup(made / WARMUP_REQUESTS, signatures, model.codec)
        write_saved_model_description(made, {**describe(model, search, outputs), "precision": precision})


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Tells in our words that TensorFlow could not write."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2]  # before it stands where, a place that is gone by now
        raise ExportError(f"{path}: the SavedModel cannot be written. Received: {reason}") from error


def _check_target(path: Path) -> None:
    if path.is_dir():
        if (path / "saved_model.pb").is_file() or not any(path.iterdir()):
            return
        raise ExportError(f"The directory holds something else than a SavedModel. Received: {str(path)!r}")
    if path.exists() or path.suffix == ".onnx":
        raise ExportError(f"A SavedModel is a directory. Received: {str(path)!r}")


# === Weights ===


def _held_as_float16(model: Inference) -> Held:
    """Returns a copy in 16 bits for each weight that is worth it and within their range."""
    weights = {id(weight): weight for network in model.networks() for weight in network.weights}
    most = np.finfo(np.float16).max
    return [
        (weight, tf.Variable(tf.cast(weight, tf.float16), trainable=False, name=weight.name))
        for weight in weights.values()
        if weight.dtype == "float32" and tf.size(weight) >= LEAST and tf.reduce_max(tf.abs(weight)) <= most
    ]


PRECISIONS: dict[str, Callable[[Inference], Held]] = {FULL: lambda model: [], "float16": _held_as_float16}


# === Graph ===


def _signatures(model: Inference, search: Search, held: Held = ()) -> tuple[dict[str, Any], list[str]]:
    """Returns the signatures as tf.functions by name, and the names of the raw one's outputs.

    `held` are weights, each with what the graph reads in its place. All run the same traced search, and those of text
    the same tokenizers, so that the file holds each once.
    """
    codec, spec, settings = model.codec, inputs_spec(model.codec, search), model.codec.settings(search)
    ids = ids_graph(model, search)

    def searched(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        # Cast here, before the loop, so once a call.
        with keras.StatelessScope([(weight, tf.cast(narrow, weight.dtype)) for weight, narrow in held]):
            return ids(*inputs)

    raw = _function(searched, spec, settings)
    outputs = list(raw.get_concrete_function().structured_outputs)
    if "target_ids" not in outputs:
        return {"serving_default": raw}, outputs

    def answer(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        request = dict(zip(codec.request_spec, inputs, strict=False))
        found = codec.answers(raw(*codec.source(request), *inputs[len(request) :]), request, search)
        return {"text": found["text"], "score": found["scores"]}

    def best(*request: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: output[:, 0] for name, output in tuned(*request, *fixed).items()}

    tuned = _function(answer, {**codec.request_spec, **{name: spec[name] for name in settings}}, settings)
    fixed = [tf.constant(value) for value in settings.values()]
    return {
        "serving_default": _function(best, codec.request_spec),
        "n_best": _function(lambda *request: tuned(*request, *fixed), codec.request_spec),
        "ids": _function(lambda *source: raw(*source, *fixed), codec.source_spec),
        "ids_with_settings": raw,
        "n_best_with_settings": tuned,
    }, outputs


def _function(
    run: Callable[..., Any], spec: dict[str, tf.TensorSpec], defaults: dict[str, np.ndarray] | None = None
) -> Any:
    """Returns a tf.function of the tensors of `spec`, in that order, whose signature says the defaults."""

    def named(*inputs: tf.Tensor) -> Any:
        return run(*inputs)

    # TensorFlow reads the defaults of a signature from the Python function's.
    empty, kind = inspect.Parameter.empty, inspect.Parameter.POSITIONAL_OR_KEYWORD
    constants = {name: tf.constant(value) for name, value in (defaults or {}).items()}
    named.__signature__ = inspect.Signature(
        [inspect.Parameter(name, kind, default=constants.get(name, empty)) for name in spec]
    )
    return tf.function(named, input_signature=tuple(spec.values()), autograph=False)


def _module(signatures: dict[str, Any]) -> tf.Module:
    """Returns a module that tracks just what the signatures use."""
    module = tf.Module()
    used = [variable for each in signatures.values() for variable in each.get_concrete_function().variables]
    module.weights = list({id(variable): variable for variable in used}.values())
    return module


# === Warm-up ===


def _write_warmup(file: Path, signatures: dict[str, Any], codec: Codec) -> None:
    """Writes the requests that TensorFlow Serving replays when it loads the model: each shape to each signature.

    A signature that takes a number for the whole request (`max_length`, say) is left out where there are others: a
    server that batches refuses such requests, and a refused warm-up request keeps the model from loading.
    """
    requests = list(_warmup_inputs(codec))
    whole = {name for name, made in signatures.items() if any(not spec.shape.rank for spec in made.input_signature)}
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name in sorted(signatures.keys() - whole or signatures.keys()):
            names = [spec.name for spec in signatures[name].input_signature]
            for known in requests:
                taken = {each: known[each] for each in names if each in known}
                writer.write(_request(name, taken).SerializeToString())


def _warmup_inputs(codec: Codec) -> Iterator[dict[str, Any]]:
    """Yields requests of each of `WARMUP_SHAPES`, once as the codec's request and once as what the encoder reads."""
    random = np.random.default_rng(0)
    for rows, length in WARMUP_SHAPES:
        # From the longest to the shortest, so that there is padding, as there is in the batches of a server.
        sources = [codec.example(random, max(1, length - 2 * row)) for row in range(rows)]
        source, lengths = padded(codec.rows(sources))
        yield {**codec.request(sources), codec.source_name: source, "source_lengths": lengths}


def _request(signature: str, inputs: dict[str, Any]) -> Any:
    logs = needed(LOGS, "serving")
    log = logs.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "kerass2s"
    request.model_spec.signature_name = signature
    for name, tensor in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(tensor)))
    return log


def load_signatures(path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any]]:
    """Loads a SavedModel: what keeps it alive, and its signatures by name.

    Raises:
        ExportError: TensorFlow cannot load it.
    """
    # A SavedModel of text holds the ops of tensorflow-text, which its import registers; one of vectors has none.
    with_text = tensorflow_text_if_any() is not None
    try:
        with quiet():
            loaded = tf.saved_model.load(str(path))
        return loaded, dict(loaded.signatures)
    except Exception as error:  # TensorFlow, its checkpoint reader and protobuf have no class of error in common
        if not with_text:
            need_tensorflow_text(f"{path}: a SavedModel")
        raise ExportError(f"{path}: TensorFlow cannot load it. Received: {first_line(error)}") from error
