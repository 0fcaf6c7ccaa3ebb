"""The live model's answers to what an export was asked, for `verify`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.decoding import Hypothesis, Search
from kerass2s.export.comparison import Arrays, Comparison
from kerass2s.export.graph import ids_graph, inputs_spec
from kerass2s.export.steps import Parts, encoding, following, stepping
from kerass2s.inference import Inference

TEXT = "text"
"""What the one function of an ONNX file from text to text is called here."""


class Asked(Protocol):
    """A probe: its name, the sources, and the inputs of the raw function that they become."""

    name: str
    sources: list[Any]
    inputs: Arrays


class Live:
    """The live model's answers with an export's search.

    Attributes:
        seconds: what the graph of the raw function took, each time that it was run again.
    """

    def __init__(self, model: Inference, search: Search) -> None:
        self.model = model
        self.search = search
        self.seconds: list[float] = []
        spec = inputs_spec(model.codec, search)
        self._run = tf.function(ids_graph(model, search), input_signature=tuple(spec.values()), autograph=False)

    def compare(
        self,
        probe: Asked,
        asked: dict[str, Arrays],
        given: dict[str, Arrays],
        codec: Codec,
        found: Comparison,
        again: int,
    ) -> None:
        """Adds to `found` each difference of the signatures; runs the raw one, which is the first, `again` for time."""
        raw, *others = asked
        if raw == TEXT:
            self.seconds += seconds(lambda: self._tuned(probe), again)
            expected = self._text(probe)
            found.compare(probe.name, given[raw], expected)
            found.count(given[raw], expected)
            return
        expected = self._found(probe.inputs.values())
        self.seconds += seconds(lambda: self._found(probe.inputs.values()), again)
        found.compare(probe.name, given[raw], expected)
        found.count(given[raw], expected)
        if (
            "target_ids" in expected
            and found.exact
            and self._strings(given[raw], probe, codec) != self._strings(expected, probe, self.model.codec)
        ):
            found.differences.append(f"{probe.name}: the strings differ")
        if others:
            fixed = {**probe.inputs, **codec.settings(self.search)}
            answers = {"ids": self._found(fixed.values()), **self._texts(probe)}
            for name in others:
                found.compare(f"{probe.name}: {name}", given[name], answers[name])

    def _found(self, inputs: Iterable[Any]) -> Arrays:
        return {name: output.numpy() for name, output in self._run(*map(tf.constant, inputs)).items()}

    @staticmethod
    def _strings(outputs: Arrays, probe: Asked, codec: Codec) -> list[str]:
        pairs = zip(outputs["target_ids"].tolist(), probe.sources, strict=True)
        return [codec.decode(row, source) for rows, source in pairs for row in rows]

    def _text(self, probe: Asked) -> Arrays:
        """What a file from text to text is to answer."""
        expected = self._tuned(probe)
        texts = expected.pop("text")
        return {**expected, "texts": texts, "best_text": texts[:, 0], "best_score": expected["scores"][:, 0]}

    def _tuned(self, probe: Asked) -> Arrays:
        """What is to be answered to the sources themselves, texts included, with the settings of the probe."""
        codec = self.model.codec
        request = codec.request(probe.sources)
        settings = [probe.inputs[name] for name in codec.settings(self.search)]
        found = codec.answers(self._run(*codec.source(request), *map(tf.constant, settings)), request, self.search)
        tuned = {name: output.numpy() for name, output in found.items()}
        return {**tuned, "text": np.vectorize(bytes.decode, otypes=[object])(tuned["text"])}

    def _texts(self, probe: Asked) -> dict[str, Arrays]:
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


class LiveSteps:
    """The live model's encoder and steps, fed what an export's were.

    Attributes:
        seconds: what the encoder and all steps took, each time that they were run again.
    """

    def __init__(self, model: Inference) -> None:
        self.seconds: list[float] = []
        parts, spec = Parts(model), tuple(model.codec.source_spec.values())
        self._encode = tf.function(encoding(model, model.encoder), input_signature=spec, autograph=False)
        self._step = tf.function(stepping(model, parts.start), input_signature=parts.step_spec(), autograph=False)
        self._target = model.decoder.target_name

    def compare(
        self,
        probe: Asked,
        asked: dict[str, Arrays],
        given: dict[str, Arrays],
        codec: Codec,
        found: Comparison,
        again: int,
    ) -> None:
        """Adds to `found` each difference of the encoder's outputs and the steps'; runs all `again` for time."""
        self.seconds += seconds(lambda: self._run(asked["steps"]), 1 + again)[1:]
        found.compare(probe.name, given["steps"], self._run(asked["steps"]))

    def _run(self, asked: Arrays) -> Arrays:
        """The outputs of the encoder, those of the steps [T, B, ...], and the last states."""
        source = [value for name, value in asked.items() if name not in ("steps", "fed")]
        start = {name: part.numpy() for name, part in self._encode(*map(tf.constant, source)).items()}
        given, told = start, []
        for t in range(int(asked["steps"])):
            target = asked["fed"][t] if "fed" in asked else told[-1]["values"] if told else start[self._target]
            given = {**given, self._target: target}
            outputs = {name: part.numpy() for name, part in self._step(*map(tf.constant, given.values())).items()}
            given = following(given, outputs)
            told.append({name: value for name, value in outputs.items() if not name.startswith("next_")})
        stacked = {name: np.stack([each[name] for each in told]) for name in told[0]}
        return {**start, **stacked, **{name: outputs[name] for name in outputs if name.startswith("next_")}}


def seconds(run: Callable[[], Any], times: int) -> list[float]:
    """Returns how long each of some calls takes."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found
