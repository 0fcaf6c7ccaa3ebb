"""What an export says of itself: all that a program in another language needs to run it, as strings."""

from __future__ import annotations

import base64
import importlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kerass2s
from kerass2s import zoo
from kerass2s.codec import Codec
from kerass2s.decoding import Lexicon, Search, parse_search, search_spec
from kerass2s.ensemble import codec_owner
from kerass2s.errors import ExportError, UserError
from kerass2s.export.foreign import refuse_foreign, refuse_foreign_graph
from kerass2s.export.graph import inputs_spec
from kerass2s.files import MEBIBYTE, SEAL, digest, inside, read_bytes, read_json, seal, sealed, write_json
from kerass2s.inference import Inference
from kerass2s.text import END_ID, LARGEST_TOKENIZER, PAD_ID, START_ID, UNKNOWN_ID, SentencePieceTokenizer

FORMAT = "2"
LARGEST = 2048 * MEBIBYTE
"""Bytes of a file that is read whole; no protocol buffer, and so no ONNX file, can have more."""
SAVED_MODEL_DESCRIPTION = Path("assets.extra", "kerass2s.json")


def describe(model: Inference, search: Search, outputs: Iterable[str]) -> dict[str, str]:
    """Returns what the export of `model` with `search` carries; values that are not plain text are JSON or base64.

    Keys: those of `describe_model`, search, `inputs` and `outputs` (JSON: dtype and shape by name, and the default of
    an input that can be left out). A lexicon of the search is `lexicon`, a JSON list of lists of ids.

    Args:
        model: the model that is exported.
        search: the search that the export holds.
        outputs: the names of the export's outputs.
    """
    return {
        **describe_model(model),
        "search": search_spec(search),
        **_describe_lexicon(search),
        "inputs": json.dumps(_inputs(model.codec, search)),
        "outputs": json.dumps({name: of for name, of in _outputs(model.codec).items() if name in outputs}),
    }


def describe_model(model: Inference) -> dict[str, str]:
    """Returns what any export of `model` carries, whatever it computes.

    Keys: format, architecture, config, the versions. Where there are tokenizers, also the four special ids (`pad_id`,
    ...), and of each side that has one `source_vocabulary` or `target_vocabulary` (a JSON list, a piece at its id) and
    `source_sentencepiece` or `target_sentencepiece` (the SentencePiece model, compressed by zlib, in base64). Targets
    are only written, so theirs has no table of normalisation: every file is 0.18 MB smaller.
    """
    return {
        "format": FORMAT,
        "architecture": model.architecture,
        "config": json.dumps(asdict(model.config)),
        **_describe_tokenizers(model.codec.tokenizers()),
        "kerass2s_version": kerass2s.__version__,
        "keras_version": version("keras"),
        "tensorflow_version": version("tensorflow"),
    }


def _inputs(codec: Codec, search: Search) -> dict[str, dict[str, Any]]:
    """All inputs; those that a caller may leave out have a default."""
    names = ["batch", "source_time"]
    described: dict[str, dict[str, Any]] = {}
    for name, spec in inputs_spec(codec, search).items():
        sizes = [size if size is not None else names[axis] for axis, size in enumerate(spec.shape)]
        described[name] = {"dtype": spec.dtype.name, "shape": sizes}
    for name, value in codec.settings(search).items():
        described[name]["default"] = value.item()
    return described


def _outputs(codec: Codec) -> dict[str, dict[str, Any]]:
    """All outputs that there can be; those of a memory shorter than the source name its time apart."""
    memory_time = "source_time" if codec.window == 1 else "memory_time"
    return {
        "target_ids": {"dtype": "int32", "shape": ["batch", "beams", "target_time"]},
        "target_lengths": {"dtype": "int32", "shape": ["batch", "beams"]},
        "scores": {"dtype": "float32", "shape": ["batch", "beams"]},
        "token_scores": {"dtype": "float32", "shape": ["batch", "beams", "token_time"]},
        "target_values": {"dtype": "float32", "shape": ["batch", "target_time", codec.target_size]},
        "alignments": {"dtype": "float32", "shape": ["batch", "beams", "target_time", memory_time]},
    }


