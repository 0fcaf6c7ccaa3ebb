"""Runs an export over given probes in a process of its own: needs numpy and the export's runtime, and no kerass2s.

Usage: python -I replay.py EXPORT PROBES.npz ANSWERS.npz   (-I: this file's neighbours must not hide other packages)

PROBES.npz holds `texts` (a JSON list of batches of strings) and `ids_N` int32 [B, S], `lengths_N` int32 [B] for each
batch N. ANSWERS.npz gets the outputs of the ids function as `N.NAME` and, from a SavedModel, `texts`: for each batch
of strings the answers of `serving_default` and `n_best`, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import numpy as np

Outputs = dict[str, np.ndarray]


def load_onnx(path: str) -> Callable[[np.ndarray, np.ndarray], Outputs]:
    """Returns the ids function of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(source_ids: np.ndarray, source_lengths: np.ndarray) -> Outputs:
        inputs = {"source_ids": source_ids, "source_lengths": source_lengths}
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def load_saved_model(path: str) -> tuple[Callable[[np.ndarray, np.ndarray], Outputs], Callable[[list[str]], dict]]:
    """Returns the ids function and the text functions of a SavedModel."""
    import tensorflow as tf
    import tensorflow_text

    loaded = tf.saved_model.load(path)

    def run(source_ids: np.ndarray, source_lengths: np.ndarray) -> Outputs:
        outputs = loaded.signatures["ids"](
            source_ids=tf.constant(source_ids), source_lengths=tf.constant(source_lengths)
        )
        return {name: output.numpy() for name, output in outputs.items()}

    def answer(texts: list[str], ops: object = tensorflow_text) -> dict:
        answers = {}
        for name in ("serving_default", "n_best"):
            outputs = loaded.signatures[name](text=tf.constant(texts, tf.string))
            text = np.vectorize(lambda value: value.decode("utf-8"), otypes=[object])(outputs["text"].numpy())
            answers[name] = {"text": text.tolist(), "score": outputs["score"].numpy().tolist()}
        return answers

    return run, answer


def main(export: str, probes_file: str, answers_file: str) -> None:
    """Loads the export, runs all probes, and writes the answers."""
    answers: dict[str, np.ndarray] = {}
    with np.load(probes_file) as file:
        probes = dict(file)
    texts = json.loads(str(probes["texts"]))
    if os.path.isdir(export):
        run, answer = load_saved_model(export)
        answers["texts"] = np.array(json.dumps([answer(batch) for batch in texts]))
    else:
        run = load_onnx(export)
    for number in range(len(texts)):
        outputs = run(probes[f"ids_{number}"], probes[f"lengths_{number}"])
        answers.update({f"{number}.{name}": output for name, output in outputs.items()})
    if "kerass2s" in sys.modules:
        sys.exit("An export must run without kerass2s.")
    np.savez(answers_file, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
