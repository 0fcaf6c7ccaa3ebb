"""One way to ask a preset, a SavedModel or an ONNX file: all give the same answers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.data.padding import padded
from kerass2s.decoding import Lexicon, Search, parse_search, search_spec
from kerass2s.decoding.search import filtered
from kerass2s.errors import ExportError
from kerass2s.export.describe import (
    described_codec,
    described_search,
    first_line,
    raw_signature,
    read_onnx,
    read_saved_model_description,
    reads_text,
)
from kerass2s.export.manifest import onnx_files
from kerass2s.export.onnx import session, uses_extensions
from kerass2s.export.saved_model import load_signatures
from kerass2s.inference import WINDOW, Inference, answered
from kerass2s.presets import load_preset

Run = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""From the inputs of an export to its outputs, both by name."""

Sources = Sequence[Any] | Iterator[Any]
Answers = list[Any] | Iterator[Any]

NO_NULL = "\ufdd0"  # a code point for such uses, never a character: no tokenizer knows it


class Predictor(Protocol):
    """What answers sources: a live model or an export, with the search it uses."""

    codec: Codec
    search: str

    @property
    def width(self) -> int:
        """The most hypotheses of a source, where targets are tokens."""
        ...

    def within(self, lexicon: Lexicon) -> Predictor:
        """Returns what answers alike, but with outputs of the lexicon alone."""
        ...

    def n_best(self, sources: Sources, batch_size: int = 64, window: int = WINDOW) -> Answers:
        """Returns each source's hypotheses, best first, in the order of the sources.

        A list gives a list; an iterator gives an iterator that reads `window` sources ahead.
        """
        ...

    def generate(self, sources: Sources, batch_size: int = 64, window: int = WINDOW) -> Answers:
        """Returns the best text of each source, or the array [T, D] where targets are vectors; else as `n_best`."""
        ...


class LivePredictor:
    """A live model, with any search.

    Attributes:
        model: the model.
        strategy: the search.
        search: the spec of the search.
    """

    def __init__(self, model: Inference, search: Search) -> None:
        self.model = model
        self.search = search_spec(search)
        self.codec = model.codec
        self.strategy = search

    @property
    def width(self) -> int:
        """The most hypotheses of a source, where targets are tokens."""
        self.codec.need_tokens("n_best")
        self.codec.settings(self.strategy)  # refuses a search for other targets
        return self.strategy.width

    def within(self, lexicon: Lexicon) -> LivePredictor:
        """Returns the same model with outputs of the lexicon alone."""
        return LivePredictor(self.model, filtered(self.strategy, lexicon))

    def n_best(self, sources: Sources, batch_size: int = 64, window: int = WINDOW) -> Answers:
        """Returns each source's hypotheses, best first, in the order of the sources; an iterator for an iterator."""
        return self.model.n_best(sources, self.strategy, batch_size, window)

    def generate(self, sources: Sources, batch_size: int = 64, window: int = WINDOW) -> Answers:
        """Returns the best text of each source, or the array [T, D] where targets are vectors; else as `n_best`."""
        return self.model.generate(sources, self.strategy, batch_size, window)


class ExportPredictor:
    """A SavedModel or an ONNX file, with the search that it holds, over its raw function.

    Attributes:
        path: where it was loaded from.
        description: what the export says of itself; see `describe`.
        search: the spec of the search that it holds, or of one that differs only in what the export takes as inputs.
        run: the raw function: ids to ids, or values for the one or the other; or, of an ONNX file from text to text,
            texts to texts and ids.
    """

    def __init__(self, path: Path, description: dict[str, str], run: Run, search: str | None) -> None:
        self.path = path
        self.description = description
        self.codec = described_codec(description)
        wanted = _held_search(path, description, search, self.codec)
        self.search = search_spec(wanted)
        self.run = run
        self._search = wanted
        self._settings = self.codec.settings(wanted)

    @property
    def width(self) -> int:
        """The most hypotheses of a source, where targets are tokens."""
        self.codec.need_tokens("n_best")
        return self._search.width

    def within(self, lexicon: Lexicon) -> ExportPredictor:
        """Returns itself, if this is the lexicon that the export holds.

        Raises:
            ExportError: it holds none, or another.
        """
        if lexicon not in getattr(self._search, "filters", ()):
            raise ExportError(
                f"{self.path}: the outputs of an export are those it was made with, by {self.search!r}; "
                f"export the preset with this lexicon. Received: {lexicon!r}"
            )
        return self

    def n_best(self, sources: Sources, batch_size: int = 64, window: int = WINDOW) -> Answers:
        """Returns each source's hypotheses, best first, in the order of the sources; an iterator for an iterator.

        Raises:
            UserError: `sources` is not a list of what the model reads, or its targets are no tokens.
            ExportError: the runtime fails on a batch.
        """
        self.codec.need_tokens("n_best")
        return answered(self.codec, sources, self._run_batch, self.codec.hypotheses, batch_size, window)

    def generate(self, sources: Sources, batch_size: int = 64, window: int = WINDOW) -> Answers:
        """Returns the best text of each source, or the array [T, D] where targets are vectors; raises as `n_best`."""
        return answered(self.codec, sources, self._run_batch, self.codec.best, batch_size, window)

    def _run_batch(self, sources: Sequence[Any]) -> dict[str, np.ndarray]:
        ask = self._ask_texts if reads_text(self.description) else self._ask
        try:
            return ask(sources)
        except Exception as error:  # whatever the runtime raises
            raise ExportError(f"{self.path}: the runtime failed. Received: {first_line(error)}") from error

    def _ask(self, sources: Sequence[Any]) -> dict[str, np.ndarray]:
        source, lengths = padded(self.codec.rows(sources))
        return self.run({self.codec.source_name: source, "source_lengths": lengths, **self._settings})

    def _ask_texts(self, sources: Sequence[str]) -> dict[str, np.ndarray]:
        """Asks with the texts; the runtime would end them at a null character, so another unknown one goes there."""
        asked = np.array([text.replace("\0", NO_NULL) for text in sources], object)
        found = self.run({"text": asked, **self._settings})
        back = [NO_NULL if "\0" in text else "" for text in sources]  # where it was copied
        texts = [
            [(text.replace(each, "\0") if each else text).encode() for text in row]
            for row, each in zip(found["texts"], back, strict=True)
        ]
        return {**found, "text": np.array(texts, object).reshape(found["texts"].shape)}


