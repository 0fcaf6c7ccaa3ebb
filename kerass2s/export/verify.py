"""Verification: an export is reloaded in a fresh process, run over odd shapes, and compared with the live model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.data.padding import padded
from kerass2s.decoding import Hypothesis, Search, search_spec
from kerass2s.errors import ExportError, UserError
from kerass2s.export.describe import (
    described_codec,
    described_search,
    raw_signature,
    read_onnx,
    read_saved_model_description,
    reads_text,
)
from kerass2s.export.graph import ids_graph, inputs_spec
from kerass2s.export.manifest import MANIFEST, check_manifest, onnx_files, saved_models
from kerass2s.export.predictor import is_saved_model
from kerass2s.inference import Inference
from kerass2s.presets import load_preset

Arrays = dict[str, np.ndarray]

TOLERANCE = 1e-4
LONG = 60
TEXT = "text"
"""What the one function of an ONNX file from text to text is called here."""
REPLAY = Path(__file__).with_name("replay.py")


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
    """One artefact's outcome: where it is, its search, what it was compared with, and each difference found."""

    path: str
    search: str
    compared: bool
    probes: int
    differences: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __str__(self) -> str:
        if not self.ok:
            return "\n".join(f"FAILED {self.path}: {difference}" for difference in self.differences)
        how = "equals the live model" if self.compared else "reloads and runs (no live model to compare with)"
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


def verify(export: str | os.PathLike[str], against: Inference | str | os.PathLike[str] | None = None) -> VerifyReport:
    """Reloads an export in a fresh process and compares strings, ids, lengths, scores and alignments.

    Scores and alignments may differ by `TOLERANCE`; everything else must be equal.

    Args:
        export: a SavedModel directory, an `.onnx` file, or a directory NAME/ with `saved_model/VERSION` or ONNX files.
        against: the live model, or its preset. None: `NAME/preset` where there is one; else the export is only
            reloaded and run.

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
    return VerifyReport(tuple(_check(path, description, model) for path, description in pairs))


def _artefacts(export: Path) -> list[Path]:
    if not export.exists():
        raise UserError(f"No such export. Received: {str(export)!r}")
    if export.is_file() or is_saved_model(export):
        return [export]
    found = [*saved_models(export), *onnx_files(export)]
    if not found:
        raise ExportError(f"The directory holds no saved_model/VERSION and no .onnx file. Received: {str(export)!r}")
    changed = check_manifest(export) if (export / MANIFEST).exists() else []
    if changed:
        raise ExportError(f"{export}: not as its {MANIFEST} says. Received: {'; '.join(changed)}")
    return found


def _description(path: Path) -> dict[str, str]:
    return read_saved_model_description(path) if path.is_dir() else read_onnx(path)[1]


def _check(path: Path, description: dict[str, str], model: Inference | None) -> Check:
    codec = described_codec(description)
    search = described_search(description)
    probes = make_probes(codec, search)
    raw = TEXT if reads_text(description) else raw_signature(description)
    more = path.is_dir() and raw != "serving_default"  # an ONNX file has one function, and vectors one signature
    answers = replay(path, [_questions(raw, probe, codec, search, more) for probe in probes])
    differences: list[str] = []
    if model is not None:
        live = _Live(model, search)
        for probe, given in zip(probes, answers, strict=True):
            differences += [f"{probe.name}: {line}" for line in live.compare(probe, given, codec)]
    return Check(str(path), search_spec(search), model is not None, len(probes), tuple(differences))


# === Probes ===


def make_probes(codec: Codec, search: Search) -> list[Probe]:
    """Returns the odd shapes that an export is run over, the same for the same codec and search.

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
    cut = "more after the length"
    probes = [
        Probe.of(name, sources, codec, {name: _moved(value, by) for name, value in codec.settings(search).items()})
        for by, (name, sources) in enumerate({**batches, cut: made(3)}.items())
    ]
    probes[-1].inputs["source_lengths"] = np.ones(1, np.int32)
    return probes


def _moved(value: np.ndarray, by: int) -> np.ndarray:
    """Another value near this one: more, or less where more does not fit, as beside the largest seed."""
    return np.where(value > np.iinfo(np.int32).max - by, value - by, value + by).astype(value.dtype)


# === Fresh process ===


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


