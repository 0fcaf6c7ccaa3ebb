"""Presets: a model as a directory of config.json, weights and tokenizers, checked file by file when it is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import kerass2s
from kerass2s import zoo
from kerass2s.errors import ConfigError, PresetError
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import SentencePieceTokenizer

__all__ = ["average_checkpoints", "load_preset", "names", "save_preset"]

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
TOKENIZERS = {"source": "source.spm", "target": "target.spm"}
KEYS = {"format", "kerass2s_version", "architecture", "config", "files"}
BUNDLED = Path(__file__).resolve().parent.parent / "exported"


def names() -> list[str]:
    """Return the names of the presets that come with this checkout."""
    return sorted(path.parent.parent.name for path in BUNDLED.glob(f"*/preset/{CONFIG}"))


def save_preset(model: Seq2Seq, directory: Any) -> None:
    """Write `model` into `directory`, all or nothing: files are complete before any takes its name."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".preset-", dir=directory))
    try:
        _without_optimizer(model).save_weights(made / WEIGHTS)
        files = [WEIGHTS]
        for side, tokenizer in model.codec.tokenizers().items():
            tokenizer.save(made / TOKENIZERS[side])
            files.append(TOKENIZERS[side])
        config = {
            "format": FORMAT,
            "kerass2s_version": kerass2s.__version__,
            "architecture": model.architecture,
            "config": asdict(model.config),
            "files": {name: _sha256(made / name) for name in files},
        }
        (made / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        # The config names the other files' checksums, so it comes last: a half-moved preset is refused, not loaded.
        for name in (*files, CONFIG):
            os.replace(made / name, directory / name)
    finally:
        shutil.rmtree(made)


def _without_optimizer(model: Seq2Seq) -> Seq2Seq:
    """Copy the weights into a model that was never compiled: Keras would save Adam's moments, twice the weights."""
    bare = Seq2Seq.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare


def load_preset(name: Any) -> Seq2Seq:
    """Load a preset by its name or directory (or a directory that holds it as `preset/`).

    Raises:
        PresetError: no such preset, or a file of it is missing, damaged or not understood.
    """
    directory = _locate(name)
    config = _read_config(directory / CONFIG)
    for file, digest in config["files"].items():
        _check(directory / file, digest)
    try:
        model = zoo.build(
            config["architecture"],
            **{
                f"{side}_tokenizer": SentencePieceTokenizer.load(directory / file)
                for side, file in TOKENIZERS.items()
                if file in config["files"]
            },
            **config["config"],
        )
    except ConfigError as error:
        raise PresetError(f"{directory / CONFIG}: {error}") from error
    _load_weights(model, directory / WEIGHTS)
    return model


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
    model = load_preset(presets[0])
    sums = [np.array(weight, np.float64) for weight in model.get_weights()]
    for name in presets[1:]:
        other = load_preset(name)
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


def _locate(name: Any) -> Path:
    path = Path(name)
    for directory in (path, path / "preset", BUNDLED / path / "preset"):
        if (directory / CONFIG).is_file():
            return directory
    if path.is_dir():
        raise PresetError(f"{path}: not a preset directory, it has no {CONFIG}. Received: {str(name)!r}")
    known = ", ".join(names()) or "none yet"
    raise PresetError(f"No such preset or directory; the presets are: {known}. Received: {str(name)!r}")


def _load_weights(model: Seq2Seq, path: Path) -> None:
    with warnings.catch_warnings():
        # Keras warns where it leaves a layer with fresh weights; a preset that does that is not this config's.
        warnings.simplefilter("error", UserWarning)
        try:
            model.load_weights(path)
        except (ValueError, OSError, KeyError, UserWarning) as error:
            reason = str(error).splitlines()[0]
            raise PresetError(f"{path}: these are not the weights of this config. Received: {reason}") from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise PresetError(f"{path}: cannot be read as JSON. Received: {error}") from error
    if not isinstance(config, dict) or set(config) != KEYS:
        found = sorted(config) if isinstance(config, dict) else type(config).__name__
        raise PresetError(f"{path}: must have the keys {', '.join(sorted(KEYS))}. Received: {found}")
    if config["format"] != FORMAT:
        raise PresetError(f"{path}: this version reads format {FORMAT}. Received: {config['format']!r}")
    if not isinstance(config["config"], dict) or not isinstance(config["files"], dict):
        raise PresetError(f"{path}: 'config' and 'files' must be objects. Received: {config}")
    if WEIGHTS not in config["files"] or not set(config["files"]) <= {WEIGHTS, *TOKENIZERS.values()}:
        known, found = ", ".join(TOKENIZERS.values()), sorted(config["files"])
        raise PresetError(f"{path}: 'files' must name {WEIGHTS} and, of {known}, those there are. Received: {found}")
    return config


def _check(path: Path, digest: str) -> None:
    if not path.is_file():
        raise PresetError(f"{path}: this file of the preset is missing. Received: {str(path.parent)!r}")
    found = _sha256(path)
    if found != digest:
        raise PresetError(f"{path}: damaged, its SHA-256 is not the one in {CONFIG}. Received: {found}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