def shapes(description: dict[str, str]) -> dict[str, list[str | int]]:
    """Returns the shape of each described input and output: the names of its dimensions, and fixed sizes."""
    both = {**json.loads(description["inputs"]), **json.loads(description["outputs"])}
    return {name: of["shape"] for name, of in both.items()}


def _describe_tokenizers(tokenizers: dict[str, SentencePieceTokenizer]) -> dict[str, str]:
    ids = {"pad_id": PAD_ID, "unknown_id": UNKNOWN_ID, "start_id": START_ID, "end_id": END_ID} if tokenizers else {}
    described = {name: str(value) for name, value in ids.items()}
    for side, tokenizer in tokenizers.items():
        described[f"{side}_vocabulary"] = json.dumps(tokenizer.pieces, ensure_ascii=False)
        described[f"{side}_sentencepiece"] = packed(
            tokenizer.model_proto if side == "source" else tokenizer.without_table()
        )
    return described


def _describe_lexicon(search: Search) -> dict[str, str]:
    held = [each for each in getattr(search, "filters", ()) if isinstance(each, Lexicon)]
    return {"lexicon": json.dumps(held[0].sequences)} if held else {}


def described_search(description: dict[str, str]) -> Search:
    """Returns the search that a description carries; raises ExportError where it does not make sense."""
    try:
        sequences = json.loads(description.get("lexicon", "null"))
        lexicon = None if sequences is None else Lexicon(tuple(tuple(each) for each in sequences))
        return parse_search(description["search"], lexicon)
    except (KeyError, ValueError, TypeError) as error:
        raise ExportError(f"The export does not say how it searches. Received: {first_line(error)}") from error


def reads_text(description: dict[str, str]) -> bool:
    """Tells whether the described function takes texts as they are, as the ONNX file from text to text does."""
    return "text" in json.loads(description["inputs"])


def raw_signature(description: dict[str, str]) -> str:
    """Returns the name of a SavedModel's signature that has the inputs and outputs of the description."""
    return "ids_with_settings" if "target_ids" in json.loads(description["outputs"]) else "serving_default"


def described_codec(description: dict[str, str]) -> Codec:
    """Returns the codec that a description carries; raises ExportError where it does not make sense."""
    try:
        source, target = (
            SentencePieceTokenizer(unpacked(description[key])) if key in description else None
            for key in ("source_sentencepiece", "target_sentencepiece")
        )
        architecture, config = codec_owner(description["architecture"], json.loads(description["config"]))
        return zoo.codec(architecture, zoo.configure(architecture, **config), source, target)
    except (LookupError, ValueError, TypeError, zlib.error) as error:
        raise ExportError(f"The export does not say how it reads and writes. Received: {first_line(error)}") from error


def packed(content: bytes) -> str:
    """Returns bytes as text, compressed."""
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def unpacked(text: str) -> bytes:
    """Returns the bytes that were `packed`."""
    inflating = zlib.decompressobj()
    content = inflating.decompress(base64.b64decode(text, validate=True), LARGEST_TOKENIZER)
    if not inflating.eof:
        raise ValueError(f"a tokenizer of more than {LARGEST_TOKENIZER:,} bytes, or a part of one")
    return content


# === Where exports keep it ===


def _check_seal(path: Path, description: dict[str, str], content: bytes = b"") -> None:
    if SEAL not in description:
        raise ExportError(f"{path}: damaged, or not an export that kerass2s wrote. Received: no checksum")
    if seal(description, content) != description[SEAL]:
        raise ExportError(f"{path}: damaged, its checksum does not fit. Received: {description[SEAL]}")
    if not all(isinstance(value, str) for value in description.values()):
        raise ExportError(f"{path}: not a description, whose values are texts. Received: {sorted(description)}")
    if description.get("format") != FORMAT:
        raise ExportError(
            f"{path}: this version reads format {FORMAT}; export the preset again. "
            f"Received: {description.get('format')!r}"
        )


