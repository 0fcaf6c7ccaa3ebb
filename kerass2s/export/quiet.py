"""Keeps the chatter of the exporting libraries off the user's terminal."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("absl", "tensorflow", "tf2onnx", "tf2onnx.tf_utils", "tf2onnx.tf_loader", "tf2onnx.tfonnx")


@contextmanager
def quiet() -> Iterator[None]:
    """Lets only critical log records of `LOGGERS` through, and no Python warnings; then all is as before."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
