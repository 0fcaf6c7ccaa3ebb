"""The SavedModel export: text to text, n-best and ids signatures, with warm-up requests for TensorFlow Serving."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.errors import ExportError
from kerass2s.export.describe import describe, first_line, needed, write_saved_model_description
from kerass2s.export.graph import ids_graph, inputs_spec, probe, without_cudnn
from kerass2s.export.quiet import quiet
from kerass2s.inference import Inference, Search

WARMUP_REQUESTS = Path("assets.extra", "tf_serving_warmup_requests")


def export_saved_model(model: Inference, path: str | os.PathLike[str], search: Search) -> None:
    """Writes `model` with `search` as a SavedModel directory; it takes its name only when it is complete.

    It needs no kerass2s to load, only tensorflow and, for the tokenizers' ops, tensorflow_text. Signatures:

        serving_default   text string [batch] -> text string [batch], score float32 [batch]
        n_best            text string [batch] -> text string [batch, beams], score float32 [batch, beams]
        ids               source_ids, source_lengths -> target_ids, target_lengths, scores and, where the model has
                          them, alignments, as `ids_graph` tells

    Where sources are vectors, all three take source_values and source_lengths. Where targets are vectors, there is one:

        serving_default   source_values, source_lengths, horizon int32 [] -> target_values

    Args:
        model: the model.
        path: the directory to write; an older SavedModel there is replaced.
        search: the search that goes into the file.

    Raises:
        ExportError: something else is at the path, or an extra is not installed.
    """
    path = Path(path)
    _check_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        made.chmod(0o755)
        with quiet(), without_cudnn(model):
            module, signatures, raw = _trace(model, search)
            tf.saved_model.save(module, str(made), signatures=signatures)
        is_raw = {name: signature is raw for name, signature in signatures.items()}
        _write_warmup(made / WARMUP_REQUESTS, model.codec, probe(model.codec, search, 1), is_raw)
        write_saved_model_description(made, describe(model, search, raw.structured_outputs))
        if path.exists():
            shutil.rmtree(path)
        os.replace(made, path)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _check_target(path: Path) -> None:
    if path.is_dir():
        if (path / "saved_model.pb").is_file() or not any(path.iterdir()):
            return
        raise ExportError(f"The directory holds something else than a SavedModel. Received: {str(path)!r}")
    if path.exists() or path.suffix == ".onnx":
        raise ExportError(f"A SavedModel is a directory. Received: {str(path)!r}")


# === Graph ===


def _trace(model: Inference, search: Search) -> tuple[tf.Module, dict[str, Any], Any]:
    """Returns a module that tracks just what the signatures use, these as concrete functions, and the raw one's."""
    run, codec = ids_graph(model, search), model.codec
    raw = tf.function(run, input_signature=tuple(inputs_spec(codec, search).values())).get_concrete_function()
    signatures = {
        name: tf.function(answer).get_concrete_function(**codec.request_spec)
        for name, answer in codec.signatures(run).items()
    }
    signatures = {**signatures, "ids": raw} if signatures else {"serving_default": raw}
    module = tf.Module()
    module.weights = list({id(v): v for signature in signatures.values() for v in signature.variables}.values())
    return module, signatures, raw


# === Warm-up ===


def _write_warmup(file: Path, codec: Codec, inputs: dict[str, np.ndarray], signatures: dict[str, bool]) -> None:
    """Writes one request per signature, as TensorFlow Serving replays them when it loads the model.

    A signature takes the raw `inputs` where `signatures` says so, and a request of the codec where not.
    """
    request = codec.request([codec.example(np.random.default_rng(0), 4)])
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, is_raw in signatures.items():
            writer.write(_request(signature, inputs if is_raw else request).SerializeToString())


def _request(signature: str, inputs: dict[str, Any]) -> Any:
    logs = needed("tensorflow_serving.apis.prediction_log_pb2", "serving")
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
    import tensorflow_text

    try:
        with quiet():
            loaded = tf.saved_model.load(str(path))
        return (loaded, tensorflow_text), dict(loaded.signatures)
    except Exception as error:  # TensorFlow, its checkpoint reader and protobuf have no class of error in common
        raise ExportError(f"{path}: TensorFlow cannot load it. Received: {first_line(error)}") from error
