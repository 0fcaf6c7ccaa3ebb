"""Compares the exports of every architecture with the live model: same answers, speed, size.

    python benchmarks/exports.py                                     # the zoo, tiny: identical answers, some minutes
    python benchmarks/exports.py --speed tests/trained/g2p_quickstart  # one trained model: speed and size

The first asks 200 sources of mixed lengths, greedy and by a beam of 4, of the SavedModel and the ONNX file of every
architecture in batches of 1, 3 and 32, and counts the answers that are the live model's. The second times live Keras
`generate`, the SavedModel's signature of text and ONNX Runtime for one source at a time, text in and text out, in one
process and by turns (A B C A B C, all words in each turn, as a program uses one engine), each on `--threads` threads
(0: as each likes); a time is the least of a word's rounds, in the mean of all words: whatever else the machine does
only adds to it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tensorflow as tf

from kerass2s import cmudict, zoo
from kerass2s.data.padding import padded
from kerass2s.decoding import BeamSearch, GreedySearch, Rollout, search_spec
from kerass2s.export import export_onnx, export_saved_model, load_predictor
from kerass2s.export.onnx import run_named
from kerass2s.export.saved_model import load_signatures
from kerass2s.presets import load_preset
from kerass2s.text import SentencePieceTokenizer

SOURCES = 200
LONGEST = 8
WORDS = 40
ROUNDS = 20
LEXICON = [("cat", "K AE T"), ("act", "AE K T"), ("stick", "S T IH K"), ("sack", "S AE K"), ("skit", "S K IH T")]


def main() -> None:
    """Prints the table that was asked for; ends with 1 where an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", metavar="PRESET", help="time this preset and its exports")
    parser.add_argument("--threads", type=int, default=1, help="of each engine; 0 leaves it to them")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if asked.speed:
            tf.config.threading.set_intra_op_parallelism_threads(asked.threads)
            tf.config.threading.set_inter_op_parallelism_threads(asked.threads)
            speed(load_preset(asked.speed), Path(directory), asked.threads)
        elif not identical(Path(directory)):
            sys.exit(1)


# === Identical answers ===


def identical(directory: Path) -> bool:
    """Prints, for each architecture and search, how many answers of each export are the live model's."""
    source, target = (
        SentencePieceTokenizer.train([pair[end] for pair in LEXICON], kind) for end, kind in enumerate(("char", "word"))
    )
    print("| architecture | search | SavedModel, batch 1, 3, 32 | ONNX, batch 1, 3, 32 |\n| --- | --- | --- | --- |")
    right = True
    for name in zoo.names():
        model = zoo.build(name, source_tokenizer=source, target_tokenizer=target, preset="tiny")
        for weight in model.trainable_weights:
            weight.assign(2 * weight)  # so that it is sure of itself
        vectors = isinstance(model.codec.search(), Rollout)
        for search in [Rollout(LONGEST)] if vectors else [GreedySearch(LONGEST), BeamSearch(4, max_length=LONGEST)]:
            counts = compare(model, search, directory / name)
            right &= all(count == SOURCES for each in counts for count in each)
            print(
                f"| {name} | {search_spec(search)} |",
                " | ".join(", ".join(map(str, each)) for each in counts),
                "|",
                flush=True,
            )
    return right


def compare(model: Any, search: Any, directory: Path) -> list[list[int]]:
    """Counts the identical answers of the SavedModel and the ONNX file, for each size of a batch."""
    random = np.random.default_rng(5)
    asked = [model.codec.example(random, 1 + i % 12) for i in range(SOURCES)]
    expected = model.generate(asked, search) if isinstance(search, Rollout) else model.n_best(asked, search)
    export_saved_model(model, directory / "1", search)
    export_onnx(model, directory / "model.onnx", search)
    counts = []
    for path in (directory / "1", directory / "model.onnx"):
        predictor = load_predictor(path)
        ask = predictor.generate if isinstance(search, Rollout) else predictor.n_best
        counts.append([sum(map(same, ask(asked, batch_size=size), expected)) for size in (1, 3, 32)])
    return counts


def same(given: Any, expected: Any) -> bool:
    """Whether two answers are the same: ids of all hypotheses, or arrays to 1e-4."""
    if isinstance(expected, np.ndarray):
        return np.allclose(given, expected, atol=1e-4)
    return [one.ids for one in given] == [one.ids for one in expected]


# === Speed ===


def speed(model: Any, directory: Path, threads: int) -> None:
    """Prints how long a word takes live and in each export, and how large they are."""
    words = sorted(pair.source for pair in cmudict.load_split()["dev"])[:WORDS]
    print("| search | live `generate`, ms | SavedModel, ms | ONNX, ms | live : ONNX | SavedModel : ONNX |")
    print("| --- " * 6 + "|")
    for search in (GreedySearch(), BeamSearch(4)):
        export_saved_model(model, directory / "1", search)
        export_onnx(model, directory / "model.onnx", search)
        kept, signatures = load_signatures(directory / "1")
        onnx = by_onnx(directory / "model.onnx", model.codec, threads)
        ways: list[Callable[[str], str]] = [
            lambda word, search=search: model.generate([word], search)[0],
            lambda word, signatures=signatures: (
                signatures["serving_default"](text=tf.constant([word]))["text"].numpy()[0].decode()
            ),
            lambda word, onnx=onnx: onnx(word),
        ]
        live, saved, light = timed(ways, words)
        ratios = f"{live / light:.1f} | {saved / light:.1f}"
        print(
            f"| {search_spec(search)} | {1e3 * live:.2f} | {1e3 * saved:.2f} | {1e3 * light:.2f} | {ratios} |",
            flush=True,
        )
        del kept
    saved, file = sum(each.stat().st_size for each in (directory / "1").rglob("*")), directory / "model.onnx"
    print(f"\n4 bytes x parameters {4 * model.count_params()}; SavedModel {saved}; ONNX {file.stat().st_size} bytes")


def by_onnx(path: Path, codec: Any, threads: int) -> Callable[[str], str]:
    """Returns what answers a text by an ONNX file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def answer(word: str) -> str:
        source, lengths = padded(codec.rows([word]))
        found = run_named(session, {codec.source_name: source, "source_lengths": lengths})
        return codec.decode(found["target_ids"][0, 0].tolist(), word)

    return answer


def timed(ways: list[Callable[[str], str]], words: list[str]) -> list[float]:
    """Returns the seconds of each way, the least of a word's rounds, in the mean of all; all must say the same."""
    for word in words:
        said = {way(word) for way in ways}
        if len(said) > 1:
            sys.exit(f"The answers differ. Received: {sorted(said)}")
    least = np.full([len(ways), len(words)], np.inf)
    for _ in range(ROUNDS):
        for number, way in enumerate(ways):
            for place, word in enumerate(words):
                start = time.perf_counter()
                way(word)
                least[number, place] = min(least[number, place], time.perf_counter() - start)
    return least.mean(axis=1).tolist()


if __name__ == "__main__":
    main()