def read_saved_model_description(path: str | Path) -> dict[str, str]:
    """Reads the description of a SavedModel directory, and checks each of its files against it.

    Raises:
        ExportError: it is not a kerass2s export, a file is missing or damaged, or it has what no export has; see
            `refuse_foreign_graph`.
    """
    path = Path(path)
    if not (path / SAVED_MODEL_DESCRIPTION).exists():
        raise ExportError(
            f"{path}: not a SavedModel that kerass2s wrote. Received: a directory without {SAVED_MODEL_DESCRIPTION}"
        )
    description = read_json(inside(path, SAVED_MODEL_DESCRIPTION.as_posix(), ExportError), LARGEST, ExportError)
    _check_seal(path, description)
    listed = _listed(path, description)
    for name, found in listed.items():
        if not inside(path, name, ExportError).exists():
            raise ExportError(f"{path}: a file of the SavedModel is missing. Received: {name}")
        if digest(path / name, ExportError) != found:
            raise ExportError(f"{path}: a file of the SavedModel is damaged. Received: {name}")
    # What stands in assets.extra is a user's own; anywhere else TensorFlow could take it for a part of the model.
    for name in (file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()):
        if name not in listed and not name.startswith("assets.extra/"):
            raise ExportError(f"{path}: a file that is no part of the SavedModel. Received: {name}")
    refuse_foreign_graph(path)
    return description


def _listed(path: Path, description: dict[str, str]) -> dict[str, str]:
    """Returns the files that a description names, with their checksums."""
    try:
        return {str(name): str(found) for name, found in json.loads(description["files"]).items()}
    except (KeyError, ValueError, AttributeError, RecursionError) as error:
        raise ExportError(f"{path}: does not say of what files it is. Received: {first_line(error)}") from error


def write_saved_model_description(path: Path, description: dict[str, str]) -> None:
    """Writes the description into a complete SavedModel directory, with the SHA-256 of each file there."""
    files = {file.relative_to(path).as_posix(): digest(file) for file in sorted(path.rglob("*")) if file.is_file()}
    target = path / SAVED_MODEL_DESCRIPTION
    target.parent.mkdir(exist_ok=True)
    write_json(target, sealed({**description, "files": json.dumps(files)}))


def read_onnx(path: str | Path) -> tuple[Any, dict[str, str]]:
    """Reads an ONNX file: the model and its description, after a check of both against their checksum.

    Raises:
        UserError: there is no such file.
        ExportError: it is damaged, not a kerass2s export, or has what no export has; see `refuse_foreign`.
    """
    onnx = needed("onnx", "onnx")
    path = Path(path)
    if not path.is_file():
        raise UserError(f"No such ONNX file. Received: {str(path)!r}")
    content = read_bytes(path, LARGEST, ExportError)
    try:
        # Of a path, `load_model` would also read what files the model names beside itself.
        model = onnx.load_model_from_string(content)
        described = {entry.key: entry.value for entry in model.metadata_props}
        _check_seal(path, described, onnx_content(model))
    except UserError:
        raise
    except Exception as error:  # protobuf's class, which differs between its implementations
        raise ExportError(f"{path}: damaged, or not an ONNX file. Received: {first_line(error)}") from error
    refuse_foreign(model, path)
    return model, onnx_description(model)


def onnx_description(model: Any) -> dict[str, str]:
    """Returns the description of an `onnx.ModelProto`; one that reads text holds its tokenizer in a node alone."""
    description = {entry.key: entry.value for entry in model.metadata_props}
    held = [node for node in model.graph.node if node.op_type == "SentencepieceTokenizer"]
    if held and "source_sentencepiece" not in description:
        contents = [attribute.s for attribute in held[0].attribute if attribute.name == "model"]
        description["source_sentencepiece"] = packed(b"".join(contents))
    return description


def write_onnx_description(model: Any, description: dict[str, str]) -> None:
    """Puts the description into the metadata of an `onnx.ModelProto`, with a checksum over it and the graph."""
    del model.metadata_props[:]
    for key, value in sealed(description, onnx_content(model)).items():
        model.metadata_props.add(key=key, value=value)


def onnx_content(model: Any) -> bytes:
    """Returns the bytes of an ONNX model's graph, weights included, that its checksum covers."""
    return model.graph.SerializeToString(deterministic=True)


def first_line(error: BaseException) -> str:
    """Returns an error as one line: its class and the first line of its message, shortened."""
    message = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {message[:200]}" if message else type(error).__name__


def needed(module: str, extra: str) -> Any:
    """Imports a module of an optional extra; raises ExportError that names the extra without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExportError(f"This needs: pip install 'kerass2s[{extra}]'. Received: {first_line(error)}") from error
