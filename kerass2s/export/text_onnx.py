"""The ONNX export from text to text: strings in and strings out, around the model of ids, by onnxruntime-extensions."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from kerass2s.codec import TextCodec
from kerass2s.decoding import Search
from kerass2s.errors import ExportError
from kerass2s.export.conversion import OPSET
from kerass2s.export.describe import (
    described_codec,
    described_search,
    needed,
    onnx_description,
    write_onnx_description,
)
from kerass2s.export.onnx import EXTENSIONS, convert, extensions_library, write_checked
from kerass2s.export.precision import FULL
from kerass2s.export.strings import LABELS, Nodes, padded, texts, tokenized
from kerass2s.inference import Inference
from kerass2s.text.spelling import has_byte_pieces

__all__ = ["export_text_onnx", "text_to_text", "write_text_onnx"]

PROBES = [{"text": np.array(rows, object)} for rows in (["a"], [], ["", "a b"])]


def export_text_onnx(
    model: Inference,
    path: str | os.PathLike[str],
    search: Search,
    *,
    opset: int = OPSET,
    precision: str = FULL,
) -> None:
    """Writes `model` with `search` as one ONNX file that reads and writes strings; it is reloaded and run before.

    The input is `text` string [batch], and what else the search takes can be left out, as in the file of ids: the
    outputs are those of that file and

        best_text    string [batch], and best_score float32 [batch]: `serving_default` of the SavedModel
        texts        string [batch, beams], beside scores float32 [batch, beams]: its `n_best`

    ONNX Runtime runs it where the library of onnxruntime-extensions is registered. See `docs/exports.md` for what a
    string can hold there.

    Args:
        model: the model, from text to text.
        path: the file to write; its directory is made where it is missing.
        search: the search that goes into the file.
        opset: the version of the ONNX operators.
        precision: of the weights, as in `export_onnx`.

    Raises:
        ExportError: the model does not go from text to text, a tokenizer has byte pieces, the path is a directory, an
            extra is not installed, or the file does not reload and run.
        ConfigError: an unknown precision or opset.
    """
    _check_codec(model.codec, model.architecture, _copies(model.codec, search))  # before the conversion, which is long
    write_checked(lambda: text_to_text(convert(model, search, opset, precision)), path, PROBES)


def write_text_onnx(proto: Any, path: str | os.PathLike[str]) -> None:
    """Writes the file from text to text around a converted model, the `onnx.ModelProto` of a file of ids.

    Raises:
        ExportError: as for `export_text_onnx`.
    """
    write_checked(lambda: text_to_text(proto), path, PROBES)


def text_to_text(proto: Any) -> Any:
    """Returns a new `onnx.ModelProto` from text to text, around one from ids to ids that carries its description.

    Raises:
        ExportError: the model does not go from text to text, or a tokenizer has byte pieces.
    """
    description = onnx_description(proto)
    codec = described_codec(description)
    copies = _copies(codec, described_search(description))
    _check_codec(codec, description["architecture"], copies)
    made = type(proto)()
    made.CopyFrom(proto)
    surround(made, codec, copies)
    description["inputs"] = json.dumps(_inputs(json.loads(description["inputs"]), codec))
    description["outputs"] = json.dumps({**TEXT_OUTPUTS, **json.loads(description["outputs"])})
    description["onnxruntime_extensions_version"] = extensions_library().__version__
    if not copies:  # the tokenizing node holds just this model, and `read_onnx` finds it there
        del description["source_sentencepiece"]
    write_onnx_description(made, description)
    return made


TEXT_OUTPUTS = {
    "best_text": {"dtype": "string", "shape": ["batch"]},
    "best_score": {"dtype": "float32", "shape": ["batch"]},
    "texts": {"dtype": "string", "shape": ["batch", "beams"]},
}


def _inputs(inputs: dict[str, Any], codec: TextCodec) -> dict[str, Any]:
    settings = {name: of for name, of in inputs.items() if name not in codec.source_spec}
    return {"text": {"dtype": "string", "shape": ["batch"]}, **settings}


def _copies(codec: Any, search: Search) -> bool:
    """Whether ids of an answer may stand for pieces of the source."""
    return getattr(search, "copy_unknown", False) or getattr(codec, "open_vocabulary", False)


def _check_codec(codec: Any, architecture: str, copies: bool) -> None:
    if not isinstance(codec, TextCodec):
        raise ExportError(f"text_onnx is for models from text to text; export onnx. Received: {architecture}")
    needing = {"target": codec.target_tokenizer, **({"source": codec.source_tokenizer} if copies else {})}
    for side, tokenizer in needing.items():
        if has_byte_pieces(tokenizer):
            raise ExportError(
                f"text_onnx cannot join the byte pieces of the {side} tokenizer to text; export onnx. "
                f"Received: {tokenizer}"
            )


def surround(proto: Any, codec: TextCodec, copies: bool) -> None:
    """Puts tokenizing before a model of ids and spelling behind it, in place; its outputs all stay outputs.

    Args:
        proto: an `onnx.ModelProto` with the inputs `source_ids` and `source_lengths` and the outputs `target_ids` and
            `scores`.
        codec: the two ends.
        copies: whether ids may stand for pieces of the source.
    """
    onnx, graph = needed("onnx", "onnx"), proto.graph
    before, behind = Nodes("read"), Nodes("write")
    source = tokenized(before, "text", codec, copies)
    for name, value in zip(codec.source_spec, padded(before, source), strict=True):
        before.named(value, name)
    found = texts(behind, "target_ids", codec, source)
    best = (behind("Gather", found, 0, axis=1), behind("Gather", "scores", 0, axis=1), found)
    for name, value in zip(TEXT_OUTPUTS, best, strict=True):
        behind.named(value, name)
    _replace(graph.node, [*before.nodes, *graph.node, *behind.nodes])
    graph.initializer.extend([*before.constants, *behind.constants])
    graph.value_info.extend([*before.types, *behind.types])
    kinds = {"string": onnx.TensorProto.STRING, "float32": onnx.TensorProto.FLOAT}
    text, *made = (
        onnx.helper.make_tensor_value_info(name, kinds[of["dtype"]], of["shape"])
        for name, of in {"text": {"dtype": "string", "shape": ["batch"]}, **TEXT_OUTPUTS}.items()
    )
    _replace(graph.input, [text, *(each for each in graph.input if each.name not in codec.source_spec)])
    _replace(graph.output, [*made, *graph.output])
    domains = {EXTENSIONS: 1, **({LABELS: 3} if copies else {})}
    proto.opset_import.extend(onnx.helper.make_opsetid(domain, number) for domain, number in domains.items())


def _replace(repeated: Any, values: list[Any]) -> None:
    """Puts values in the place of those that a repeated field of protobuf has."""
    del repeated[:]
    repeated.extend(values)
