"""The SavedModel export: text to text, n-best and ids signatures, with warm-up requests for TensorFlow Serving."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from kerass2s.errors import ExportError
from kerass2s.export.describe import describe, first_line, needed, write_saved_model_description
from kerass2s.export.graph import IDS_SIGNATURE, ids_graph, without_cudnn
from kerass2s.export.quiet import quiet
from kerass2s.seq2seq import Search, Seq2Seq
from kerass2s.text import END_ID

TEXT_SIGNATURE = (tf.TensorSpec([None], tf.string, name="text"),)
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
        _write_warmup(made / WARMUP_REQUESTS, _sample(model))
        alignments = "alignments" in signatures["ids"].structured_outputs
        write_saved_model_description(made, describe(model, search, alignments=alignments))
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
    run_ids = ids_graph(model, search)

    def n_best(text: tf.Tensor) -> dict[str, tf.Tensor]:
        found = run_ids(*model.source_batch(text))
        rows, beams, time = tf.unstack(tf.shape(found["target_ids"]))
        texts = model.target_texts(tf.reshape(found["target_ids"], [rows * beams, time]))
        return {"text": tf.reshape(texts, [rows, beams]), "score": found["scores"]}

    def best(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: output[:, 0] for name, output in n_best(text).items()}

    signatures = {
        "serving_default": tf.function(best, input_signature=TEXT_SIGNATURE).get_concrete_function(),
        "n_best": tf.function(n_best, input_signature=TEXT_SIGNATURE).get_concrete_function(),
        "ids": tf.function(run_ids, input_signature=IDS_SIGNATURE).get_concrete_function(),
    }
    module = tf.Module()
    module.weights = list({id(v): v for signature in signatures.values() for v in signature.variables}.values())
    return module, signatures


# === Warm-up ===


def _sample(model: Seq2Seq) -> str:
    """A short text of the source's own pieces."""
    return model.source_tokenizer.decode(range(END_ID + 1, min(END_ID + 5, model.source_tokenizer.vocabulary_size)))


def _write_warmup(file: Path, text: str) -> None:
    """Writes one request per signature, as TensorFlow Serving replays them when it loads the model."""
    ids = {"source_ids": tf.constant([[END_ID]], tf.int32), "source_lengths": tf.constant([1], tf.int32)}
    texts = {"text": tf.constant([text], tf.string)}
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in {"serving_default": texts, "n_best": texts, "ids": ids}.items():
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
