"""One way to ask a preset, a SavedModel or an ONNX file for text: all give the same answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.decoding import Hypothesis, parse_search, search_spec
from kerass2s.errors import ExportError
from kerass2s.export.describe import described_codec, first_line, read_onnx, read_saved_model_description
from kerass2s.export.onnx import session
from kerass2s.export.saved_model import load_signatures
from kerass2s.seq2seq import Search, Seq2Seq

Run = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""`run(source [B, S] or [B, S, N], source_lengths int32 [B]) -> outputs by name`."""


class Predictor(Protocol):
    """What answers sources: a live model or an export, with the search it uses."""

    codec: Codec
    search: str

    def n_best(self, sources: Sequence[Any], batch_size: int = 64) -> list[list[Hypothesis]]:
        """Returns each source's hypotheses, best first, in the order of the sources."""
        ...


class LivePredictor:
    """A live model, with any search.

    Attributes:
        model: the model.
        search: the spec of the search.
    """

    def __init__(self, model: Seq2Seq, search: Search) -> None:
        self.model = model
        self.search = search_spec(search)
        self.codec = model.codec
        self._search = search

    def n_best(self, sources: Sequence[Any], batch_size: int = 64) -> list[list[Hypothesis]]:
        """Returns each source's hypotheses, best first, in the order of the sources."""
        return self.model.n_best(sources, self._search, batch_size)


class ExportPredictor:
    """A SavedModel or an ONNX file, with the search that it holds, over its ids-to-ids function.

    Attributes:
        path: where it was loaded from.
        description: what the export says of itself; see `describe`.
        search: the spec of the search that it holds.
        run: the ids-to-ids function.
    """

    def __init__(self, path: Path, description: dict[str, str], run: Run, search: str | None) -> None:
        self.path = path
        self.description = description
        self.search = _held_search(path, description, search)
        self.codec = described_codec(description)
        self.run = run

    def n_best(self, sources: Sequence[Any], batch_size: int = 64) -> list[list[Hypothesis]]:
        """Returns each source's hypotheses, best first, in the order of the sources.

        Raises:
            ConfigError: `sources` is a single string.
            ExportError: the runtime fails on a batch.
        """
        self.codec.check(sources)
        rows = self.codec.rows(sources)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found: list[list[Hypothesis]] = [[] for _ in rows]
        for begin in range(0, len(order), batch_size):
            chosen = order[begin : begin + batch_size]
            outputs = self._run_batch([rows[i] for i in chosen])
            for row, i in enumerate(chosen):
                found[i] = self._hypotheses(outputs, row, sources[i])
        return found

    def _run_batch(self, rows: list[np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return self.run(*padded(rows))
        except Exception as error:  # whatever the runtime raises
            raise ExportError(f"{self.path}: the runtime failed. Received: {first_line(error)}") from error

    def _hypotheses(self, outputs: dict[str, np.ndarray], row: int, source: Any) -> list[Hypothesis]:
        hypotheses = []
        for beam in np.flatnonzero(np.isfinite(outputs["scores"][row])):  # an impossible one scores -inf
            length = outputs["target_lengths"][row, beam]
            ids = outputs["target_ids"][row, beam, :length].tolist()
            alignment = outputs["alignments"][row, beam, :length, :] if "alignments" in outputs else None
            text, score = self.codec.decode(ids, source), float(outputs["scores"][row, beam])
            hypotheses.append(Hypothesis(text=text, score=score, ids=ids, alignment=alignment))
        return hypotheses


def padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of ids [S] or of vectors [S, N] as one array [B, S, ...], 0 after each, and their lengths int32 [B].

    >>> padded([np.array([5, 3], np.int32), np.array([3], np.int32)])
    (array([[5, 3],
           [3, 0]], dtype=int32), array([2, 1], dtype=int32))
    """
    lengths = np.array([len(row) for row in rows], np.int32)
    batch = np.zeros([len(rows), lengths.max(initial=1), *rows[0].shape[1:]], rows[0].dtype)
    for line, row in zip(batch, rows, strict=True):
        line[: len(row)] = row
    return batch, lengths


def _held_search(path: Path, description: dict[str, str], asked: str | None) -> str:
    held = description.get("search", "")
    if asked is not None and search_spec(parse_search(asked)) != held:
        raise ExportError(f"{path}: this export holds the search {held!r} and no other. Received: {asked!r}")
    return held


# === Loading ===


def load_predictor(path: str | os.PathLike[str] | Seq2Seq, *, search: str | None = None) -> Predictor:
    """Loads whatever can answer texts.

    Args:
        path: a preset's name or directory, a SavedModel directory, an `.onnx` file, or a live model.
        search: the spec of a search. None: `greedy` for a live model or preset, and what it holds for an export.

    Raises:
        UserError: there is nothing at the path (PresetError where it could have been a preset's name).
        ExportError: the export is damaged, or holds another search.
        ConfigError: the spec names no search.
    """
    if isinstance(path, Seq2Seq):
        return LivePredictor(path, parse_search(search or "greedy"))
    place = Path(path)
    if place.suffix == ".onnx" or place.is_file():
        return load_onnx(place, search=search)
    if is_saved_model(place):
        return load_saved_model(place, search=search)
    wanted = parse_search(search or "greedy")
    return LivePredictor(Seq2Seq.from_preset(path), wanted)


def is_saved_model(path: Path) -> bool:
    """Tells whether a directory is a SavedModel, be it damaged."""
    return any((path / name).exists() for name in ("saved_model.pb", "assets.extra", "variables"))


def load_onnx(path: str | os.PathLike[str], *, search: str | None = None) -> ExportPredictor:
    """Loads an ONNX export; see `load_predictor`."""
    path = Path(path)
    model, description = read_onnx(path)
    try:
        runtime = session(model.SerializeToString())
    except ExportError:
        raise
    except Exception as error:  # ONNX Runtime's classes of error derive from Exception alone
        raise ExportError(f"{path}: ONNX Runtime cannot load it. Received: {first_line(error)}") from error
    names = [output.name for output in runtime.get_outputs()]

    name = runtime.get_inputs()[0].name

    def run(source: np.ndarray, source_lengths: np.ndarray) -> dict[str, np.ndarray]:
        inputs = {name: source, "source_lengths": source_lengths}
        return dict(zip(names, runtime.run(names, inputs), strict=True))

    return ExportPredictor(path, description, run, search)


def load_saved_model(path: str | os.PathLike[str], *, search: str | None = None) -> ExportPredictor:
    """Loads a SavedModel export; see `load_predictor`."""
    path = Path(path)
    description = read_saved_model_description(path)
    loaded, signatures = load_signatures(path)
    if "ids" not in signatures:
        raise ExportError(f"{path}: the SavedModel has no signature 'ids'. Received: {sorted(signatures)}")

    name = next(iter(json.loads(description["inputs"])))

    def run(source: np.ndarray, source_lengths: np.ndarray, loaded: Any = loaded) -> dict[str, np.ndarray]:
        outputs = signatures["ids"](**{name: tf.constant(source), "source_lengths": tf.constant(source_lengths)})
        return {name: output.numpy() for name, output in outputs.items()}

    return ExportPredictor(path, description, run, search)
