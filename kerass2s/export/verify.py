"""Verification: an export is reloaded in a fresh process, run over odd shapes, and compared with the live model."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerass2s.codec import Codec
from kerass2s.data.padding import padded
from kerass2s.decoding import Search, search_spec
from kerass2s.errors import ExportError, UserError
from kerass2s.export.comparison import Comparison
from kerass2s.export.describe import (
    described_codec,
    described_search,
    raw_signature,
    read_onnx,
    read_saved_model_description,
    reads_text,
)
from kerass2s.export.fresh import Arrays, FreshProcess
from kerass2s.export.live import TEXT, Live, LiveSteps
from kerass2s.export.manifest import MANIFEST, check_manifest, onnx_files, onnx_steps, saved_models
from kerass2s.export.precision import FULL
from kerass2s.export.predictor import is_saved_model
from kerass2s.export.steps import ENCODER, STEP, is_steps
from kerass2s.inference import Inference
from kerass2s.presets import load_preset
from kerass2s.text import START_ID

LONG = 60
REPEATS = 3
"""How often a probe is run again for its time."""
STEPS = 8
"""How many steps of a decoder are taken, where it has no search."""


@dataclass(frozen=True)
class Probe:
    """One batch to run an export over: its name, the sources, and the inputs of the raw function that they become."""

    name: str
    sources: list[Any]
    inputs: dict[str, np.ndarray]

    @classmethod
    def of(cls, name: str, sources: list[Any], codec: Codec, settings: dict[str, np.ndarray]) -> Probe:
        """Makes a probe of sources and of what the search is set to."""
        source, lengths = padded(codec.rows(sources))
        return cls(name, sources, {codec.source_name: source, "source_lengths": lengths, **settings})


@dataclass(frozen=True)
class Check:
    """One artefact's outcome.

    Attributes:
        path: where it is.
        search: the search that it holds; "-" where it is a host's own.
        precision: of the weights, "float32" but for a smaller ONNX file.
        compared: whether there was a live model to compare it with.
        probes: how many batches it was run over.
        differences: each difference found, beyond what the precision allows.
        largest: the largest difference of each output that is a number, by name.
        same: how many best outputs are identical.
        rows: of how many.
        milliseconds: what a probe takes there, the median over probes and repeats, after a first call.
        live_milliseconds: the same of the live model's graph of the same function; None without a live model.
    """

    path: str
    search: str
    precision: str
    compared: bool
    probes: int
    differences: tuple[str, ...]
    largest: dict[str, float]
    same: int
    rows: int
    milliseconds: float
    live_milliseconds: float | None

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __str__(self) -> str:
        if not self.ok:
            return "\n".join(f"FAILED {self.path}: {difference}" for difference in self.differences)
        how = "reloads and runs (no live model to compare with)"
        if self.compared and self.precision == FULL:
            how = "equals the live model"
        elif self.compared:
            how = f"is near the live model, {self.precision}, {self.same} of {self.rows} best outputs identical,"
        return f"ok {self.path}: {how} on {self.probes} probes, search {self.search}"


@dataclass(frozen=True)
class VerifyReport:
    """The outcome of `verify`: one `Check` per artefact."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no artefact differs."""
        return all(check.ok for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))


def verify(
    export: str | os.PathLike[str],
    against: Inference | str | os.PathLike[str] | None = None,
    process: FreshProcess | None = None,
) -> VerifyReport:
    """Reloads an export in a fresh process and compares strings, ids, lengths, scores and alignments.

    Scores and alignments may differ by `TOLERANCE`; everything else must be equal. Of the decoder's step alone, as many
    as `STEPS` in a row are compared, fed the same. Where the weights have fewer bits, `ALLOWED` tells what may differ.

    Args:
        export: a SavedModel directory, an `.onnx` file, the directory of an encoder and a decoder's step, or a
            directory NAME/ with `saved_model/VERSION`, ONNX files or directories of those two parts.
        against: the live model, or its preset. None: `NAME/preset` where there is one; else the export is only
            reloaded and run.
        process: where it is reloaded; None for one of its own. What verifies many exports starts one for all.

    Raises:
        UserError: there is nothing at the path.
        ExportError: an artefact is damaged, does not match its manifest, or does not run in the fresh process.
    """
    export = Path(export)
    artefacts = _artefacts(export)
    descriptions = [_description(path) for path in artefacts]  # damage is told before the live model is built
    if against is None and (export / "preset").is_dir():
        against = export / "preset"
    model = against if against is None or isinstance(against, Inference) else load_preset(against)
    pairs = zip(artefacts, descriptions, strict=True)
    with FreshProcess() if process is None else nullcontext(process) as fresh:
        lives: dict[Any, Live | LiveSteps] = {}
        return VerifyReport(tuple(_check(path, description, model, fresh, lives) for path, description in pairs))


