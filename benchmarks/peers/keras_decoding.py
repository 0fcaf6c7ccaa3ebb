"""Our sides of the comparison of decoding: the live model, its SavedModel and its ONNX file, from ids to ids.

`--write` makes the model's weights, the sources and the exports once, for itself and the other sides.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import serve

END_ID = 3
FORMS = ("live", "saved_model", "onnx", "int8")


def write(directory: Path, task: dict[str, Any]) -> None:
    """Writes weights, sources and the exports of each search."""
    from kerass2s.data.padding import padded
    from kerass2s.export import export_onnx, export_saved_model

    model = make_model(task)
    np.savez(directory / "weights.npz", *(weight.numpy() for weight in model.trainable_weights))
    words = sources(task, model)
    (directory / "words.json").write_text(json.dumps(words), "utf-8")
    ids, lengths = padded(model.codec.rows(words))
    np.savez(directory / "sources.npz", ids=ids, lengths=lengths)
    for width in task["widths"]:
        search = make_search(task, width)
        export_saved_model(model, directory / f"{width}" / "1", search)
        export_onnx(model, directory / f"{width}.onnx", search)
        export_onnx(model, directory / f"{width}.int8.onnx", search, precision="int8")


def make_model(task: dict[str, Any]) -> Any:
    """Loads a preset, or makes a model of random weights that are large enough to make it sure of itself."""
    import keras
    from keras_training import letters

    from kerass2s import zoo
    from kerass2s.presets import load_preset
    from kerass2s.text import SentencePieceTokenizer

    if task.get("preset"):
        return load_preset(task["preset"])
    tokenizer = SentencePieceTokenizer.train([letters(task["vocabulary"])], "char")
    keras.utils.set_random_seed(1)
    model = zoo.build(
        "luong2015", source_tokenizer=tokenizer, target_tokenizer=tokenizer, dropout=0.0, **task["config"]
    )
    for weight in model.trainable_weights:
        weight.assign(2 * weight)
    return model


def sources(task: dict[str, Any], model: Any) -> list[str]:
    """Takes words that the preset never saw, or random sentences."""
    from kerass2s import cmudict

    if task.get("preset"):
        words = sorted(pair.source for pair in cmudict.load_split()["dev"])
        return words[:: len(words) // task["sentences"]][: task["sentences"]]
    random = np.random.default_rng(0)
    return [model.codec.example(random, task["length"]) for _ in range(task["sentences"])]


def make_search(task: dict[str, Any], width: int) -> Any:
    """Makes the greedy search, width 1, or a beam."""
    from kerass2s.decoding import BeamSearch, GreedySearch

    return GreedySearch(task["limit"]) if width == 1 else BeamSearch(width, max_length=task["limit"])


# === Forms ===

Decode = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`source_ids [B, S], source_lengths [B] -> target_ids [B, K, T]`."""


def by_live(task: dict[str, Any], width: int, directory: Path, threads: int) -> Decode:
    """Decodes with the live model: the graph that `generate` runs, without the strings."""
    import tensorflow as tf

    _limit_tensorflow(threads)
    model, search = make_model(task), make_search(task, width)
    spec = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    graph = tf.function(lambda ids, lengths: model.search_graph(ids, lengths, search).ids, input_signature=spec)
    return lambda ids, lengths: graph(ids, lengths).numpy()


def by_saved_model(task: dict[str, Any], width: int, directory: Path, threads: int) -> Decode:
    """Decodes with the SavedModel's signature "ids"."""
    import tensorflow as tf

    from kerass2s.export.saved_model import load_signatures

    _limit_tensorflow(threads)
    kept, signatures = load_signatures(directory / f"{width}" / "1")
    ids_to_ids = signatures["ids"]

    def decode(ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        assert kept
        return ids_to_ids(source_ids=tf.constant(ids), source_lengths=tf.constant(lengths))["target_ids"].numpy()

    return decode


def by_onnx(task: dict[str, Any], width: int, directory: Path, threads: int, kind: str = "") -> Decode:
    """Decodes with the ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        directory / f"{width}{kind}.onnx", options, providers=["CPUExecutionProvider"]
    )
    return lambda ids, lengths: session.run(["target_ids"], {"source_ids": ids, "source_lengths": lengths})[0]


def by_int8(task: dict[str, Any], width: int, directory: Path, threads: int) -> Decode:
    """Decodes with the ONNX file in fewer bits."""
    return by_onnx(task, width, directory, threads, ".int8")


def _limit_tensorflow(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


WAYS = {"live": by_live, "saved_model": by_saved_model, "onnx": by_onnx, "int8": by_int8}


def main() -> None:
    """Decodes as it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="has task.json, weights, sources and exports")
    parser.add_argument("--write", action="store_true", help="write those and end")
    parser.add_argument("--form", choices=FORMS, default="onnx")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=int, default=1, help="of the beam; 1 is greedy")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    task = json.loads((options.directory / "task.json").read_text("utf-8"))
    if options.write:
        write(options.directory, task)
        return
    way = WAYS[options.form](task, options.width, options.directory, options.threads)
    with np.load(options.directory / "sources.npz") as kept:
        ids, lengths = kept["ids"], kept["lengths"]
    places = [slice(begin, begin + options.batch) for begin in range(0, len(ids), options.batch)]
    batches = [(ids[each, : lengths[each].max()], lengths[each]) for each in places]

    def decode() -> list[list[int]]:
        return [row[0].tolist() for batch in batches for row in way(*batch)]

    shown = [[each for each in row if each > END_ID] for row in decode()]
    serve({"shown": shown, "version": options.form}, decode)


if __name__ == "__main__":
    main()
