"""A web page that runs ONNX exports in the browser: a folder of static files, from which no text goes out."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kerass2s.decoding import BeamSearch
from kerass2s.errors import ConfigError, ExportError
from kerass2s.export.describe import file_digest, read_onnx
from kerass2s.export.onnx import export_onnx
from kerass2s.presets import load_preset

PAGE = Path(__file__).parent / "web"
RUNTIME_VERSION = "1.30.0"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""The files of the npm package onnxruntime-web that the page runs; they are not part of this package."""


def write_page(
    models: Mapping[str, str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    runtime: str | os.PathLike[str] | None = None,
    examples: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Writes a folder that any web server can serve, also below a path of its own.

    In it are the page, `models/NAME.onnx`, `models.json` that lists them, and onnxruntime-web's files in `ort/`. What
    else is in the folder stays.

    Args:
        models: name in the page to an `.onnx` export, or to a preset's name or directory, which is exported with a beam
            of 5; the first one is shown first.
        out: the folder.
        runtime: the folder with onnxruntime-web's files, `node_modules/onnxruntime-web/dist`. None: npm brings them
            into the user's cache, once.
        examples: texts that the page offers to try, by the name of their model; it begins with the first.

    Raises:
        ConfigError: there are no models, or a name is no plain file name.
        UserError: there is no such file (PresetError: no such preset).
        ExportError: a model does not go from text to text, or onnxruntime-web's files are not to be had.
    """
    _check_names(models)
    out = Path(out)
    parts = {f"ort/{name}": _runtime(runtime) / name for name in RUNTIME}
    parts |= {path.name: path for path in sorted(PAGE.iterdir())}
    for name, source in parts.items():
        _copy(source, out / name)
    files = {name: out / "models" / f"{name}.onnx" for name in models}
    for name, model in models.items():
        _place_model(str(model), files[name])
    listed = [_listed(name, path, (examples or {}).get(name, ())) for name, path in files.items()]
    text = json.dumps({"files": sorted(parts), "models": listed}, indent=2, ensure_ascii=False) + "\n"
    (out / "models.json").write_text(text, "utf-8")
    _set_version(out / "service-worker.js", [out / "models.json", *files.values(), *(out / name for name in parts)])


def _check_names(models: Mapping[str, str | os.PathLike[str]]) -> None:
    if not models:
        raise ConfigError("A page needs at least one model. Received: none")
    for name in models:
        if not re.fullmatch(r"\w[\w .-]*", name):
            raise ConfigError(f"A model's name has letters, digits, spaces, '.', '-' and '_' only. Received: {name!r}")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _listed(name: str, path: Path, examples: Sequence[str]) -> dict[str, object]:
    return {"name": name, "file": f"models/{path.name}", "bytes": path.stat().st_size, "examples": list(examples)}


def _set_version(service_worker: Path, files: list[Path]) -> None:
    """Writes a digest of the files into the service worker, by whose change a browser knows that they changed."""
    version = hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()[:16]
    text = service_worker.read_text("utf-8")
    service_worker.write_text(text.replace('"unversioned"', f'"{version}"', 1), "utf-8")


# === Models ===


def _place_model(model: str, target: Path) -> None:
    """Puts an ONNX file of the model at `target`; checks that the page can read it."""
    if Path(model).suffix == ".onnx":
        _, description = read_onnx(model)
        sides = [side for side in ("source", "target") if f"{side}_sentencepiece" in description]
        _check_text(model, sides)
        _copy(Path(model), target)
        return
    live = load_preset(model)
    _check_text(model, live.codec.tokenizers())
    export_onnx(live, target, BeamSearch(5))


def _check_text(model: str, sides: Iterable[str]) -> None:
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
    (place / "dist").mkdir()
    with tarfile.open(packed) as archive:
        for name in RUNTIME:
            with archive.extractfile(f"package/dist/{name}") as inside, (place / "dist" / name).open("wb") as target:
                shutil.copyfileobj(inside, target)
