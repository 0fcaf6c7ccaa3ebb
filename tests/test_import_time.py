"""The front door: `import kerass2s` is quick, and every public name is there when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import kerass2s

TIMER = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"


def seconds_to_import(module: str) -> float:
    """Return the time that a fresh process takes to import a module, the better of two tries."""
    command = [sys.executable, "-c", TIMER.format(module=module)]
    return min(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(2))


def test_import_takes_no_longer_than_tensorflow_and_a_tenth():
    assert seconds_to_import("kerass2s") <= 1.1 * seconds_to_import("tensorflow")


@pytest.mark.parametrize("name", kerass2s.__all__)
def test_every_public_name_is_there_and_documented(name: str):
    assert name in dir(kerass2s)
    assert getattr(kerass2s, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = kerass2s.no_such_name
