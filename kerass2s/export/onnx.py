"""The ONNX export: ids to ids with the whole search inside, standard operators only, checked before it is kept."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kerass2s.decoding import Search
from kerass2s.errors import ExportError
from kerass2s.export.conversion import OPSET, to_onnx
from kerass2s.export.describe import describe, first_line, needed, shapes, write_onnx_description
from kerass2s.export.graph import ids_graph, inputs_spec, probe, without_cudnn
from kerass2s.export.precision import FULL, reduce_precision
from kerass2s.export.recurrent import portable_encoder
from kerass2s.inference import Inference

EXTENSIONS = "ai.onnx.contrib"
"""The domain of the operators of onnxruntime-extensions."""


def export_onnx(
    model: Inference,
    path: str | os.PathLike[str],
    search: Search,
    *,
    opset: int = OPSET,
    precision: str = FULL,
) -> None:
    """Writes `model` with `search` as one ONNX file; it takes its name only after it was reloaded and run.

    Inputs `source_ids` int32 [batch, source_time], `source_lengths` int32 [batch]; outputs `target_ids` int32 [batch,
    beams, target_time], `target_lengths` int32 [batch, beams], `scores` float32 [batch, beams], `token_scores` float32
    [batch, beams, token_time] and, where the model has them, `alignments` float32 [batch, beams, target_time,
    source_time]. Further inputs, which can be left out: `max_length` int32 [], and what else the search takes from
    outside, `length_penalty` float32 [], `temperature` float32 [], `seed` int32 [].

    A search with `copy_unknown`, and a model that copies, gives target ids beyond the vocabulary: V + s is the source's
    piece at position s.

    Where sources are vectors of N features, `source_values` float32 [batch, source_time, N] stands for `source_ids`.
    Where targets are vectors of D, the further input is `horizon` int32 [], and the output is `target_values` float32
    [batch, target_time, D]. The description is in `metadata_props`.

    Args:
        model: the model.
        path: the file to write, which ends in .onnx; its directory is made where it is missing.
        search: the search that goes into the file.
        opset: the version of the ONNX operators.
        precision: "float32", or "float16" or "int8" for a smaller file; see `kerass2s.export.precision`.

    Raises:
        ExportError: the path is no such file, an extra is not installed, or the file does not reload and run.
        ConfigError: an unknown precision or opset.
        OSError: the path cannot be written.
    """
    whole = [probe(model.codec, search, rows) for rows in (1, 0)]
    probes = [*whole, {name: whole[0][name] for name in model.codec.source_spec}]
    write_checked(lambda: convert(model, search, opset, precision), path, probes)


def write_checked(make: Callable[[], Any], path: str | os.PathLike[str], probes: list[dict[str, np.ndarray]]) -> None:
    """Writes an ONNX file; it takes its name only after it was reloaded and run over each of the probes.

    Args:
        make: makes the `onnx.ModelProto`, which takes its time: what would fail in the end is tried before.
        path: the file to write, which ends in .onnx; its directory is made where it is missing.
        probes: inputs by name.

    Raises:
        ExportError: the path is no such file, an extra is not installed, or the file does not reload and run.
        OSError: the path cannot be written.
    """
    path = Path(path)
    if path.is_dir() or path.suffix != ".onnx":
        raise ExportError(f"An ONNX export is a file that ends in .onnx. Received: {str(path)!r}")
    needed("onnxruntime", "onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            proto = make()
            file.write(proto.SerializeToString())
        check_onnx(made, probes, uses_extensions(proto))
        os.chmod(made, 0o644)
        os.replace(made, path)
    finally:
        Path(made).unlink(missing_ok=True)


def convert(model: Inference, search: Search, opset: int = OPSET, precision: str = FULL) -> Any:
    """Returns `model` with `search` as an `onnx.ModelProto` that carries its description."""
    needed("onnx", "onnx")
    graph = ids_graph(model, search, encoder=model.rewired_encoder(portable_encoder))
    with without_cudnn(model):  # a layer's own operator of cuDNN would be taken for the carrier of a native one
        proto = to_onnx(graph, list(inputs_spec(model.codec, search).values()), opset)
    _give_defaults(proto, model.codec.settings(search))
    description = describe(model, search, [output.name for output in proto.graph.output])
    return finished(proto, description, opset, precision)


def finished(proto: Any, description: dict[str, str], opset: int, precision: str) -> Any:
    """Returns a converted graph as the file that it becomes: weights in that precision, dimensions and description."""
    reduce_precision(proto, precision)
    proto.producer_name, proto.producer_version = "kerass2s", ""
    proto.graph.name, proto.graph.doc_string = description["architecture"], ""
    _name_dimensions(proto, description)
    made = {"precision": precision, "opset": str(opset), "tf2onnx_version": needed("tf2onnx", "onnx").__version__}
    write_onnx_description(proto, {**description, **made})
    return proto


def _name_dimensions(proto: Any, description: dict[str, str]) -> None:
    """Gives every input and output the symbolic dimensions of its description."""
    described = shapes(description)
    for value in [*proto.graph.input, *proto.graph.output]:
        del value.type.tensor_type.shape.dim[:]
        for size in described[value.name]:
            value.type.tensor_type.shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})


def _give_defaults(proto: Any, settings: dict[str, np.ndarray]) -> None:
    """Makes inputs that can be left out: an initializer of the same name is what they are then."""
    onnx = needed("onnx", "onnx")
    for name, value in settings.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))


def uses_extensions(proto: Any) -> bool:
    """Tells whether an `onnx.ModelProto` needs the operators of onnxruntime-extensions."""
    return any(each.domain == EXTENSIONS for each in proto.opset_import)


def extensions_library() -> Any:
    """Imports onnxruntime-extensions.

    It is linked against a protobuf of its own, and so is TensorFlow, whose symbols the whole process sees: unless its
    own come first, the process ends where a tokenizer is made.
    """
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | getattr(os, "RTLD_DEEPBIND", 0))  # macOS has two-level names instead
    try:
        return needed("onnxruntime_extensions", "onnx")
    finally:
        sys.setdlopenflags(flags)


def session(model: bytes | str, extensions: bool = False) -> Any:
    """Returns an ONNX Runtime session on the CPU over a file or its bytes, with onnxruntime-extensions if asked."""
    onnxruntime = needed("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    if extensions:
        options.register_custom_ops_library(extensions_library().get_library_path())
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_named(runtime: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs an ONNX Runtime session on named inputs, to named outputs."""
    names = [output.name for output in runtime.get_outputs()]
    return dict(zip(names, runtime.run(names, inputs), strict=True))


def check_onnx(path: str, probes: list[dict[str, np.ndarray]], extensions: bool = False) -> None:
    """Checks the file against the ONNX standard, reloads it and runs it over each of the inputs."""
    onnx = needed("onnx", "onnx")
    try:
        onnx.checker.check_model(path, full_check=True)
        reloaded = session(path, extensions)
        for inputs in probes:
            reloaded.run(None, inputs)
    except Exception as error:  # whatever the checker or the runtime raises, the file is no good
        raise ExportError(f"The converted ONNX model does not reload and run. Received: {first_line(error)}") from error
