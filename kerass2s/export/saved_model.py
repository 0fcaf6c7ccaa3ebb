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
from kerass2s.export.graph import ids_graph, probe, without_cudnn
from kerass2s.export.quiet import quiet
from kerass2s.seq2seq import Search, Seq2Seq

WARMUP_REQUESTS = Path("assets.extra", "tf_serving_warmup_requests")


def export_saved_model(model: Seq2Seq, path: str | os.PathLike[str], search: Search) -> None:
    """Writes `model` with `search` as a SavedModel directory; it takes its name only when it is complete.

    It needs no kerass2s to load, only tensorflow and, for the tokenizers' ops, tensorflow_text. Signatures:

        serving_default   text string [batch] -> text string [batch], score float32 [batch]
        n_best            text string [batch] -> text string [batch, beams], score float32 [batch, beams]
        ids               source_ids, source_lengths -> target_ids, target_lengths, scores and, where the model has
                          them, alignments, as `ids_graph` tells

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
            module, signatures = _trace(model, search)
            tf.saved_model.save(module, str(made), signatures=signatures)
        _write_warmup(made / WARMUP_REQUESTS, model.codec)
        write_saved_model_description(made, describe(model, search, signatures["ids"].structured_outputs))
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


def _trace(model: Seq2Seq, search: Search) -> tuple[tf.Module, dict[str, Any]]:
    """Returns the signatures as concrete functions, and a module that tracks just what they use."""
    run_ids, codec = ids_graph(model, search), model.codec

    def n_best(**request: tf.Tensor) -> dict[str, tf.Tensor]:
        found = run_ids(*codec.source(request))
        return {"text": codec.texts(found["target_ids"], request), "score": found["scores"]}

    def best(**request: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: output[:, 0] for name, output in n_best(**request).items()}

    signatures = {
        "serving_default": tf.function(best).get_concrete_function(**codec.request_spec),
        "n_best": tf.function(n_best).get_concrete_function(**codec.request_spec),
        "ids": tf.function(run_ids, input_signature=tuple(codec.source_spec.values())).get_concrete_function(),
    }
    module = tf.Module()
    module.weights = list({id(v): v for signature in signatures.values() for v in signature.variables}.values())
    return module, signatures


# === Warm-up ===


def _write_warmup(file: Path, codec: Codec) -> None:
    """Writes one request per signature, as TensorFlow Serving replays them when it loads the model."""
    source = tf.constant(probe(codec.source_spec[codec.source_name], 1)[codec.source_name])
    ids = {codec.source_name: source, "source_lengths": tf.constant([1], tf.int32)}
    request = codec.request([codec.example(np.random.default_rng(0), 4)])
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in {"serving_default": request, "n_best": request, "ids": ids}.items():
            writer.write(_request(signature, inputs).SerializeToString())


def _request(signature: str, inputs: dict[str, tf.Tensor]) -> Any:
    logs = needed("tensorflow_serving.apis.prediction_log_pb2", "serving")
    log = logs.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "kerass2s"
    request.model_spec.signature_name = signature
    for name, tensor in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
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
