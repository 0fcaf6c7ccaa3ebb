"""How an export's answers are compared with those of the live model, and what may differ between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]

TOLERANCE = 1e-4
FEW = 64
"""How many tokens an output has at most that counts among the others: at each token a near tie may tip."""


class Allowed(NamedTuple):
    """What weights of fewer bits may change.

    Attributes:
        token: nats by which the score of an identical output may differ, for each of its tokens and its end; how far
            one step's probabilities, or predicted values as a part of themselves or of 1, may be from the live ones.
        outputs: how many of the best outputs of `FEW` tokens at most may be others.
    """

    token: float
    outputs: float


ALLOWED = {"float16": Allowed(0.01, 0.1), "int8": Allowed(0.2, 0.3)}


class Comparison:
    """Collects what differs between an export and the live model.

    Attributes:
        differences: each that is too large, as a line.
        largest: the largest difference of each output that is a number, by name.
        same: how many best outputs are identical, of short ones where weights have fewer bits.
        rows: of how many.
    """

    def __init__(self, precision: str) -> None:
        self._precision = precision
        self._allowed = ALLOWED.get(precision)
        self.differences: list[str] = []
        self.largest: dict[str, float] = {}
        self.same = self.rows = 0

    @property
    def exact(self) -> bool:
        """Whether nothing but numbers may differ."""
        return self._allowed is None

    def compare(self, where: str, given: Arrays, expected: Arrays) -> None:
        """Compares the outputs of one function; `where` is told with each difference."""
        if given.keys() != expected.keys():
            self.differences.append(f"{where}: outputs {sorted(given)}, expected {sorted(expected)}")
            return
        for name, value in expected.items():
            self._measure(name, given[name], value)
        if self.exact:
            found = [line for name, value in expected.items() for line in differs(name, given[name], value)]
        else:
            found = list(self._near(given, expected))
        self.differences += [f"{where}: {line}" for line in found]

    def count(self, given: Arrays, expected: Arrays) -> None:
        """Counts which best outputs are identical, where they are tokens; weights of fewer bits may tip long ones."""
        if "scores" in expected:
            alike = _alike(given["target_ids"], expected["target_ids"])
            if not self.exact:
                alike = alike[expected["target_lengths"][:, 0] <= FEW]
            self.same, self.rows = self.same + int(alike.sum()), self.rows + alike.size

    def settle(self) -> None:
        """Adds, when all is compared, whether too many outputs are others."""
        other = self.rows - self.same
        if self._allowed and other > self._allowed.outputs * self.rows:
            self.differences.append(f"{other} of {self.rows} best outputs are others, too many for {self._precision}")

    def _measure(self, name: str, given: np.ndarray, expected: np.ndarray) -> None:
        if not np.issubdtype(expected.dtype, np.floating) or given.shape != expected.shape:
            return
        with np.errstate(invalid="ignore"):  # -inf, where there is no hypothesis, less -inf
            apart = np.abs(given - expected)
        self.largest[name] = max(self.largest.get(name, 0.0), float(np.nan_to_num(apart, nan=0.0).max(initial=0.0)))

    def _near(self, given: Arrays, expected: Arrays) -> Iterator[str]:
        """Yields what is beyond what the precision allows."""
        most = self._allowed.token
        if "scores" in expected:
            alike = _alike(given["target_ids"], expected["target_ids"])
            tokens = expected["target_lengths"][alike, 0] + 1
            apart = np.abs(given["scores"] - expected["scores"])[alike, 0] / tokens
            if apart.max(initial=0.0) > most:
                yield f"scores differ by up to {apart.max():.2e} a token"
        if "log_probabilities" in expected:
            apart = np.abs(np.exp(given["log_probabilities"]) - np.exp(expected["log_probabilities"]))
            if apart.max(initial=0.0) > most:
                yield f"probabilities differ by up to {apart.max():.2e}"
        for name in {"values", "target_values"} & expected.keys():
            apart = np.abs(given[name] - expected[name]) / np.maximum(np.abs(expected[name]), 1)
            if apart.max(initial=0.0) > most:
                yield f"{name} differ by up to {apart.max():.2e} of themselves"


def _alike(given: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether each row's best output is the same, bool [B], of ids [B, K, T] that may be cut to different T."""
    length = max(given.shape[2], expected.shape[2])
    one, other = (np.pad(ids[:, 0], [(0, 0), (0, length - ids.shape[2])]) for ids in (given, expected))
    return (one == other).all(axis=1)


def differs(name: str, given: np.ndarray, expected: np.ndarray) -> Iterator[str]:
    """Yields how an output differs from what it must be: in shape, at all, or by more than `TOLERANCE` as a number."""
    if given.shape != expected.shape:
        yield f"{name} has shape {given.shape}, expected {expected.shape}"
    elif np.issubdtype(expected.dtype, np.floating):
        if not np.allclose(given, expected, rtol=1e-5, atol=TOLERANCE):
            yield f"{name} differs by up to {np.abs(given - expected).max():.2e}"
    elif not np.array_equal(given, expected):
        yield f"{name} differs at {int(np.sum(given != expected))} of {expected.size} places"
