"""Answers every line of a corpus by a text-to-text ONNX file of kerass2s, on any runner of Apache Beam.

It needs apache-beam, numpy, onnxruntime and onnxruntime-extensions, and no kerass2s.

The corpus is cut into parts at line ends; a part's answers go to a file of its own, which takes its name when all of it
is written. The names are in the order of the corpus, and the lines of a file in the order of its part, so that

    cat OUT/part-*

has an answer in each line's place. A run that was cut short goes on where it was: parts that are there are not made
again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import onnxruntime
import onnxruntime_extensions
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

MODEL = str(Path(__file__).with_name("model.onnx"))
PLAN = "plan.json"


Part = tuple[int, str, int, int]
"""A number, and a piece of the corpus: the lines that begin in the bytes [start, end) of a file."""


def name_of(number: int) -> str:
    """Return the name of the file with the answers of a part."""
    return f"part-{number:07d}.txt"


# === The plan ===


def plan(pattern: str, part_bytes: int) -> list[Part]:
    """Cut the files that a pattern matches, in the order of their names, into parts."""
    [matched] = FileSystems.match([pattern])
    files = sorted((each.path, each.size_in_bytes) for each in matched.metadata_list)
    ranges = [(path, start, size) for path, size in files for start in range(0, size, part_bytes)]
    return [(number, path, start, min(start + part_bytes, size)) for number, (path, start, size) in enumerate(ranges)]


def begin(out: str, model: str, parts: Sequence[Part]) -> list[Part]:
    """Return the parts that are still to be made; refuse a directory with the answers to something else."""
    with FileSystems.open(model, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    now = {"model": digest, "parts": [list(part) for part in parts]}
    place = FileSystems.join(out, PLAN)
    if FileSystems.exists(place):
        with FileSystems.open(place) as file:
            before = json.loads(file.read())
        if before != now:
            raise SystemExit(f"error: --output has answers of another model, corpus or --part_bytes. Received: {out}")
    else:
        if not FileSystems.exists(out):
            FileSystems.mkdirs(out)
        write(place, json.dumps(now).encode())
    [there] = FileSystems.match([FileSystems.join(out, "part-*.txt")])
    names = {each.path.replace("\\", "/").rpartition("/")[2] for each in there.metadata_list}
    return [part for part in parts if name_of(part[0]) not in names]


def write(place: str, content: bytes) -> None:
    """Write a file that takes its name when it is whole; who writes it again writes the same."""
    made = f"{place}.{uuid.uuid4().hex}.making"
    with FileSystems.create(made, "application/octet-stream", CompressionTypes.UNCOMPRESSED) as file:
        file.write(content)
    if FileSystems.exists(place):
        FileSystems.delete([place])
    FileSystems.rename([made], [place])


# === The pipeline ===


def read(part: Part) -> tuple[int, list[str]]:
    """Read the lines of a part, under its number."""
    number, path, start, end = part
    lines = []
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        if start:  # a line that began before belongs to the part before
            file.seek(start - 1)
            file.readline()
        position = file.tell()
        while position < end and (line := file.readline()):
            lines.append(text_of(line, path, position))
            position += len(line)
    return number, lines


def text_of(line: bytes, path: str, position: int) -> str:
    """Return a line without its end; refuse one that is no UTF-8, and say where it is."""
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the line at byte {position} is not UTF-8. Received: {line[:80]!r}") from error


class TextToText(ModelHandler[list[str], list[str], onnxruntime.InferenceSession]):
    """Runs the ONNX file on the lines of a part, those of like length together.

    Args:
        model: where the file is.
        batch_size: lines that are answered at once.
    """

    def __init__(self, model: str, batch_size: int) -> None:
        super().__init__(max_batch_size=1)
        self._model = model
        self._size = batch_size

    def load_model(self) -> onnxruntime.InferenceSession:
        """Read the file; one thread, since the runner has a process for each core."""
        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        with FileSystems.open(self._model, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return onnxruntime.InferenceSession(file.read(), options, providers=["CPUExecutionProvider"])

    def run_inference(
        self, batch: Sequence[list[str]], model: onnxruntime.InferenceSession, inference_args: Any = None
    ) -> Iterator[list[str]]:
        """Answer parts."""
        for lines in batch:
            answers = np.empty(len(lines), object)
            order = sorted(range(len(lines)), key=lambda each: len(lines[each]))
            for first in range(0, len(lines), self._size):
                chosen = order[first : first + self._size]
                [answers[chosen]] = model.run(
                    ["best_text"], {"text": np.array([lines[each] for each in chosen], object)}
                )
            yield answers.tolist()


class Write(beam.DoFn):
    """Writes the answers of a part.

    Args:
        out: the directory.
    """

    def __init__(self, out: str) -> None:
        self._out = out

    def process(self, answered: tuple[int, list[str]]) -> None:
        """Write them in the order of the lines."""
        number, answers = answered
        write(FileSystems.join(self._out, name_of(number)), "".join(f"{each}\n" for each in answers).encode("utf-8"))


def end_with_a_worker(failure: threading.ExceptHookArgs) -> None:
    """End the run where a process of the local runner is gone: that runner would wait for it for ever."""
    threading.__excepthook__(failure)
    if failure.thread is not None and failure.thread.name == "run_worker":
        print("error: a worker is gone; the same command makes the parts that are missing", file=sys.stderr)
        os._exit(1)


def main() -> None:
    """Run the pipeline; options that are not named here are the runner's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="files of lines, UTF-8, not compressed: a pattern")
    parser.add_argument("--output", required=True, help="directory for the answers")
    parser.add_argument("--model", default=MODEL, help="the ONNX file, where all workers see it")
    parser.add_argument("--batch_size", type=int, default=64, help="lines that are answered at once")
    parser.add_argument("--part_bytes", type=int, default=2**16, help="bytes of the corpus that make a part")
    asked, options = parser.parse_known_args()
    threading.excepthook = end_with_a_worker
    parts = begin(asked.output, asked.model, plan(asked.input, asked.part_bytes))
    print(f"{len(parts)} parts to make", file=sys.stderr)
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        (
            pipeline
            | beam.Create(parts)
            | beam.Reshuffle()
            | beam.Map(read)
            | RunInference(KeyedModelHandler(TextToText(asked.model, asked.batch_size)))
            | beam.ParDo(Write(asked.output))
        )


if __name__ == "__main__":
    main()
