"""Times starts, each in a fresh process: imports, and the first prediction of a preset, a SavedModel and an ONNX file.

    python benchmarks/start.py [MODEL]            # a preset's name or directory; `g2p_en` without it

Shown are the medians of some starts, by turns: seconds of the wall clock, and of the processor in all threads.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kerass2s.decoding import GreedySearch
from kerass2s.export import export_onnx, export_saved_model
from kerass2s.presets import load_preset

ALONE = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
ids = np.array([[4, 5, 6, 7, 3]], np.int32)
print(session.run(["target_ids"], {"source_ids": ids, "source_lengths": np.array([5], np.int32)})[0].shape)
"""


def main() -> int:
    """Starts everything by turns and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="g2p_en", help="a preset's name or directory")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is started")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        saved, onnx = Path(directory) / "1", Path(directory) / "model.onnx"
        model = load_preset(options.model)
        export_saved_model(model, saved, GreedySearch())
        export_onnx(model, onnx, GreedySearch())
        predict = [sys.executable, "-m", "kerass2s", "predict"]
        starts = {
            "import kerass2s": [sys.executable, "-c", "import kerass2s"],
            "import tensorflow": [sys.executable, "-c", "import tensorflow"],
            "kerass2s --help": [sys.executable, "-m", "kerass2s", "--help"],
            "kerass2s predict PRESET": [*predict, options.model],
            "kerass2s predict SAVED_MODEL": [*predict, str(saved)],
            "kerass2s predict ONNX": [*predict, str(onnx)],
            "ONNX Runtime alone": [sys.executable, "-c", ALONE, str(onnx)],
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in starts}
        for _ in range(options.rounds):
            for name, command in starts.items():
                found[name].append(seconds(command))
    print("| from the start of the process | wall, s | processor, s |\n| --- | ---: | ---: |")
    for name, turns in found.items():
        wall, processor = (statistics.median(each) for each in zip(*turns, strict=True))
        print(f"| `{name}` | {wall:.2f} | {processor:.2f} |")
    print(json.dumps(found), file=sys.stderr)
    return 0


def seconds(command: list[str]) -> tuple[float, float]:
    """Runs a command on one word, and returns its seconds of the wall clock and of the processor."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, input="phoneme\n", text=True, check=True, capture_output=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
