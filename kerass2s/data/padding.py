"""Rows of different length as one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["padded"]


def padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of ids [S] or of vectors [S, N] as one array [B, S, ...], 0 after each, and their lengths int32 [B].

    >>> padded([np.array([5, 3], np.int32), np.array([3], np.int32)])
    (array([[5, 3],
           [3, 0]], dtype=int32), array([2, 1], dtype=int32))
    """
    lengths = np.array([len(row) for row in rows], np.int32)
    batch = np.zeros([len(rows), lengths.max(initial=1), *rows[0].shape[1:]], rows[0].dtype)
    for line, row in zip(batch, rows, strict=True):
        line[: len(row)] = row
    return batch, lengths
