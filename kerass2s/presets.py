"""Presets: a model as a directory of config.json, weights and tokenizers, checked file by file when it is loaded."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

import kerass2s
from kerass2s import bundled, hub, zoo
from kerass2s.confidence import Calibration
from kerass2s.ensemble import ENSEMBLE, Ensemble
from kerass2s.errors import ConfigError, PresetError, suggestion
from kerass2s.files import MEBIBYTE, SEAL, digest, inside, need_room, read_json, seal, sealed, write_json
from kerass2s.inference import Inference
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import SentencePieceTokenizer

__all__ = [
    "average_checkpoints",
    "load_calibration",
    "load_preset",
    "load_single",
    "push_preset",
    "save_calibration",
    "save_preset",
]

FORMAT = 2
CONFIG, WEIGHTS, CONFIDENCE = "config.json", "model.weights.h5", "confidence.json"
TOKENIZERS = {"source": "source.spm", "target": "target.spm"}
KEYS = {"format", "kerass2s_version", "architecture", "config", "files"}
FORMATS = {1: KEYS, FORMAT: KEYS | {SEAL}}
"""The keys of a config in each format that can be read; the first one had no checksum over the config itself."""
LARGEST_CONFIG = MEBIBYTE
DTYPES = ("float32", "float16")
LEAST_BYTES = 2
"""Of a weight in the file."""
SMALL = 1 << 28
"""Bytes of weights that are allocated without a look at the weights' file."""
BESIDE_A_WEIGHT = 4096
"""Bytes, at most, that HDF5 takes for the name and the place of one."""


def save_preset(model: Inference, directory: Any, *, dtype: str = "float32") -> None:
    """Write `model` into `directory`, all or nothing: files are complete before any takes its name.

    An ensemble becomes one preset for each member, in `member_0`, `member_1`, …, and a config.json that has the
    checksums of theirs.

    Args:
        model: a model or an ensemble.
        directory: the preset's place; made if it is not there.
        dtype: of the weights in the file. "float16" halves it: a weight is rounded to 11 bits and loads as float32.

    Raises:
        ConfigError: an unknown dtype.
        OSError: it cannot be written, as where the disk is full; what was there is as it was.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"Weights are written as {' or '.join(DTYPES)}. Received: {dtype!r}")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".preset-", dir=directory))
    try:
        if isinstance(model, Ensemble):
            config, files = {"average": model.average}, _write_members(model, made, dtype)
        else:
            config, files = asdict(model.config), _write_network(model, made, dtype)
        _write_config(made, model.architecture, config, files)
        # The config names the other files' checksums, so it comes last: a half-moved preset is refused, not loaded.
        for name in (*dict.fromkeys(Path(file).parts[0] for file in files), CONFIG):
            if (directory / name).is_dir():
                shutil.rmtree(directory / name)
            os.replace(made / name, directory / name)
    finally:
        shutil.rmtree(made)


def _write_network(model: Seq2Seq, directory: Path, dtype: str) -> list[str]:
    """Write weights and tokenizers; return the names of the files."""
    # Where HDF5 cannot write a file to its end, it ends the process with a fault, later.
    need_room(directory, sum(4 * math.prod(each.shape) + BESIDE_A_WEIGHT for each in model.weights))
    _without_optimizer(model).save_weights(directory / WEIGHTS)
    if dtype != "float32":
        _rewrite_weights(directory / WEIGHTS, dtype)
    tokenizers = model.codec.tokenizers()
    for side, tokenizer in tokenizers.items():
        tokenizer.save(directory / TOKENIZERS[side])
    return [WEIGHTS, *(TOKENIZERS[side] for side in tokenizers)]


def _rewrite_weights(path: Path, dtype: str) -> None:
    """Write what is float32 in a file of weights as `dtype`, but for what is beyond its range."""
    narrow = path.with_suffix(".narrow")
    with h5py.File(path) as wide, h5py.File(narrow, "w") as kept:

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                place = kept.require_group(name)
            else:
                values = item[()]
                fits = values.dtype == np.float32 and np.abs(values).max(initial=0) <= np.finfo(dtype).max
                place = kept.create_dataset(name, data=values.astype(dtype) if fits else values)
            place.attrs.update(item.attrs)

        kept.attrs.update(wide.attrs)
        wide.visititems(copy)
    os.replace(narrow, path)


def _write_members(model: Ensemble, directory: Path, dtype: str) -> list[str]:
    """Write the members as presets; return the names of their configs."""
    names = [f"member_{number}" for number in range(len(model.members))]
    for name, member in zip(names, model.members, strict=True):
        save_preset(member, directory / name, dtype=dtype)
    return [f"{name}/{CONFIG}" for name in names]


def _write_config(directory: Path, architecture: str, config: dict[str, Any], files: Sequence[str]) -> None:
    content = {
        "format": FORMAT,
        "kerass2s_version": kerass2s.__version__,
        "architecture": architecture,
        "config": config,
        "files": {name: digest(directory / name) for name in files},
    }
    write_json(directory / CONFIG, sealed(content))


def _without_optimizer(model: Seq2Seq) -> Seq2Seq:
    """Copy the weights into a model that was never compiled: Keras would save Adam's moments, twice the weights."""
    bare = Seq2Seq.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare


