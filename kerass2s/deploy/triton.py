"""A Triton model repository: an ONNX file for the onnxruntime backend, with its configuration."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import kerass2s
from kerass2s.deploy.folder import find_onnx, fresh_folder, named
from kerass2s.deploy.requests import in_shell_quotes, v2_requests
from kerass2s.export.describe import read_onnx

TYPES = {"int32": "TYPE_INT32", "float32": "TYPE_FP32"}


def write_triton(exports: Sequence[str], out: str | os.PathLike[str]) -> None:
    """Writes a model repository for Triton's onnxruntime backend; it takes its name only when it is complete.

        NAME/config.pbtxt      inputs, outputs, no batching by the server
        NAME/1/model.onnx      the file, as it is
        README.md              how to start the server, and a request with curl

    Args:
        exports: ONNX files or exported directories, `NAME=EXPORT` for another name; see `folder.named`.
        out: the folder, new or empty.

    Raises:
        ConfigError: `out` holds something, or a name does not do.
        ExportError: an export is no ONNX file of kerass2s, or damaged.
    """
    models = named(exports, find_onnx)
    described = {name: read_onnx(path)[1] for name, path in models.items()}
    with fresh_folder(out) as folder:
        for name, path in models.items():
            place = folder / name / "1"
            place.mkdir(parents=True)
            shutil.copyfile(path, place / "model.onnx")
            (folder / name / "config.pbtxt").write_text(config(name, described[name]), "utf-8")
        (folder / "README.md").write_text(readme(described), "utf-8")


def config(name: str, description: dict[str, str]) -> str:
    """Returns the text of config.pbtxt, a ModelConfig of Triton.

    `max_batch_size` is 0, so Triton joins no requests and every shape is the whole one, batch included. It could not be
    more: the backend refuses inputs that can be left out (`max_length`) where the server batches, and its batcher joins
    only requests of one source length. A request brings its own batch, as long as it likes.
    """
    inputs, outputs = (list(_tensors(json.loads(description[key]))) for key in ("inputs", "outputs"))
    return f'{HEAD}name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: 0\n' + (
        f"input [\n{_joined(inputs)}\n]\noutput [\n{_joined(outputs)}\n]\n"
    )


HEAD = """\
# Triton joins no requests here (max_batch_size: 0): inputs that can be left out do not go with that, and requests of
# several lengths are not joined anyway. A request may hold any batch; all shapes are whole ones.
"""


def _tensors(described: dict[str, Any]) -> Iterator[str]:
    """One input or output each. A number without dimensions is [1] for Triton; its default is in the file."""
    for name, of in described.items():
        sizes = ", ".join(str(size if isinstance(size, int) else -1) for size in of["shape"]) or "1"
        optional = " optional: true" if "default" in of else ""
        yield f'  {{ name: "{name}" data_type: {TYPES[of["dtype"]]} dims: [ {sizes} ]{optional} }}'


def _joined(tensors: list[str]) -> str:
    return ",\n".join(tensors)


def readme(described: dict[str, dict[str, str]]) -> str:
    """Returns the text of README.md."""
    sections = [README.format(version=kerass2s.__version__)]
    for name, description in described.items():
        body = in_shell_quotes(v2_requests(description)["source"])
        sections.append(
            f"## {name}\n\nArchitecture `{description['architecture']}`, search `{description['search']}`.\n\n"
            f"    curl -s http://localhost:8000/v2/models/{name}/infer -d {body}\n"
        )
    return "\n".join(sections)


README = """\
# Models for Triton

Made by kerass2s {version}: a model repository for the onnxruntime backend of Triton Inference Server. A server whose
image has that backend is started over this folder, mounted at /models, with

    tritonserver --model-repository=/models

It answers REST at port 8000 and gRPC at port 8001, both by the V2 protocol. `source_ids` end with 3 and shorter rows
are padded with anything, since `source_lengths` says how far to read. The vocabularies and the SentencePiece models,
for text to ids and back, are in the metadata of the ONNX file.
"""
