"""Verification: an export is reloaded in a fresh process, run over odd shapes, and compared with the live model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerass2s.decoding import Hypothesis, parse_search
from kerass2s.errors import ExportError, UserError
from kerass2s.export.describe import described_tokenizer, read_onnx, read_saved_model_description
from kerass2s.export.graph import IDS_SIGNATURE
from kerass2s.export.manifest import MANIFEST, check_manifest, onnx_files, saved_models
from kerass2s.export.predictor import is_saved_model, padded
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import END_ID, UNKNOWN_ID, SentencePieceTokenizer

TOLERANCE = 1e-4
LONG = 60
REPLAY = Path(__file__).with_name("replay.py")


@dataclass(frozen=True)
class Probe:
    """One batch to run an export over: its name, its texts, and their ids [B, S] and lengths [B]."""

    name: str
    texts: list[str]
    source_ids: np.ndarray
    source_lengths: np.ndarray


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


def verify(export: str | os.PathLike[str], against: Seq2Seq | str | os.PathLike[str] | None = None) -> VerifyReport:
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
    model = Seq2Seq.from_preset(against) if against is not None and not isinstance(against, Seq2Seq) else against
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


def _check(path: Path, description: dict[str, str], model: Seq2Seq | None) -> Check:
    source, target = (described_tokenizer(description, side) for side in ("source", "target"))
    probes = make_probes(source)
    answers = replay(path, probes)
    search = description["search"]
    differences: list[str] = []
    if model is not None:
        live = _Live(model, search)
        for number, probe in enumerate(probes):
            given = {name.partition(".")[2]: value for name, value in answers.items() if name.startswith(f"{number}.")}
            differences += [f"{probe.name}: {line}" for line in live.compare_ids(probe, given, target)]
        if "texts" in answers:
            for probe, given in zip(probes, json.loads(str(answers["texts"])), strict=True):
                differences += [f"{probe.name}: {line}" for line in live.compare_texts(probe, given)]
    return Check(str(path), search, model is not None, len(probes), tuple(differences))


# === Probes ===


def make_probes(tokenizer: SentencePieceTokenizer) -> list[Probe]:
    """Returns the odd shapes that an export is run over, the same for the same tokenizer."""
    random = np.random.default_rng(20)
    known = range(END_ID + 1, tokenizer.vocabulary_size)

    def text(length: int) -> str:
        return tokenizer.decode(random.choice(known, length).tolist()) if len(known) else ""

    unknown = _unknown(tokenizer)
    return [
        _probe("batch of 1, length 1", [text(1)], tokenizer),
        _probe("batch of 1", [text(7)], tokenizer),
        _probe("batch of 17, mixed lengths", [text(length) for length in [*range(1, 16), 0, 3]], tokenizer),
        _probe("long", [text(LONG), text(2)], tokenizer),
        _probe("empty string", [""], tokenizer),
        _probe("all unknown", [unknown, unknown * 3], tokenizer),
        Probe("ids after the length", [text(3)], np.array([[END_ID, UNKNOWN_ID, END_ID]], np.int32), np.ones(1, "i4")),
    ]


def _probe(name: str, texts: list[str], tokenizer: SentencePieceTokenizer) -> Probe:
    return Probe(name, texts, *padded([[*tokenizer.encode(text), END_ID] for text in texts]))


def _unknown(tokenizer: SentencePieceTokenizer) -> str:
    """A text of one character that the tokenizer does not know."""
    candidates = (chr(code) for code in range(0xE000, 0xF8FF))
    return next(text for text in candidates if UNKNOWN_ID in tokenizer.encode(text))


# === Fresh process ===


def replay(path: Path, probes: Sequence[Probe]) -> dict[str, np.ndarray]:
    """Runs the probes through an export in a fresh process that imports no kerass2s; see `replay.py`.

    Raises:
        ExportError: the process fails; the message ends with its last line.
    """
    batches = {"texts": np.array(json.dumps([probe.texts for probe in probes]))}
    for number, probe in enumerate(probes):
        batches |= {f"ids_{number}": probe.source_ids, f"lengths_{number}": probe.source_lengths}
    with tempfile.TemporaryDirectory() as directory:
        asked, answered = Path(directory, "probes.npz"), Path(directory, "answers.npz")
        np.savez(asked, **batches)
        command = [sys.executable, "-I", str(REPLAY), str(path.resolve()), str(asked), str(answered)]
        process = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if process.returncode:
            last = (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
            raise ExportError(f"{path}: does not run in a fresh process. Received: {last}")
        with np.load(answered) as file:
            return dict(file)


# === Comparison ===


class _Live:
    """The live model's answers with the export's search."""

    def __init__(self, model: Seq2Seq, search: str) -> None:
        self.model = model
        self.search = parse_search(search)
        self._run = tf.function(self._ids, input_signature=IDS_SIGNATURE)

    def _ids(self, source_ids: tf.Tensor, source_lengths: tf.Tensor) -> dict[str, Any]:
        found = self.model.search_graph(source_ids, source_lengths, self.search)
        outputs = {"target_ids": found.ids, "target_lengths": found.lengths, "scores": found.scores}
        return outputs if found.alignments is None else {**outputs, "alignments": found.alignments}

    def compare_ids(self, probe: Probe, given: dict[str, np.ndarray], target: SentencePieceTokenizer) -> Iterator[str]:
        expected = self._run(tf.constant(probe.source_ids), tf.constant(probe.source_lengths))
        expected = {name: output.numpy() for name, output in expected.items()}
        if given.keys() != expected.keys():
            yield f"outputs {sorted(given)}, expected {sorted(expected)}"
            return
        for name, value in expected.items():
            yield from _differs(name, given[name], value)
        if _decode(given["target_ids"], target) != _decode(expected["target_ids"], self.model.target_tokenizer):
            yield "the strings differ"

    def compare_texts(self, probe: Probe, given: dict[str, dict[str, Any]]) -> Iterator[str]:
        expected = self.model.n_best(probe.texts, self.search)
        beams = len(given["n_best"]["score"][0])
        n_best = {"text": _each(expected, "text", beams, ""), "score": _each(expected, "score", beams, -np.inf)}
        best = {name: [row[0] for row in rows] for name, rows in n_best.items()}
        for signature, answer in {"n_best": n_best, "serving_default": best}.items():
            if given[signature]["text"] != answer["text"]:
                yield f"{signature}: {given[signature]['text']}, expected {answer['text']}"
            yield from _differs(f"{signature} score", np.array(given[signature]["score"]), np.array(answer["score"]))


def _each(rows: list[list[Hypothesis]], name: str, beams: int, absent: Any) -> list[list[Any]]:
    """One attribute of every hypothesis [B, K]; a live model leaves out those that an export scores -inf."""
    return [[*(getattr(one, name) for one in row), *[absent] * (beams - len(row))] for row in rows]


def _decode(ids: np.ndarray, tokenizer: SentencePieceTokenizer) -> list[str]:
    return [tokenizer.decode(row) for row in ids.reshape([-1, ids.shape[-1]]).tolist()]


def _differs(name: str, given: np.ndarray, expected: np.ndarray) -> Iterator[str]:
    if given.shape != expected.shape:
        yield f"{name} has shape {given.shape}, expected {expected.shape}"
    elif np.issubdtype(expected.dtype, np.floating):
        if not np.allclose(given, expected, rtol=1e-6, atol=TOLERANCE):
            yield f"{name} differs by up to {np.abs(given - expected).max():.2e}"
    elif not np.array_equal(given, expected):
        yield f"{name} differs at {int(np.sum(given != expected))} of {expected.size} places"
