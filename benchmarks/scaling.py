"""How time and memory grow: a training step, a search, and the input pipeline with the number of lines.

    python benchmarks/scaling.py                  # some minutes; writes docs/scaling_results.json and a picture

A training step grows with vocabulary and length, a search with beam, output length and batch. Each of them and each
epoch is taken in a process of its own, since a peak of memory never falls again; shown is what the step adds to the
model and its optimizer, the search to the model, and the epoch to the tokenizers. Seconds are of the processor, on one
thread (of the pipeline on all). The model is `luong2015` with random weights, which never ends an output by itself, so
that outputs are as long as they are asked to be. Lines are read from a file, shuffled in pools, tokenised and put into
batches, one epoch of them, without a cache.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent / "peers"))

RESULTS = Path(__file__).parent.parent / "docs" / "scaling_results.json"
PICTURE = RESULTS.parent / "images" / "scaling.png"
SIZES = {"units": 128, "embedding_size": 64}
VOCABULARIES = (100, 1000, 10_000, 30_000, 100_000)
LENGTHS = (10, 30, 100, 300, 1000)
WIDTHS = (1, 2, 5, 10, 20, 50)
BATCHES = (1, 4, 16, 64, 256)
LINES_OF_TEXT = (1000, 10_000, 100_000, 1_000_000, 10_000_000)
"""What grows; everything else stays as small as in `training_step` and `search`."""


def training_step(vocabulary: int, length: int, fused: bool) -> dict[str, float]:
    """Takes some training steps of 16 pairs in this process."""
    import tensorflow as tf
    from keras_training import make_batches, make_model
    from turns import held_mib, peak_mib

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    task = {"vocabulary": vocabulary, "attention": True, "batch": 16, "length": length, "config": SIZES}
    model, _ = make_model(task, fused, "float32")
    (batch,) = make_batches(task, model, None)
    model._build_optimizer()
    held, step = held_mib(), tf.function(model.train_step)
    return {"seconds": least(lambda: float(step(batch)["loss"])), "mib": peak_mib() - held}


def epoch(lines: int) -> dict[str, float]:
    """Reads a file of so many pairs as training does, in this process."""
    import tensorflow as tf
    from turns import held_mib, peak_mib

    from kerass2s.data import BucketByExamples, batches
    from kerass2s.text import SentencePieceTokenizer

    words = [f"{number:b}" for number in range(1, 256)]
    tokenizer = SentencePieceTokenizer.train(words, "char")
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        for number in range(lines):
            file.write(f"{words[number % 251]}\t{words[number % 241]}\n")
        file.flush()
        lines_together = tf.data.TextLineDataset(file.name).batch(1024)
        pairs = lines_together.map(lambda each: tuple(tf.unstack(tf.strings.split(each, "\t").to_tensor(), 2, 1)))
        dataset = batches(pairs.unbatch(), tokenizer, tokenizer, BucketByExamples(), shuffle_seed=0, cache=False)
        held, begin = held_mib(), time.process_time()
        found = sum(int(tf.shape(labels)[0]) for _, labels, _ in dataset)
    assert found == lines
    return {"seconds": time.process_time() - begin, "mib": peak_mib() - held}


def least(work: Callable[[], Any], times: int = 3) -> float:
    """Returns the processor seconds of the fastest of some runs, after one that does not count."""
    work()
    found = []
    for _ in range(times):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


def search(name: str, size: int) -> dict[str, float]:
    """Runs the live search in this process: against the width of the beam, the length of the output or the batch."""
    import tensorflow as tf
    from keras_training import make_model
    from turns import held_mib, peak_mib

    from kerass2s.decoding import BeamSearch, GreedySearch

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model, _ = make_model({"vocabulary": 1000, "attention": True, "config": SIZES}, False, "float32")
    batch, asked = {
        "beam": lambda: (4, BeamSearch(size, max_length=20)),
        "output": lambda: (1, GreedySearch(size)),
        "batch": lambda: (size, GreedySearch(20)),
    }[name]()
    given, held = (tf.fill([batch, 20], 7), tf.fill([batch], 20)), held_mib()
    graph = tf.function(lambda ids, lengths: model.search_graph(ids, lengths, asked).ids)
    return {"seconds": least(lambda: graph(*given).numpy()), "mib": peak_mib() - held}


def alone(*asked: Any) -> Any:
    """Runs a part of this script in a process of its own."""
    command = [sys.executable, __file__, "--part", json.dumps(asked)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def measure() -> dict[str, Any]:
    """Measures all, and shows each figure as it comes."""
    found: dict[str, Any] = {"date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    for name, cases in (
        ("vocabulary", [(size, 20) for size in VOCABULARIES]),
        ("length", [(1000, length) for length in LENGTHS]),
    ):
        for fused in (False, True):
            curve = found[f"{name}, {'fused' if fused else 'plain'}"] = {}
            for vocabulary, length in cases:
                curve[vocabulary if name == "vocabulary" else length] = alone(vocabulary, length, fused)
                print(
                    name, fused, vocabulary, length, curve[vocabulary if name == "vocabulary" else length], flush=True
                )
    for name, sizes in (("beam", WIDTHS), ("output", LENGTHS), ("batch", BATCHES), ("lines", LINES_OF_TEXT)):
        curve = found[name] = {}
        for size in sizes:
            curve[size] = alone(size) if name == "lines" else alone(name, size)
            print(name, size, curve[size], flush=True)
    return found


def draw(found: dict[str, Any]) -> None:
    """Draws seconds and memory over what grows, both axes by powers of ten."""
    from kerass2s.plots.canvas import LINES, finish, in_style, new_figure

    kinds = (("seconds", "seconds"), ("mib", "MiB"))
    panels = [(name, what) for name in ("vocabulary", "length") for what, _ in kinds]

    def draw_all() -> None:
        figure = new_figure(12, 6)
        axes = figure.subplots(2, 4).flatten()
        for axis, (name, what) in zip(axes, panels, strict=False):
            for kind, (colour, dash, marker) in zip(("plain", "fused"), LINES, strict=False):
                curve = found[f"{name}, {kind}"]
                places = [int(each) for each in curve], [each[what] for each in curve.values()]
                axis.loglog(*places, color=colour, linestyle=dash, marker=marker, label=kind)
            axis.set(title=f"training step, {'s' if what == 'seconds' else 'MiB'}", xlabel=name)
            axis.legend()
        searches = {"beam": "width of the beam", "output": "tokens", "batch": "batch"}
        for axis, (name, label) in zip(axes[len(panels) :], {**searches, "lines": "lines"}.items(), strict=True):
            for (what, shown), (colour, dash, marker) in zip(kinds, (LINES[2], LINES[0]), strict=True):
                places = [int(each) for each in found[name]], [each[what] for each in found[name].values()]
                axis.loglog(*places, color=colour, linestyle=dash, marker=marker, label=shown)
            axis.set(title="search" if name in searches else "an epoch of the pipeline", xlabel=label)
            axis.legend()
        finish(figure, PICTURE)

    in_style(draw_all)()


def main() -> int:
    """Measures, writes and draws; or runs the one part that `--part` names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        part = {1: epoch, 2: search, 3: training_step}[len(options.part)]
        print(json.dumps(part(*options.part)))
        return 0
    found = measure()
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    draw(json.loads(RESULTS.read_text("utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