def load_preset(name: Any) -> Seq2Seq | Ensemble:
    """Load a preset, a model's or an ensemble's, by its name or directory (or one that holds it as `preset/`).

    `hf://OWNER/NAME`, or `hf://OWNER/NAME@REVISION`, is one of the Hugging Face Hub: it is downloaded once.

    Raises:
        PresetError: no such preset, or a file of it is missing, damaged or not understood.
    """
    directory = _locate(name)
    config = _read_config(directory / CONFIG)
    return (_load_ensemble if config["architecture"] == ENSEMBLE else _load_network)(directory, config)


def load_single(name: Any) -> Seq2Seq:
    """Load the preset of one model, as `load_preset` does.

    Raises:
        PresetError: as `load_preset`, or it is an ensemble's.
    """
    directory = _locate(name)
    config = _read_config(directory / CONFIG)
    if config["architecture"] == ENSEMBLE:
        raise PresetError(f"This takes the preset of one model, not of an ensemble. Received: {str(name)!r}")
    return _load_network(directory, config)


def _load_ensemble(directory: Path, config: dict[str, Any]) -> Ensemble:
    members = [_checked(directory, file, config).parent for file in config["files"] if file != CONFIDENCE]
    try:
        return Ensemble([load_single(member) for member in members], **config["config"])
    except (ConfigError, TypeError) as error:
        raise PresetError(f"{directory / CONFIG}: not an ensemble. Received: {error}") from error


def _load_network(directory: Path, config: dict[str, Any]) -> Seq2Seq:
    paths = {file: _checked(directory, file, config) for file in config["files"]}
    try:
        tokenizers = {
            f"{side}_tokenizer": SentencePieceTokenizer.load(paths[file])
            for side, file in TOKENIZERS.items()
            if file in paths
        }
        _check_size(config, tokenizers, paths[WEIGHTS])
        model = zoo.build(config["architecture"], **tokenizers, **config["config"])
    except (ValueError, TypeError) as error:  # a UserError is a ValueError, and so is what Keras raises
        raise PresetError(f"{directory / CONFIG}: {' '.join(str(error).split())}") from error
    _load_weights(model, paths[WEIGHTS])
    return model


# === Size ===


def _check_size(config: dict[str, Any], tokenizers: dict[str, SentencePieceTokenizer], weights: Path) -> None:
    """Refuse a config that asks for more weights than the file has bytes for, before any memory is taken for them."""
    settings = asdict(zoo.configure(config["architecture"], **config["config"]))
    sizes = [value for value in settings.values() if type(value) is int]
    widest = max(sizes, default=1)
    vocabulary = max((each.vocabulary_size for each in tokenizers.values()), default=1)
    # No matrix of the zoo has more than 8 of the settings on a side, nor a layer more than 8 matrices.
    if 4 * 8 * 64 * widest * (widest + vocabulary) <= SMALL:
        return
    needed, held = LEAST_BYTES * _count_weights(config, tokenizers), weights.stat().st_size
    if needed > held:
        raise ConfigError(f"The config asks for {needed:,} bytes of weights. Received: a file of {held:,}")


