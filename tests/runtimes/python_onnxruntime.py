"""Answers each line of the standard input with ONNX Runtime.

python python_onnxruntime.py model.onnx < words.txt
"""

import sys

import onnxruntime
from python_text import Text, answer_lines

options = onnxruntime.SessionOptions()
options.log_severity_level, options.intra_op_num_threads = 3, 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
text = Text(session.get_modelmeta().custom_metadata_map)

answer_lines(lambda lines: text.best(*session.run(["target_ids", "target_lengths"], text.feeds(lines))))
