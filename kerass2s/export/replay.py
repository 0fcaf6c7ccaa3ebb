"""Runs exports over given probes in a process of its own: needs numpy and the exports' runtimes, and no kerass2s.

Usage: python -I replay.py   (-I: this file's neighbours must not hide other packages)

Each line of its input is a JSON list, EXPORT, PROBES.npz, ANSWERS.npz, REPEATS; for each it writes a line, a JSON
object that is empty, or holds the `error`.

PROBES.npz holds, for each batch N and each signature that is asked, the inputs as `N.SIGNATURE.NAME`; an ONNX file has
one function, whatever that is called. ANSWERS.npz gets the outputs, under such names too, and under `N.SIGNATURE`, of
the first one of each batch, how many seconds each of REPEATS more calls took. Strings are held as one string, a JSON
list.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Inputs = dict[str, Any]
Outputs = dict[str, np.ndarray]
Run = Callable[[str, Inputs], Outputs]


def load(path: str) -> Run:
    """Returns the function of an export: from a signature and its inputs to its outputs."""
    if not os.path.isdir(path):
        runtime = load_onnx(path)
        return lambda signature, inputs: runtime(inputs)
    return load_steps(path) if os.path.exists(os.path.join(path, "encoder.onnx")) else load_saved_model(path)


def load_onnx(path: str) -> Callable[[Inputs], Outputs]:
    """Returns the function of an ONNX file, which has no signatures."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    with open(path, "rb") as file:
        if b"ai.onnx.contrib" in file.read():  # from text to text
            sys.setdlopenflags(sys.getdlopenflags() | os.RTLD_DEEPBIND)  # or it would take TensorFlow's protobuf
            import onnxruntime_extensions

            options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Inputs) -> Outputs:
        inputs = {name: np.array(value, object if isinstance(value, list) else None) for name, value in inputs.items()}
        return {name: storable(value) for name, value in zip(names, session.run(names, inputs), strict=True)}

    return run


def load_steps(directory: str) -> Run:
    """Returns what runs an encoder and then as many steps as `fed` [T, B, ...] has, which is what each is fed.

    The outputs are the encoder's, those of the steps [T, B, ...], and the last states. Without `fed`, but with `steps`,
    each step is fed the `values` of the one before.
    """
    encoder, step = (load_onnx(os.path.join(directory, name)) for name in ("encoder.onnx", "decoder_step.onnx"))

    def run(signature: str, inputs: Inputs) -> Outputs:
        fed, count = inputs.get("fed"), int(inputs["steps"])
        start = encoder({name: value for name, value in inputs.items() if name not in ("fed", "steps")})
        target = next(name for name in start if name.startswith("target_"))
        given, told = dict(start), []
        for t in range(count):
            if fed is not None:
                given[target] = fed[t]
            outputs = step(given)
            states = {name for name in outputs if name.startswith("next_")}
            given.update({f"state_{name.removeprefix('next_')}": outputs[name] for name in states})
            given[target] = outputs.get("values", given[target])
            told.append({name: value for name, value in outputs.items() if name not in states})
        stacked = {name: np.stack([each[name] for each in told]) for name in told[0]}
        return {**start, **stacked, **{name: outputs[name] for name in states}}

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


def replay(export: str, probes_file: str, answers_file: str, repeats: int) -> None:
    """Loads an export, runs all probes, and writes the answers."""
    asked: dict[str, Inputs] = {}
    with np.load(probes_file) as file:
        for key, value in file.items():
            question, _, name = key.rpartition(".")
            asked.setdefault(question, {})[name] = json.loads(str(value)) if value.dtype.kind == "U" else value
    run = load(export)
    answers: dict[str, np.ndarray] = {}
    timed: set[str] = set()
    for question, inputs in asked.items():
        number, _, signature = question.partition(".")
        outputs = run(signature, inputs)
        answers.update({f"{question}.{name}": value for name, value in outputs.items()})
        if number not in timed:
            answers[question] = np.array([seconds(run, signature, inputs) for _ in range(repeats)])
            timed.add(number)
    if "kerass2s" in sys.modules:
        raise ImportError("An export must run without kerass2s.")
    np.savez(answers_file, **answers)


def seconds(run: Run, signature: str, inputs: Inputs) -> float:
    """Returns how long a call takes."""
    start = time.perf_counter()
    run(signature, inputs)
    return time.perf_counter() - start


def main() -> None:
    """Answers each line of the input by one of the output, and keeps the libraries' own chatter out of it."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answer = {}
        try:
            replay(*json.loads(line))
        except Exception as error:  # whatever a runtime raises; the parent tells
            message = str(error).strip().splitlines() or [""]
            answer = {"error": f"{type(error).__name__}: {message[-1]}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
