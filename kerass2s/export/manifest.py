"""The manifest of an exported directory: its interface, its special ids, its versions and each file's SHA-256."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from kerass2s.errors import ExportError
from kerass2s.export.describe import read_onnx, read_saved_model_description
from kerass2s.export.steps import ENCODER, STEP
from kerass2s.files import MEBIBYTE, digest, inside, read_json, write_json

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 64 * MEBIBYTE
SPECIAL_IDS = ("pad_id", "unknown_id", "start_id", "end_id")
VERSIONS = (
    "kerass2s_version",
    "keras_version",
    "tensorflow_version",
    "tf2onnx_version",
    "onnxruntime_extensions_version",
    "opset",
)


def saved_models(directory: Path) -> list[Path]:
    """Returns the SavedModel directories `NAME/saved_model/VERSION` of an exported directory, oldest first."""
    return sorted(file.parent for file in directory.glob("saved_model/[0-9]*/saved_model.pb"))


def onnx_files(directory: Path) -> list[Path]:
    """Returns the ONNX files of an exported directory."""
    return sorted(file for file in directory.glob("*.onnx") if file.is_file())


def onnx_steps(directory: Path) -> list[Path]:
    """Returns the directories of an encoder and a decoder's step in an exported directory."""
    return sorted(file.parent for file in directory.glob(f"*/{STEP}"))


def write_manifest(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Writes `manifest.json` into an exported directory NAME/, over all other files there, and returns it.

    Raises:
        ExportError: the directory holds no export, or one that is damaged.
    """
    directory = Path(directory)
    interfaces = _interfaces(directory)
    if not interfaces:
        raise ExportError(f"No saved_model/VERSION and no .onnx file in the directory. Received: {str(directory)!r}")
    manifest = {
        "format": 1,
        "exports": interfaces,
        "sha256": {name: digest(directory / name) for name in _files(directory)},
    }
    write_json(directory / MANIFEST, manifest)
    return manifest


def _interfaces(directory: Path) -> dict[str, Any]:
    """Returns what each export of a directory says of its interface, by its place there."""
    described = {path: read_saved_model_description(path) for path in saved_models(directory)}
    parts = [part / name for part in onnx_steps(directory) for name in (ENCODER, STEP)]
    described |= {path: read_onnx(path)[1] for path in [*onnx_files(directory), *parts]}
    return {path.relative_to(directory).as_posix(): _interface(text) for path, text in described.items()}


def _interface(description: dict[str, str]) -> dict[str, Any]:
    return {
        "architecture": description["architecture"],
        **{name: description[name] for name in ("search", "precision") if name in description},
        "inputs": json.loads(description["inputs"]),
        "outputs": json.loads(description["outputs"]),
        "special_ids": {
            name.removesuffix("_id"): int(description[name]) for name in SPECIAL_IDS if name in description
        },
        "versions": {name.removesuffix("_version"): description[name] for name in VERSIONS if name in description},
    }


def _files(directory: Path) -> list[str]:
    """Returns the names of all files, each checked to lie in the directory."""
    names = (file.relative_to(directory).as_posix() for file in directory.rglob("*") if not file.is_dir())
    return sorted(name for name in names if name != MANIFEST and inside(directory, name, ExportError))


def check_manifest(directory: str | os.PathLike[str]) -> list[str]:
    """Returns what differs from `manifest.json`, one line each; an empty list where all is as it says.

    Raises:
        ExportError: there is no readable manifest, or a file that it could speak of leads out of the directory.
    """
    directory = Path(directory)
    manifest = read_json(directory / MANIFEST, LARGEST_MANIFEST, ExportError)
    listed = manifest.get("sha256")
    if not isinstance(listed, dict):
        raise ExportError(f"{directory / MANIFEST}: has no 'sha256'. Received: {sorted(manifest)}")
    present = {name: digest(directory / name, ExportError) for name in _files(directory)}
    changed = [
        f"{name}: {'missing' if name not in present else 'not in the manifest' if name not in listed else 'changed'}"
        for name in sorted(listed.keys() | present.keys())
        if listed.get(name) != present.get(name)
    ]
    if changed:
        return changed
    told, true = manifest.get("exports"), _interfaces(directory)
    return [] if told == true else [f"{MANIFEST}: tells another interface than the exports have"]