def _artefacts(export: Path) -> list[Path]:
    if not export.exists():
        raise UserError(f"No such export. Received: {str(export)!r}")
    if export.is_file() or is_saved_model(export) or is_steps(export):
        return [export]
    found = [*saved_models(export), *onnx_files(export), *onnx_steps(export)]
    if not found:
        raise ExportError(f"The directory holds no saved_model/VERSION and no .onnx file. Received: {str(export)!r}")
    changed = check_manifest(export) if (export / MANIFEST).exists() else []
    if changed:
        raise ExportError(f"{export}: not as its {MANIFEST} says. Received: {'; '.join(changed)}")
    return found


def _description(path: Path) -> dict[str, str]:
    if is_steps(path):
        return [read_onnx(path / name)[1] for name in (STEP, ENCODER)][1]
    return read_saved_model_description(path) if path.is_dir() else read_onnx(path)[1]


def _check(
    path: Path,
    description: dict[str, str],
    model: Inference | None,
    process: FreshProcess,
    lives: dict[Any, Live | LiveSteps],
) -> Check:
    """Checks one artefact; `lives` keeps the live graph of each search for the next."""
    codec, precision = described_codec(description), description.get("precision", FULL)
    search = None if is_steps(path) else described_search(description)
    probes = make_probes(codec, search)
    if search is None:
        asked = [{"steps": _asked_steps(probe, description, codec)} for probe in probes]
    else:
        raw = TEXT if reads_text(description) else raw_signature(description)
        more = path.is_dir() and raw != "serving_default"  # ONNX has one function, and vectors one signature
        asked = [_questions(raw, probe, codec, search, more) for probe in probes]
    answers = process.replay(path, asked, REPEATS)
    found = Comparison(precision)
    took = np.median([answer.seconds for answer in answers])
    live = None
    if model is not None:
        if search not in lives:
            lives[search] = Live(model, search) if search else LiveSteps(model)
        live = lives[search]
        for probe, questions, answer in zip(probes, asked, answers, strict=True):
            live.compare(probe, questions, answer.outputs, codec, found, REPEATS)
        found.settle()
    return Check(
        path=str(path),
        search=search_spec(search) if search else "-",
        precision=precision,
        compared=model is not None,
        probes=len(probes),
        differences=tuple(found.differences),
        largest=found.largest,
        same=found.same,
        rows=found.rows,
        milliseconds=float(took) * 1000,
        live_milliseconds=None if live is None else float(np.median(live.seconds)) * 1000,
    )


# === Probes ===


def make_probes(codec: Codec, search: Search | None) -> list[Probe]:
    """Returns the odd shapes that an export is run over, the same for the same codec and search, if it has one.

    What an export takes as an input beside the source is one more in each probe than in the one before.
    """
    random = np.random.default_rng(20)

    def made(*lengths: int) -> list[Any]:
        return [codec.example(random, length) for length in lengths]

    empty, *strange = codec.strange()
    batches = {
        "batch of 1, length 1": made(1),
        "batch of 1": made(7),
        "batch of 17, mixed lengths": [*made(*range(1, 16)), empty, *made(3)],
        "long": made(LONG, 2),
        "empty": [empty],
        "strange": strange,
    }
    settings = codec.settings(search) if search else {}
    cut = "more after the length"
    probes = [
        Probe.of(name, sources, codec, {setting: _moved(value, by) for setting, value in settings.items()})
        for by, (name, sources) in enumerate({**batches, cut: made(3)}.items())
    ]
    probes[-1].inputs["source_lengths"] = np.ones(1, np.int32)
    return probes


def _moved(value: np.ndarray, by: int) -> np.ndarray:
    """Another value near this one: more, or less where more does not fit, as beside the largest seed."""
    return np.where(value > np.iinfo(np.int32).max - by, value - by, value + by).astype(value.dtype)


# === Questions ===


def _questions(raw: str, probe: Probe, codec: Codec, search: Search, more: bool) -> dict[str, Arrays]:
    """Returns what the signatures of an export are asked, by signature: the raw one and, if there are more, all."""
    request = {name: value.numpy() for name, value in codec.request(probe.sources).items()}
    settings = {name: probe.inputs[name] for name in codec.settings(search)}
    if not more:
        return {raw: {**request, **settings} if raw == TEXT else probe.inputs}
    return {
        raw: probe.inputs,
        "ids": {name: probe.inputs[name] for name in codec.source_spec},
        "serving_default": request,
        "n_best": request,
        "n_best_with_settings": {**request, **settings},
    }


def _asked_steps(probe: Probe, description: dict[str, str], codec: Codec) -> Arrays:
    """Returns the source and what each step is fed: START, then any tokens; a step of vectors is fed the last one's."""
    asked = {**probe.inputs, "steps": np.array(STEPS)}
    if "target_ids" in json.loads(description["outputs"]):
        asked["fed"] = np.random.default_rng(21).integers(1, codec.target_size, [STEPS, len(probe.sources)], np.int32)
        asked["fed"][0] = START_ID
    return asked
