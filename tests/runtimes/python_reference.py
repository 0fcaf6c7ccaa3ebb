"""Answers each line of the standard input with the ONNX standard's own evaluator, in NumPy.

python python_reference.py model.onnx < words.txt
"""

import sys

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from python_text import Text, answer_lines

model = onnx.load_model(sys.argv[1])
text = Text({entry.key: entry.value for entry in model.metadata_props})
evaluator = ReferenceEvaluator(model)


def answer(lines: list[str]) -> list[str]:
    """Returns the best answer to each line."""
    with np.errstate(over="ignore"):  # its sigmoid is 1 / (1 + exp(-x)), and padding closes the gates by a large x
        return text.best(*evaluator.run(["target_ids", "target_lengths"], text.feeds(lines)))


answer_lines(answer, batch=250)
