"""What fewer bits do to an ONNX file: its size, its word error rate on dev words, and its speed, as a table.

    python benchmarks/export_variants.py tests/trained/g2p_quickstart

The model is one of pronunciations. Each variant is asked in turn within one run, A B C A B C, on one thread; a time is
that of the fastest call, which other work on the machine slows least. What stands under "weights" is the file without
the metadata, which hold the tokenizers.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from kerass2s import cmudict
from kerass2s.data.padding import padded
from kerass2s.decoding import GreedySearch
from kerass2s.evaluation import evaluate_texts
from kerass2s.export import export_onnx
from kerass2s.export.onnx import run_named
from kerass2s.export.precision import PRECISIONS
from kerass2s.presets import load_preset

WORDS = 1000
ROUNDS = {1: 201, 64: 21}


def main(preset: str) -> None:
    """Prints the table."""
    model = load_preset(preset)
    pairs = sorted(cmudict.load_split()["dev"], key=lambda pair: pair.source)[:WORDS]
    words = [pair.source for pair in pairs]
    with tempfile.TemporaryDirectory() as directory:
        files = {name: Path(directory, f"{name}.onnx") for name in PRECISIONS}
        for name, path in files.items():
            export_onnx(model, path, GreedySearch(), precision=name)
        sessions = {name: started(path) for name, path in files.items()}
        sizes = {name: size(path) for name, path in files.items()}
    said = {name: decoded(session, model.codec, words) for name, session in sessions.items()}
    times = {count: timed(sessions, inputs(model.codec, words[:count]), ROUNDS[count]) for count in ROUNDS}
    print("| weights | file, KB | weights, KB | of 4 bytes x parameters | word error rate | as float32 | ", end="")
    print(" | ".join(f"batch {count}, ms" for count in ROUNDS), "|")
    print("| --- " * (6 + len(ROUNDS)) + "|")
    for name, texts in said.items():
        whole, weights = sizes[name]
        rate = evaluate_texts(texts, pairs)["word_error_rate"]
        same = np.mean([one == other for one, other in zip(texts, said["float32"], strict=True)])
        part = weights / (4 * model.count_params())
        took = " | ".join(f"{1000 * times[count][name]:.2f}" for count in ROUNDS)
        print(f"| {name} | {whole / 1e3:.0f} | {weights / 1e3:.0f} | {part:.1%} | {rate:.2%} | {same:.1%} | {took} |")


def started(path: Path) -> Any:
    """Returns an ONNX Runtime session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def size(path: Path) -> tuple[int, int]:
    """Returns the bytes of a file, and of what is not metadata."""
    proto = onnx.load_model(path)
    return path.stat().st_size, path.stat().st_size - sum(len(entry.value) for entry in proto.metadata_props)


def inputs(codec: Any, words: list[str]) -> dict[str, np.ndarray]:
    """Returns the inputs of an export for some words."""
    source, lengths = padded(codec.rows(words))
    return {"source_ids": source, "source_lengths": lengths}


def decoded(session: Any, codec: Any, words: list[str]) -> list[str]:
    """Returns the best text of each word."""
    texts: list[str] = []
    for begin in range(0, len(words), 50):
        some = words[begin : begin + 50]
        outputs = run_named(session, inputs(codec, some))
        texts += [codec.decode(row[0], word) for row, word in zip(outputs["target_ids"].tolist(), some, strict=True)]
    return texts


def timed(sessions: dict[str, Any], given: dict[str, np.ndarray], rounds: int) -> dict[str, float]:
    """Returns the seconds of the fastest call of each session, asked in turn."""
    took: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, given)
            took[name].append(time.perf_counter() - start)
    return {name: min(each) for name, each in took.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
