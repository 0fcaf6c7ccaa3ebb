"""A web page that runs ONNX exports in the browser: a folder of static files, from which no text goes out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from kerass2s.decoding import BeamSearch
from kerass2s.deploy.folder import find_onnx, named
from kerass2s.errors import ExportError
from kerass2s.export.describe import read_onnx
from kerass2s.export.manifest import onnx_files
from kerass2s.export.onnx import export_onnx
from kerass2s.files import MEBIBYTE, digest
from kerass2s.presets import load_preset

PAGE = Path(__file__).parent / "web"
LARGEST = 256 * MEBIBYTE
RUNTIME_VERSION = "1.30.0"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""The files of the npm package onnxruntime-web that the page runs; they are not part of this package."""


def write_page(
    models: Sequence[str],
    out: str | os.PathLike[str],
    *,
    runtime: str | os.PathLike[str] | None = None,
    examples: Iterable[str] = (),
) -> None:
    """Writes a folder that any web server can serve, also below a path of its own.

    In it are the page, `models/NAME.onnx`, `models.json` that lists them, and onnxruntime-web's files in `ort/`. What
    else is in the folder stays, so a page can be written over an older one.

    Args:
        models: `MODEL` or `NAME=MODEL` each; the first one is shown first. A model is an `.onnx` export, an exported
            directory with one, or a preset's name or directory, which is exported with a beam of 5.
        out: the folder.
        runtime: the folder with onnxruntime-web's files, `node_modules/onnxruntime-web/dist`. None: npm brings them
            into the user's cache, once.
        examples: texts that the page offers to try, `TEXT` or, by one model alone, `NAME=TEXT`; it begins with the
            model's first.

    Raises:
        ConfigError: there are no models, two have one name, or a name cannot be part of an address.
        UserError: there is no such file (PresetError: no such preset).
        ExportError: a model does not go from text to text, its file does not take ids (`text_onnx` takes strings), or
            onnxruntime-web's files are not to be had.
    """
    places, parts = named(models, _find_model), _parts(_runtime(runtime))
    offered = _offered(examples, places)
    Path(out).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".page-") as made:
        place = Path(made)
        for name, source in parts.items():
            _copy(source, place / name)
        for name, model in places.items():
            _place_model(model, place / "models" / f"{name}.onnx")
        listed = [_listed(place / "models" / f"{name}.onnx", offered[name]) for name in places]
        text = json.dumps({"files": sorted(parts), "models": listed}, indent=2, ensure_ascii=False) + "\n"
        (place / "models.json").write_text(text, "utf-8")
        _set_version(place)
        shutil.copytree(place, out, dirs_exist_ok=True)


def _parts(runtime: Path) -> dict[str, Path]:
    """Returns where the files come from that every page has, by their places in the folder."""
    return {path.name: path for path in sorted(PAGE.iterdir())} | {f"ort/{name}": runtime / name for name in RUNTIME}


def _offered(examples: Iterable[str], names: Iterable[str]) -> dict[str, list[str]]:
    """Returns the examples that each model offers."""
    offered: dict[str, list[str]] = {name: [] for name in names}
    for example in examples:
        name, _, text = example.partition("=")
        for each in offered if name not in offered else [name]:
            offered[each].append(text if name in offered else example)
    return offered


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _listed(file: Path, examples: list[str]) -> dict[str, object]:
    return {"name": file.stem, "file": f"models/{file.name}", "bytes": file.stat().st_size, "examples": examples}


def _set_version(place: Path) -> None:
    """Writes a digest of all files into the service worker: a browser takes a page as new when that file changes."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    version = hashlib.sha256("".join(map(digest, files)).encode()).hexdigest()[:16]
    service_worker = place / "service-worker.js"
    text = service_worker.read_text("utf-8")
    service_worker.write_text(text.replace('"unversioned"', f'"{version}"', 1), "utf-8")


# === Models ===


def _find_model(path: Path) -> Path:
    """Returns the ONNX file at a path, or the path, if that is to be a preset."""
    exported = path.is_dir() and not (path / "config.json").is_file() and onnx_files(path)
    return find_onnx(path) if path.suffix == ".onnx" or exported else path


def _place_model(model: Path, target: Path) -> None:
    """Puts an ONNX file of the model at `target`; checks that the page can read it."""
    if model.suffix == ".onnx":
        _, description = read_onnx(model)
        _check_text(model, [side for side in ("source", "target") if f"{side}_sentencepiece" in description])
        inputs = list(json.loads(description["inputs"]))
        if "source_ids" not in inputs:
            raise ExportError(f"{model}: the page takes ONNX files from ids to ids. Received: one that takes {inputs}")
        _copy(model, target)
        return
    live = load_preset(model)
    _check_text(model, live.codec.tokenizers())
    export_onnx(live, target, BeamSearch(5))


def _check_text(model: Path, sides: Iterable[str]) -> None:
    if set(sides) != {"source", "target"}:
        raise ExportError(f"{model}: the page is for models from text to text. Received: text as {sorted(sides)}")


# === onnxruntime-web ===


def _runtime(given: str | os.PathLike[str] | None) -> Path:
    """Returns the folder that has onnxruntime-web's files."""
    folder = _cached_runtime() if given is None else Path(given)
    missing = [name for name in RUNTIME if not (folder / name).is_file()]
    if missing:
        raise ExportError(
            f"{folder}: give the folder `dist` of the npm package onnxruntime-web. Received: one without {missing[0]}"
        )
    return folder


def _cached_runtime() -> Path:
    """Returns the folder of the user's cache with the files, after npm has brought them there, if they were missing."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "kerass2s" / f"onnxruntime-web-{RUNTIME_VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            _fetch_runtime(Path(made))
            (Path(made) / "dist").replace(folder)
    return folder


def _fetch_runtime(place: Path) -> None:
    """Packs onnxruntime-web by npm, which checks it, and unpacks the files that the page needs into `place/dist`."""
    package = f"onnxruntime-web@{RUNTIME_VERSION}"
    help = f"Install npm, or give the folder `dist` of {package} as the runtime"
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(f"The page needs {package}. {help}. Received: no npm on the path")
    command = [npm, "pack", package, "--ignore-scripts", "--silent", "--pack-destination", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExportError(f"npm could not bring {package}. {help}. Received: {done.stderr.strip()[-300:]}")
    (packed,) = place.glob("*.tgz")
    unpack(packed, place / "dist")


def unpack(packed: Path, place: Path) -> None:
    """Unpacks the files that the page needs, and nothing else, whatever the archive says where they go.

    Raises:
        ExportError: it is no such archive, or one of them is missing, a link, or too large.
    """
    place.mkdir()
    try:
        with tarfile.open(packed) as archive:
            for name in RUNTIME:
                member = archive.getmember(f"package/dist/{name}")
                if not member.isreg() or member.size > LARGEST:
                    raise ExportError(f"{packed}: must be a plain file. Received: {member.name}, {member.size:,} bytes")
                with archive.extractfile(member) as inside, (place / name).open("wb") as target:
                    shutil.copyfileobj(inside, target)
    except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
        raise ExportError(f"{packed}: not the package onnxruntime-web. Received: {error}") from error
