"""Runs an export over given probes in a process of its own: needs numpy and the export's runtime, and no kerass2s.

Usage: python -I replay.py EXPORT PROBES.npz ANSWERS.npz   (-I: this file's neighbours must not hide other packages)

PROBES.npz holds, for each batch N, the inputs of the raw function as `N.raw.NAME` and a request as `N.request.NAME`
(strings as one string, a JSON list), and `raw`, the name of the raw function among a SavedModel's signatures.
ANSWERS.npz gets the outputs of the raw function as `N.NAME` and, from a SavedModel whose other signatures answer with
text, `texts`: for each batch the answers of those of these signatures that take a request alone, as JSON.
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
    """Returns the function of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Inputs) -> Outputs:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def load_saved_model(path: str, raw: str) -> tuple[Callable[[Inputs], Outputs], Callable[[Inputs], dict]]:
    """Returns the raw function of a SavedModel, and one that asks its other signatures, which answer with text."""
    import tensorflow as tf
    import tensorflow_text

    loaded = tf.saved_model.load(path)

    def run(inputs: Inputs) -> Outputs:
        outputs = loaded.signatures[raw](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: output.numpy() for name, output in outputs.items()}

    def answer(request: Inputs, ops: object = tensorflow_text) -> dict:
        answers = {}
        for name, signature in sorted(loaded.signatures.items()):
            if "text" not in signature.structured_outputs or len(signature.structured_input_signature[1]) > len(
                request
            ):
                continue
            outputs = signature(**{name: tf.constant(value) for name, value in request.items()})
            text = np.vectorize(lambda value: value.decode("utf-8"), otypes=[object])(outputs["text"].numpy())
            answers[name] = {"text": text.tolist(), "score": outputs["score"].numpy().tolist()}
        return answers

    return run, answer


def of(probes: Inputs, prefix: str) -> Inputs:
    """Returns the inputs whose keys begin with a prefix, without it."""
    found = {key.removeprefix(prefix): value for key, value in probes.items() if key.startswith(prefix)}
    return {name: json.loads(str(value)) if value.dtype.kind == "U" else value for name, value in found.items()}


def main(export: str, probes_file: str, answers_file: str) -> None:
    """Loads the export, runs all probes, and writes the answers."""
    answers: dict[str, np.ndarray] = {}
    with np.load(probes_file) as file:
        probes = dict(file)
    batches = sorted({int(key.partition(".")[0]) for key in probes if "." in key})
    if os.path.isdir(export):
        run, answer = load_saved_model(export, str(probes["raw"]))
        texts = [answer(of(probes, f"{number}.request.")) for number in batches]
        if any(texts):
            answers["texts"] = np.array(json.dumps(texts))
    else:
        run = load_onnx(export)
    for number in batches:
        outputs = run(of(probes, f"{number}.raw."))
        answers.update({f"{number}.{output}": value for output, value in outputs.items()})
    if "kerass2s" in sys.modules:
        sys.exit("An export must run without kerass2s.")
    np.savez(answers_file, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
