"""The folder that a server takes: exports under the names they are served by, written whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kerass2s.errors import ConfigError, ExportError, UserError
from kerass2s.export.manifest import onnx_files, saved_models
from kerass2s.export.place import whole_directory
from kerass2s.export.predictor import is_saved_model

SERVED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a model may be called: part of an address, and a directory on any system."""


def named(exports: Sequence[str], find: Callable[[Path], Path]) -> dict[str, Path]:
    """Returns the exports by the names they are to be served by.

    Args:
        exports: `EXPORT` or `NAME=EXPORT` each. Without a name it is that of the exported directory: `g2p` for
            `out/g2p`, `out/g2p/saved_model/1` and `out/g2p/model.onnx` alike.
        find: `find_saved_model` or `find_onnx`.

    Raises:
        ConfigError: there are none, two have one name, or a name cannot be part of an address.
        UserError: there is nothing at a path.
        ExportError: there is something else.
    """
    found: dict[str, Path] = {}
    for export in exports:
        # A path that is there may hold a "=" itself.
        name, given, path = ("", "", export) if Path(export).exists() else export.partition("=")
        path = path if given else export
        place = find(Path(path))
        name = name if given else _name_of(place)
        if not SERVED_NAME.fullmatch(name):
            raise ConfigError(
                f"A name to be served by is letters, digits, '.', '_' and '-': NAME=EXPORT. Received: {name!r}"
            )
        if name in found:
            raise ConfigError(f"Two exports would have one name; say NAME=EXPORT. Received: {name!r} twice")
        found[name] = place
    if not found:
        raise ConfigError("There is nothing to serve. Received: no export")
    return found


def find_saved_model(path: Path) -> Path:
    """Returns the SavedModel at a path: itself, or the newest of an exported directory.

    Raises:
        UserError: there is nothing at the path.
        ExportError: there is no SavedModel.
    """
    _check_there(path)
    if path.is_dir() and is_saved_model(path):
        return path
    versions = saved_models(path) if path.is_dir() else []
    if not versions:
        raise ExportError(f"TensorFlow Serving takes a SavedModel. Received: {str(path)!r}")
    return max(versions, key=lambda version: int(version.name))


def find_onnx(path: Path) -> Path:
    """Returns the ONNX file at a path: itself, or `model.onnx` of an exported directory.

    Raises:
        UserError: there is nothing at the path.
        ExportError: there is no ONNX file, or no saying which.
    """
    _check_there(path)
    if path.is_file() and path.suffix == ".onnx":
        return path
    files = onnx_files(path) if path.is_dir() else []
    chosen = [file for file in files if file.name == "model.onnx"] or files
    if len(chosen) != 1:
        raise ExportError(f"Name one ONNX file, there are {len(chosen)} here. Received: {str(path)!r}")
    return chosen[0]


def _check_there(path: Path) -> None:
    if not path.exists():
        raise UserError(f"No such export. Received: {str(path)!r}")


def _name_of(place: Path) -> str:
    """The name of the exported directory that an artefact lies in, or its own."""
    place = place.resolve()
    if place.is_file():
        return place.parent.name if place.name == "model.onnx" else place.stem
    if place.name.isdigit():
        place = place.parent
    return place.parent.name if place.name == "saved_model" else place.name


@contextmanager
def fresh_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty directory that becomes `out` when all went well, and is gone when not.

    Raises:
        ConfigError: `out` holds something already: a server may be reading it.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"Give an empty or a new directory. Received: {str(out)!r}")
    with whole_directory(out) as made:
        yield made