def _count_weights(config: dict[str, Any], tokenizers: dict[str, SentencePieceTokenizer]) -> int:
    """Count the weights of a model whose weights have shapes and no values, so that any size is cheap."""

    def count() -> int:
        with keras.StatelessScope(initialize_variables=False):
            model = zoo.build(config["architecture"], **tokenizers, **config["config"])
            return sum(math.prod(weight.shape) for weight in model.weights)

    # Keras remembers by thread what is still to be filled: a thread of its own forgets it.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(count).result()


def average_checkpoints(presets: Sequence[Any]) -> Seq2Seq:
    """Load presets of one training run and return one model whose weights are the mean of theirs.

    "Attention Is All You Need", arXiv:1706.03762, section 6.1, averages the last 5 or 20 checkpoints. It helps where
    the presets come from one run, or from runs that began at one; weights of unrelated runs have no meaningful mean.

    Args:
        presets: names or directories, as `load_preset` takes them; the mean is over all, one given twice counts twice.

    Raises:
        PresetError: there are none, one cannot be loaded, or they are not of one architecture, config and vocabulary.
    """
    if not presets:
        raise PresetError(f"Averaging needs at least one preset. Received: {presets!r}")
    model = load_single(presets[0])
    sums = [np.array(weight, np.float64) for weight in model.get_weights()]
    for name in presets[1:]:
        other = load_single(name)
        if other.get_config() != model.get_config():
            raise PresetError(
                "Presets to be averaged must have one architecture, config and vocabulary. "
                f"Received: {presets[0]} and {name}, which differ"
            )
        sums = [total + weight for total, weight in zip(sums, other.get_weights(), strict=True)]
    # A seed of dropout is no weight: it stays the first preset's.
    means = [
        (total / len(presets)).astype(first.dtype) if np.issubdtype(first.dtype, np.floating) else first
        for total, first in zip(sums, model.get_weights(), strict=True)
    ]
    model.set_weights(means)
    return model


# === Confidence ===


def save_calibration(name: Any, search: str, calibration: Calibration) -> Path:
    """Write into a preset how outputs of a search are calibrated, and return the file; other searches' stay.

    The preset's config.json gets the file's checksum. A model that is saved into the directory anew has none.

    Args:
        name: the preset's name or directory.
        search: the spec of the search whose scores were calibrated.
        calibration: what was fitted to them.

    Raises:
        PresetError: no such preset, or it is damaged.
    """
    directory = _locate(name)
    config = _read_config(directory / CONFIG)
    made = {**_read_calibrations(directory, config), search: asdict(calibration)}
    files = {file: digest for file, digest in config["files"].items() if file != CONFIDENCE}
    # The config does not name the file while it changes: a run that is cut short leaves a preset without one.
    config = {**config, "format": FORMAT}
    write_json(directory / CONFIG, sealed({**config, "files": files}))
    write_json(directory / CONFIDENCE, made)
    write_json(directory / CONFIG, sealed({**config, "files": {**files, CONFIDENCE: digest(directory / CONFIDENCE)}}))
    return directory / CONFIDENCE


def load_calibration(name: Any, search: str) -> Calibration:
    """Read from a preset how outputs of a search are calibrated.

    Raises:
        PresetError: no such preset, it is damaged, or it was not calibrated for that search.
    """
    directory = _locate(name)
    found = _read_calibrations(directory, _read_config(directory / CONFIG))
    if search not in found:
        known = ", ".join(found) or "none"
        raise PresetError(
            f"{directory}: not calibrated for this search (calibrated: {known}); see `kerass2s calibrate`. "
            f"Received: {search!r}"
        )
    try:
        return Calibration(**found[search])
    except (ConfigError, TypeError) as error:
        raise PresetError(f"{directory / CONFIDENCE}: not a calibration. Received: {error}") from error