def replay(path: Path, asked: Sequence[dict[str, Arrays]]) -> list[dict[str, Arrays]]:
    """Asks an export in a fresh process that imports no kerass2s; see `replay.py`.

    Args:
        path: the export.
        asked: the inputs of each signature, for each batch.

    Returns:
        The outputs of each signature, for each batch; texts are arrays of str.

    Raises:
        ExportError: the process fails; the message ends with its last line.
    """
    batches = {
        f"{number}.{signature}.{name}": _storable(value)
        for number, questions in enumerate(asked)
        for signature, inputs in questions.items()
        for name, value in inputs.items()
    }
    with tempfile.TemporaryDirectory() as directory:
        probes, answered = Path(directory, "probes.npz"), Path(directory, "answers.npz")
        np.savez(probes, **batches)
        command = [sys.executable, "-I", str(REPLAY), str(path.resolve()), str(probes), str(answered)]
        process = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if process.returncode:
            last = (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
            raise ExportError(f"{path}: does not run in a fresh process. Received: {last}")
        answers: list[dict[str, Arrays]] = [{signature: {} for signature in questions} for questions in asked]
        with np.load(answered) as file:
            for key, value in file.items():
                number, signature, name = key.split(".")
                text = value.dtype.kind == "U"
                answers[int(number)][signature][name] = np.array(json.loads(str(value)), object) if text else value
        return answers


def _storable(value: np.ndarray) -> np.ndarray:
    """Strings as one string, a JSON list of them: NumPy's own arrays of text lose null characters at the end."""
    return np.array(json.dumps([text.decode("utf-8") for text in value])) if value.dtype == object else value


# === Comparison ===


class _Live:
    """The live model's answers with the export's search."""

    def __init__(self, model: Inference, search: Search) -> None:
        self.model = model
        self.search = search
        spec = inputs_spec(model.codec, search)
        self._run = tf.function(ids_graph(model, search), input_signature=tuple(spec.values()), autograph=False)

    def compare(self, probe: Probe, given: dict[str, Arrays], codec: Codec) -> Iterator[str]:
        """Yields each difference of what the signatures gave."""
        raw, *others = given
        if raw == TEXT:
            yield from self._compare_text(probe, given[raw])
            return
        yield from self._compare_raw(probe, given[raw], codec)
        if not others:
            return
        fixed = {**probe.inputs, **codec.settings(self.search)}
        expected = {"ids": self._found(fixed.values()), **self._texts(probe)}
        for name in others:
            for output, value in expected[name].items():
                yield from _differs(f"{name} {output}", given[name][output], value)

    def _found(self, inputs: Iterable[Any]) -> Arrays:
        return {name: output.numpy() for name, output in self._run(*map(tf.constant, inputs)).items()}

    def _compare_raw(self, probe: Probe, given: Arrays, codec: Codec) -> Iterator[str]:
        expected = self._found(probe.inputs.values())
        if given.keys() != expected.keys():
            yield f"outputs {sorted(given)}, expected {sorted(expected)}"
            return
        for name, value in expected.items():
            yield from _differs(name, given[name], value)
        if "target_ids" not in expected:
            return
        if _decode(given["target_ids"], probe, codec) != _decode(expected["target_ids"], probe, self.model.codec):
            yield "the strings differ"

    def _compare_text(self, probe: Probe, given: Arrays) -> Iterator[str]:
        expected = self._tuned(probe)
        texts = expected.pop("text")
        expected |= {"texts": texts, "best_text": texts[:, 0], "best_score": expected["scores"][:, 0]}
        if given.keys() != expected.keys():
            yield f"outputs {sorted(given)}, expected {sorted(expected)}"
            return
        for name, value in expected.items():
            yield from _differs(name, given[name], value)

    def _tuned(self, probe: Probe) -> Arrays:
        """What is to be answered to the sources themselves, texts included, with the settings of the probe."""
        codec = self.model.codec
        request = codec.request(probe.sources)
        settings = [probe.inputs[name] for name in codec.settings(self.search)]
        found = codec.answers(self._run(*codec.source(request), *map(tf.constant, settings)), request, self.search)
        tuned = {name: output.numpy() for name, output in found.items()}
        return {**tuned, "text": np.vectorize(bytes.decode, otypes=[object])(tuned["text"])}

    def _texts(self, probe: Probe) -> dict[str, Arrays]:
        """What the signatures from text to text are to answer."""
        tuned = self._tuned(probe)
        beams = tuned["text"].shape[1]
        expected = self.model.n_best(probe.sources, self.search)
        n_best = {"text": _each(expected, "text", beams, ""), "score": _each(expected, "score", beams, -np.inf)}
        return {
            "n_best": n_best,
            "serving_default": {name: rows[:, 0] for name, rows in n_best.items()},
            "n_best_with_settings": {"text": tuned["text"], "score": tuned["scores"]},
        }


def _each(rows: list[list[Hypothesis]], name: str, beams: int, absent: Any) -> np.ndarray:
    """One attribute of every hypothesis [B, K]; a live model leaves out those that an export scores -inf."""
    filled = [[*(getattr(one, name) for one in row), *[absent] * (beams - len(row))] for row in rows]
    return np.array(filled, object if isinstance(absent, str) else np.float32)


def _decode(ids: np.ndarray, probe: Probe, codec: Codec) -> list[str]:
    return [codec.decode(row, source) for rows, source in zip(ids.tolist(), probe.sources, strict=True) for row in rows]


def _differs(name: str, given: np.ndarray, expected: np.ndarray) -> Iterator[str]:
    if given.shape != expected.shape:
        yield f"{name} has shape {given.shape}, expected {expected.shape}"
    elif np.issubdtype(expected.dtype, np.floating):
        if not np.allclose(given, expected, rtol=1e-6, atol=TOLERANCE):
            yield f"{name} differs by up to {np.abs(given - expected).max():.2e}"
    elif not np.array_equal(given, expected):
        yield f"{name} differs at {int(np.sum(given != expected))} of {expected.size} places"
