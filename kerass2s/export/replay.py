"""Runs an export over given probes in a process of its own: needs numpy and the export's runtime, and no kerass2s.

Usage: python -I replay.py EXPORT PROBES.npz ANSWERS.npz   (-I: this file's neighbours must not hide other packages)

PROBES.npz holds, for each batch N, `source_N` ([B, S] or [B, S, N]) and `lengths_N` int32 [B], and `source_name`, the
name of that input; where sources are texts, also `texts`, a JSON list of the batches as strings. ANSWERS.npz gets the
outputs of the ids function as `N.NAME` and, from a SavedModel, `texts`: for each batch the answers of `serving_default`
and `n_best`, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Inputs = dict[str, Any]
Outputs = dict[str, np.ndarray]


def load_onnx(path: str) -> Callable[[Inputs], Outputs]:
    """Returns the ids function of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Inputs) -> Outputs:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def load_saved_model(path: str) -> tuple[Callable[[Inputs], Outputs], Callable[[Inputs], dict]]:
    """Returns the ids function and the functions that answer with text of a SavedModel."""
    import tensorflow as tf
    import tensorflow_text

    loaded = tf.saved_model.load(path)

    def run(inputs: Inputs) -> Outputs:
        outputs = loaded.signatures["ids"](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: output.numpy() for name, output in outputs.items()}

    def answer(request: Inputs, ops: object = tensorflow_text) -> dict:
        answers = {}
        for name in ("serving_default", "n_best"):
            outputs = loaded.signatures[name](**{name: tf.constant(value) for name, value in request.items()})
            text = np.vectorize(lambda value: value.decode("utf-8"), otypes=[object])(outputs["text"].numpy())
            answers[name] = {"text": text.tolist(), "score": outputs["score"].numpy().tolist()}
        return answers

    return run, answer


def main(export: str, probes_file: str, answers_file: str) -> None:
    """Loads the export, runs all probes, and writes the answers."""
    answers: dict[str, np.ndarray] = {}
    with np.load(probes_file) as file:
        probes = dict(file)
    name = str(probes["source_name"])
    count = sum(key.startswith("lengths_") for key in probes)
    sources = [{name: probes[f"source_{i}"], "source_lengths": probes[f"lengths_{i}"]} for i in range(count)]
    texts = json.loads(str(probes["texts"])) if "texts" in probes else None
    if os.path.isdir(export):
        run, answer = load_saved_model(export)
        requests = sources if texts is None else [{"text": batch} for batch in texts]
        answers["texts"] = np.array(json.dumps([answer(request) for request in requests]))
    else:
        run = load_onnx(export)
    for number, inputs in enumerate(sources):
        answers.update({f"{number}.{output}": value for output, value in run(inputs).items()})
    if "kerass2s" in sys.modules:
        sys.exit("An export must run without kerass2s.")
    np.savez(answers_file, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
