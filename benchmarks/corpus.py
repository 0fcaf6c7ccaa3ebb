"""Rates of the steps that answer a corpus by an exported model, and of the pipeline of `deploy beam` by its workers.

    python benchmarks/corpus.py exported/g2p_en corpus.txt --workers 1 2

Each step is timed alone, on one thread and in processor time: reading the corpus, cutting it into ids by the file's own
SentencePiece model, answering it, and writing the answers. The pipeline is run in the environment of `make engines`
with each number of workers, by the wall clock and in processor time of all its processes; what a run over a corpus of
one line takes is its start, and left out.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import onnxruntime_extensions
import sentencepiece

from kerass2s.deploy.beam import write_beam
from kerass2s.export.describe import read_onnx

PYTHON = Path(__file__).parent.parent / ".engines" / "beam" / "bin" / "python"
BATCH = 64


def timed(name: str, lines: int, call: Callable[[], Any]) -> Any:
    """Calls, and prints how many lines a second of processor time that were."""
    begun = time.process_time()
    value = call()
    print(f"{name:12} {lines / (time.process_time() - begun):14,.0f} lines a second", flush=True)
    return value


def steps(model: Path, corpus: Path, answered: int, place: Path) -> None:
    """Prints the rate of each step; `answered` lines are answered, and all are read, cut and written."""
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(model / "model.text.onnx"), options, providers=["CPUExecutionProvider"])
    described = read_onnx(model / "model.onnx")[1]
    proto = zlib.decompress(base64.b64decode(described["source_sentencepiece"]))
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=proto)

    def answer() -> list[str]:
        chosen = sorted(lines[:answered], key=len)
        batches = [chosen[first : first + BATCH] for first in range(0, answered, BATCH)]
        return [text for batch in batches for text in session.run(["best_text"], {"text": np.array(batch, object)})[0]]

    count = sum(1 for _ in corpus.open("rb"))
    lines = timed("reading", count, lambda: corpus.read_text("utf-8").splitlines())
    timed("cutting", count, lambda: [tokenizer.encode(line) for line in lines])
    answers = timed("answering", answered, answer)
    text = (answers * -(-count // answered))[:count]
    timed("writing", count, lambda: place.write_text("".join(f"{each}\n" for each in text), "utf-8"))


def clocks() -> np.ndarray:
    """Returns the wall clock, and the processor time of the processes that were started and have ended."""
    used = os.times()
    return np.array([time.monotonic(), used.children_user + used.children_system])


def run(folder: Path, corpus: Path, out: Path, workers: int) -> np.ndarray:
    """Returns the seconds that the pipeline takes, by both clocks."""
    command = [str(PYTHON), "pipeline.py", "--input", str(corpus), "--output", str(out), "--part_bytes", "8192"]
    several = ["--direct_running_mode", "multi_processing", "--direct_num_workers", str(workers)]
    variables = {**os.environ, "PATH": f"{PYTHON.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    begun = clocks()
    subprocess.run(
        [*command, "--runner", "FnApiRunner", *several], cwd=folder, env=variables, check=True, capture_output=True
    )
    return clocks() - begun


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="an exported directory")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--answered", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        steps(asked.model, asked.corpus.resolve(), asked.answered, Path(place, "answers"))
        folder, one = Path(place, "job"), Path(place, "one.txt")
        write_beam(asked.model, folder)
        lines = asked.corpus.read_text("utf-8").splitlines(keepends=True)[: asked.answered]
        one.write_text(lines[0], "utf-8")
        some = Path(place, "some.txt")
        some.write_text("".join(lines), "utf-8")
        for turn in range(asked.rounds):
            for workers in asked.workers:
                start = run(folder, one, Path(place, f"one-{turn}-{workers}"), workers)
                whole = run(folder, some, Path(place, f"some-{turn}-{workers}"), workers)
                wall, processor = len(lines) / (whole - start)
                print(
                    f"round {turn + 1}, {workers} workers: {wall:,.0f} lines a second, {processor:,.0f} a second of a "
                    f"processor; start {start[0]:.1f} s, {start[1]:.1f} of a processor",
                    flush=True,
                )


if __name__ == "__main__":
    main()