def _held_search(path: Path, description: dict[str, str], asked: str | None, codec: Codec) -> Search:
    """The export's search, or the one asked for if they differ only in what the export takes as inputs."""
    held = described_search(description)
    if asked is None:
        return held
    lexicon = next((each for each in getattr(held, "filters", ()) if isinstance(each, Lexicon)), None)
    search = parse_search(asked, lexicon)
    settings = {name: getattr(held, name) for name in codec.settings(held)}
    if type(search) is type(held) and dataclasses.replace(search, **settings) == held:
        return search
    raise ExportError(
        f"{path}: this export holds the search {search_spec(held)!r} and no other; what can be set anew is "
        f"{', '.join(settings)}. Received: {asked!r}"
    )


# === Loading ===


def load_predictor(path: str | os.PathLike[str] | Inference, *, search: str | None = None) -> Predictor:
    """Loads whatever can answer sources.

    Args:
        path: a preset's name or directory, a SavedModel directory, an `.onnx` file, or a live model.
        search: the spec of a search. None: `greedy` for a live model or preset (`rollout:24` where its targets are
            vectors), and what it holds for an export. Of an export another search can be asked that differs only in
            what it takes as inputs, such as the length penalty, the seed or the horizon.

    Raises:
        UserError: there is nothing at the path (PresetError where it could have been a preset's name).
        ExportError: the export is damaged, or holds another search.
        ConfigError: the spec names no search.
    """
    if not isinstance(path, Inference):
        place = Path(path)
        if place.suffix == ".onnx" or place.is_file():
            return load_onnx(place, search=search)
        if is_saved_model(place):
            return load_saved_model(place, search=search)
        _check_one(place)
    wanted = None if search is None else parse_search(search)
    model = path if isinstance(path, Inference) else load_preset(path)
    return LivePredictor(model, wanted or model.codec.search())


def _check_one(directory: Path) -> None:
    """Refuses a directory of exports that has no preset, such as one that TensorFlow Serving is pointed at."""
    if any((directory / name).exists() for name in ("preset", "config.json")):
        return
    versions = {file.parent for where in ("*", "saved_model/*") for file in directory.glob(f"{where}/saved_model.pb")}
    if held := sorted(str(path) for path in [*versions, *onnx_files(directory)]):
        raise ExportError(f"The directory holds exports: name one, such as {held[0]}. Received: {str(directory)!r}")


def is_saved_model(path: Path) -> bool:
    """Tells whether a directory is a SavedModel, be it damaged."""
    return any((path / name).exists() for name in ("saved_model.pb", "assets.extra", "variables"))


def load_onnx(path: str | os.PathLike[str], *, search: str | None = None) -> ExportPredictor:
    """Loads an ONNX export; see `load_predictor`."""
    path = Path(path)
    model, description = read_onnx(path)
    try:
        runtime = session(model.SerializeToString(), uses_extensions(model))
    except ExportError:
        raise
    except Exception as error:  # ONNX Runtime's classes of error derive from Exception alone
        raise ExportError(f"{path}: ONNX Runtime cannot load it. Received: {first_line(error)}") from error
    names = [output.name for output in runtime.get_outputs()]

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, runtime.run(names, inputs), strict=True))

    return ExportPredictor(path, description, run, search)


def load_saved_model(path: str | os.PathLike[str], *, search: str | None = None) -> ExportPredictor:
    """Loads a SavedModel export; see `load_predictor`."""
    path = Path(path)
    description = read_saved_model_description(path)
    loaded, signatures = load_signatures(path)
    raw = raw_signature(description)
    if raw not in signatures:
        raise ExportError(f"{path}: the SavedModel has no signature {raw!r}. Received: {sorted(signatures)}")

    def run(inputs: dict[str, np.ndarray], loaded: Any = loaded) -> dict[str, np.ndarray]:
        outputs = signatures[raw](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: output.numpy() for name, output in outputs.items()}

    return ExportPredictor(path, description, run, search)
