"""The ONNX export: ids to ids with the whole search inside, standard operators only, checked before it is kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from kerass2s.decoding import Search
from kerass2s.errors import ExportError
from kerass2s.export.conversion import OPSET, to_onnx
from kerass2s.export.describe import describe, first_line, needed, shapes, write_onnx_description
from kerass2s.export.graph import ids_graph, inputs_spec, probe
from kerass2s.export.precision import FULL, reduce_precision
from kerass2s.export.recurrent import portable_encoder
from kerass2s.inference import Inference


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
        path: the file to write; its directory is made where it is missing.
        search: the search that goes into the file.
        opset: the version of the ONNX operators.
        precision: "float32", or "float16" or "int8" for a smaller file; see `kerass2s.export.precision`.

    Raises:
        ExportError: the path is a directory, an extra is not installed, or the file does not reload and run.
        ConfigError: an unknown precision.
    """
    path = Path(path)
    if path.is_dir():
        raise ExportError(f"The ONNX export is a file. Received: directory {str(path)!r}")
    converted = convert(model, search, opset, precision)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(converted.SerializeToString())
        whole = [probe(model.codec, search, rows) for rows in (1, 0)]
        check_onnx(made, [*whole, {name: whole[0][name] for name in model.codec.source_spec}])
        os.chmod(made, 0o644)
        os.replace(made, path)
    finally:
        Path(made).unlink(missing_ok=True)


def convert(model: Inference, search: Search, opset: int = OPSET, precision: str = FULL) -> Any:
    """Returns `model` with `search` as an `onnx.ModelProto` that carries its description."""
    needed("onnx", "onnx")
    graph = ids_graph(model, search, encoder=model.rewired_encoder(portable_encoder))
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


def session(model: bytes | str) -> Any:
    """Returns an ONNX Runtime session on the CPU over a file or its bytes."""
    onnxruntime = needed("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_named(runtime: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs an ONNX Runtime session on named inputs, to named outputs."""
    names = [output.name for output in runtime.get_outputs()]
    return dict(zip(names, runtime.run(names, inputs), strict=True))


def check_onnx(path: str, probes: list[dict[str, np.ndarray]]) -> None:
    """Checks the file against the ONNX standard, reloads it and runs it over each of the inputs."""
    onnx = needed("onnx", "onnx")
    try:
        onnx.checker.check_model(path, full_check=True)
        reloaded = session(path)
        for inputs in probes:
            reloaded.run(None, inputs)
    except Exception as error:  # whatever the checker or the runtime raises, the file is no good
        raise ExportError(f"The converted ONNX model does not reload and run. Received: {first_line(error)}") from error
