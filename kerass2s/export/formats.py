"""The formats that a model can be exported to, by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from kerass2s.context import choose
from kerass2s.errors import ConfigError
from kerass2s.export.onnx import export_onnx
from kerass2s.export.saved_model import export_saved_model
from kerass2s.export.steps import export_onnx_steps
from kerass2s.export.text_onnx import export_text_onnx
from kerass2s.inference import Inference

FORMATS: dict[str, Callable[..., None]] = {
    "tf_saved_model": export_saved_model,
    "onnx": export_onnx,
    "onnx_steps": export_onnx_steps,
    "text_onnx": export_text_onnx,
}


def export_as(model: Inference, path: str | os.PathLike[str], format: str, options: dict[str, Any]) -> None:
    """Writes `model` in a format, with the options that were given; None is an option that was not.

    Raises:
        ConfigError: an unknown format, or an option that it does not have.
    """
    export = choose("format", format, FORMATS)
    known = inspect.signature(export).parameters
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in known:
            raise ConfigError(f"An export to {format!r} takes no {name}. Received: {value!r}")
    if "search" in known:
        given.setdefault("search", model.codec.search())
    export(model, path, **given)
