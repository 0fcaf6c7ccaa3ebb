"""Runs an export over given probes in a process of its own: needs numpy and the export's runtime, and no kerass2s.

Usage: python -I replay.py EXPORT PROBES.npz ANSWERS.npz   (-I: this file's neighbours must not hide other packages)

PROBES.npz holds, for each batch N and each signature that is asked, the inputs as `N.SIGNATURE.NAME`; an ONNX file has
one function, whatever that is called. ANSWERS.npz gets the outputs, under such names too. Strings are held as one
string, a JSON list.
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
Run = Callable[[str, Inputs], Outputs]


def load_onnx(path: str) -> Run:
    """Returns the function of an ONNX file, which has no signatures."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    with open(path, "rb") as file:
        if b"ai.onnx.contrib" in file.read():  # from text to text
            import onnxruntime_extensions

            options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(signature: str, inputs: Inputs) -> Outputs:
        inputs = {name: np.array(value, object if isinstance(value, list) else None) for name, value in inputs.items()}
        return {name: storable(value) for name, value in zip(names, session.run(names, inputs), strict=True)}

    return run


def load_saved_model(path: str) -> Run:
    """Returns what runs a signature of a SavedModel."""
    import tensorflow as tf
    import tensorflow_text

    loaded = tf.saved_model.load(path)

    def run(signature: str, inputs: Inputs, ops: object = tensorflow_text) -> Outputs:
        outputs = loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: storable(output.numpy()) for name, output in outputs.items()}

    return run


def storable(value: np.ndarray) -> np.ndarray:
    """Returns an array of strings as one string of JSON: NumPy's own lose null characters at the end of a text."""
    if value.dtype != object:
        return value
    texts = [text if isinstance(text, str) else text.decode() for text in value.flat]
    return np.array(json.dumps(np.array(texts, object).reshape(value.shape).tolist()))


def main(export: str, probes_file: str, answers_file: str) -> None:
    """Loads the export, runs all probes, and writes the answers."""
    asked: dict[str, Inputs] = {}
    with np.load(probes_file) as file:
        for key, value in file.items():
            question, _, name = key.rpartition(".")
            asked.setdefault(question, {})[name] = json.loads(str(value)) if value.dtype.kind == "U" else value
    run = load_saved_model(export) if os.path.isdir(export) else load_onnx(export)
    answers: dict[str, np.ndarray] = {}
    for question, inputs in asked.items():
        outputs = run(question.partition(".")[2], inputs)
        answers.update({f"{question}.{name}": value for name, value in outputs.items()})
    if "kerass2s" in sys.modules:
        sys.exit("An export must run without kerass2s.")
    np.savez(answers_file, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
