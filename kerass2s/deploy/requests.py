"""Example requests to an export, for the READMEs of the folders and for their tests."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from kerass2s.data.padding import padded
from kerass2s.export.describe import described_codec, described_search

LENGTHS = (5, 3)
V2_TYPES = {"int32": "INT32", "float32": "FP32"}


def source_examples(description: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Returns two examples of what a described export reads: as `request` and as `source`, each by the inputs' names.

    `request` is what a SavedModel's text signatures take (`text`), and the source itself where sources are vectors;
    `source` is what every export takes (`source_ids`, `source_lengths`). Values are lists, ready for JSON.
    """
    codec = described_codec(description)
    random = np.random.default_rng(0)
    examples = [codec.example(random, length) for length in LENGTHS]
    values, lengths = padded(codec.rows(examples))
    if values.dtype.kind == "f":
        values = values.astype(np.float64).round(2)  # as people read it, not as float32 falls out
    source = {codec.source_name: values.tolist(), "source_lengths": lengths.tolist()}
    return {"request": {"text": examples} if "text" in codec.request_spec else source, "source": source}


def setting_defaults(description: dict[str, str]) -> dict[str, Any]:
    """Returns the further inputs of a described export, each with its default as a Python number."""
    codec = described_codec(description)
    return {name: value.item() for name, value in codec.settings(described_search(description)).items()}


def v2_requests(description: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Returns the examples as requests by the V2 protocol (KServe's, which Triton and MLServer speak), ready for JSON.

    Both are as in `source_examples`: `request` for a runtime that takes texts, `source` for the ONNX file itself.
    """
    types = {name: V2_TYPES[of["dtype"]] for name, of in json.loads(description["inputs"]).items()} | {"text": "BYTES"}
    return {
        kind: {
            "inputs": [
                {"name": name, "datatype": types[name], "shape": _shape(value), "data": value}
                for name, value in inputs.items()
            ]
        }
        for kind, inputs in source_examples(description).items()
    }


def _shape(value: Any) -> list[int]:
    """The shape of nested lists."""
    return [len(value), *_shape(value[0])] if isinstance(value, list) else []


def in_shell_quotes(value: Any) -> str:
    """Returns a value as JSON between single quotes, for a shell's command line."""
    return "'" + json.dumps(value, ensure_ascii=False).replace("'", "'\\''") + "'"