def _read_calibrations(directory: Path, config: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Read the settings of each search's calibration; there are none where the config does not name the file."""
    if CONFIDENCE not in config["files"]:
        return {}
    found = read_json(_checked(directory, CONFIDENCE, config), LARGEST_CONFIG, PresetError)
    if not all(isinstance(settings, dict) for settings in found.values()):
        raise PresetError(f"{directory / CONFIDENCE}: not calibrations. Received: {found}")
    return found


# === Files ===


def push_preset(name: Any, handle: str, *, private: bool = False, message: str = "Push a kerass2s preset") -> str:
    """Upload a preset to the Hugging Face Hub, and return its address there; `load_preset(handle)` loads it again.

    The whole directory goes, with what lies beside the preset in a release: exports, card, manifest. A preset that has
    no README.md gets a card of a few lines in the hub's format.

    Args:
        name: the preset's name or directory.
        handle: `hf://OWNER/NAME`; the repository is made if it is not there.
        private: whether a repository that is made is private.
        message: of the commit.

    Raises:
        PresetError: no such preset, it is damaged, the hub refuses, or `huggingface_hub` is not installed.
    """
    preset = _locate(name)
    config = _read_config(preset / CONFIG)
    for file in config["files"]:
        _checked(preset, file, config)
    directory = preset.parent if preset.name == "preset" else preset
    return hub.push(directory, handle, config["architecture"], private=private, message=message)


def _locate(name: Any) -> Path:
    if hub.is_handle(name):
        name = hub.pull(name)
    path = Path(name)
    for directory in (path, path / "preset", bundled.PLACE / path / "preset"):
        if (directory / CONFIG).is_file():
            return directory
    if path.is_file():
        raise PresetError(f"A preset is a directory; an export does not become one again. Received: {str(name)!r}")
    if path.is_dir():
        raise PresetError(f"{path}: not a preset directory, it has no {CONFIG}. Received: {str(name)!r}")
    known = ", ".join(bundled.names()) or "none yet"
    hint = suggestion(str(name), bundled.names())
    raise PresetError(f"No such preset or directory; the presets are: {known}.{hint} Received: {str(name)!r}")


def _load_weights(model: Seq2Seq, path: Path) -> None:
    with warnings.catch_warnings():
        # Keras warns where it leaves a layer with fresh weights; a preset that does that is not this config's.
        warnings.simplefilter("error", UserWarning)
        try:
            model.load_weights(path)
        except Exception as error:  # whatever h5py makes of it; its errors have no class in common
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise PresetError(f"{path}: these are not the weights of this config. Received: {reason}") from error


def _read_config(path: Path) -> dict[str, Any]:
    config = read_json(path, LARGEST_CONFIG, PresetError)
    number = config.get("format")
    if type(number) is int and number not in FORMATS:
        raise PresetError(f"{path}: this version reads format {FORMAT}. Received: {number}")
    keys = FORMATS[number] if type(number) is int else FORMATS[FORMAT]
    if set(config) != keys:
        raise PresetError(f"{path}: must have the keys {', '.join(sorted(keys))}. Received: {sorted(config)}")
    if number == FORMAT and config[SEAL] != seal(config):
        raise PresetError(f"{path}: damaged, its checksum does not fit. Received: {config[SEAL]!r}")
    if not isinstance(config["config"], dict) or not isinstance(config["files"], dict):
        raise PresetError(f"{path}: 'config' and 'files' must be objects. Received: {config}")
    _check_files(path, config["architecture"], set(config["files"]) - {CONFIDENCE})
    return config


def _check_files(path: Path, architecture: str, files: set[str]) -> None:
    """Refuse files other than those of a model, or of an ensemble's members."""
    members = {f"member_{number}/{CONFIG}" for number in range(len(files))}
    if architecture == ENSEMBLE and files != members:
        raise PresetError(f"{path}: 'files' must name member_0/{CONFIG} and so on. Received: {sorted(files)}")
    if architecture != ENSEMBLE and not {WEIGHTS} <= files <= {WEIGHTS, *TOKENIZERS.values()}:
        known, found = ", ".join(TOKENIZERS.values()), sorted(files)
        raise PresetError(f"{path}: 'files' must name {WEIGHTS} and, of {known}, those there are. Received: {found}")


def _checked(directory: Path, name: str, config: dict[str, Any]) -> Path:
    """Return the path of a file that the config names, after a look at its checksum."""
    path = inside(directory, name, PresetError)
    if not path.exists():
        raise PresetError(f"{path}: this file of the preset is missing. Received: {str(directory)!r}")
    found = digest(path, PresetError)
    if found != config["files"][name]:
        raise PresetError(f"{path}: damaged, its SHA-256 is not the one in {CONFIG}. Received: {found}")
    return path
