"""Summaries and bridges against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kerass2s.context import BRIDGES, SUMMARIES
from kerass2s.errors import ConfigError

MEMORY = np.array([[[1.0, -2.0], [3.0, -4.0], [9.0, 9.0]], [[5.0, 6.0], [0.0, 0.0], [0.0, 0.0]]], np.float32)
MASK = np.array([[True, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("last", [[3, -4], [5, 6]]),
        ("mean", [[2, -3], [5, 6]]),
        ("max", [[3, -2], [5, 6]]),
        ("both_ends", [[1, -2, 3, -4], [5, 6, 5, 6]]),
        ("first_backward", [[-2], [6]]),
    ],
)
def test_summary(name: str, expected: list) -> None:
    np.testing.assert_allclose(SUMMARIES[name]()(MEMORY, MASK), expected)


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_row_without_real_positions_gives_zeros(name: str) -> None:
    assert not np.asarray(SUMMARIES[name]()(MEMORY, np.zeros_like(MASK))).any()


def test_bridges() -> None:
    summary = np.array([[1.0, 2.0, 3.0]], np.float32)
    sizes = {"h_0": 2, "c_0": 1}
    passed = BRIDGES["pass"](sizes)(summary)
    np.testing.assert_allclose(passed["h_0"], [[1, 2]])
    np.testing.assert_allclose(passed["c_0"], [[3]])
    zero = BRIDGES["zero"](sizes)(summary)
    np.testing.assert_allclose(zero["h_0"], [[0, 0]])
    dense = BRIDGES["dense"](sizes)
    made = dense(summary)
    weights, bias = (np.asarray(variable) for variable in dense.dense.weights)
    np.testing.assert_allclose(
        np.concatenate([made["h_0"], made["c_0"]], 1), np.tanh(summary @ weights + bias), atol=1e-6
    )


def test_a_bridge_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a summary of size 3"):
        BRIDGES["pass"]({"h_0": 2, "c_0": 1})(np.zeros([1, 4], np.float32))
