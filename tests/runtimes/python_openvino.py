"""Answers each line of the standard input with OpenVINO, from an ONNX file or a SavedModel.

    python python_openvino.py model.onnx < words.txt
    python python_openvino.py saved_model/1 < words.txt

An ONNX file is read as it is. A SavedModel is read with the help of TensorFlow, its signature `ids` (OpenVINO by itself
sees `serving_default` only, and cannot convert its tokenizer); `openvino.save_model` then keeps what was read.
"""

import importlib
import json
import os
import sys
from pathlib import Path

os.environ["CI"] = "true"  # else the import sends statistics of use to OpenVINO's makers

import openvino
from python_text import Text, answer_lines


def read_onnx(path: Path) -> tuple[openvino.Model, Text]:
    """Returns the model of a file, and its texts."""
    model = openvino.Core().read_model(path)
    carried = model.get_rt_info(["framework"]).astype(dict)
    return model, Text({key: value.astype(str) for key, value in carried.items()})


def read_saved_model(path: Path) -> tuple[openvino.Model, Text]:
    """Returns the model of a directory, and its texts."""
    import tensorflow as tf

    importlib.import_module("tensorflow_text")  # brings the tokenizer's operators, and nothing else is used of it
    loaded = tf.saved_model.load(str(path))
    description = json.loads((path / "assets.extra" / "kerass2s.json").read_text("utf-8"))
    return openvino.convert_model(loaded.signatures["ids"]), Text(description)


path = Path(sys.argv[1])
model, text = read_saved_model(path) if path.is_dir() else read_onnx(path)
# Without the hint OpenVINO may compute in bfloat16, and then some answers are others.
compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})


def answer(lines: list[str]) -> list[str]:
    """Returns the best answer to each line."""
    outputs = compiled(text.feeds(lines))
    return text.best(outputs["target_ids"], outputs["target_lengths"])


answer_lines(answer)
