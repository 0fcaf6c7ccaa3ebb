"""OpenVINO and the ONNX reference evaluator as functions from a file and its inputs to its outputs, for other tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from onnx.reference import ReferenceEvaluator

Arrays = dict[str, np.ndarray]


def by_openvino(path: Path, inputs: Arrays) -> Arrays:
    """Runs an ONNX file in float32, on one thread."""
    model = openvino.Core().read_model(path)
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    outputs = openvino.compile_model(model, "CPU", hints)(inputs)
    return {port.any_name: np.array(value) for port, value in outputs.items()}


def by_reference(path: Path, inputs: Arrays) -> Arrays:
    """Runs an ONNX file in NumPy; its sigmoid overflows, to the right value, where padding closes a gate."""
    evaluator = ReferenceEvaluator(str(path))
    with np.errstate(all="ignore"):
        return dict(zip(evaluator.output_names, evaluator.run(None, inputs), strict=True))
