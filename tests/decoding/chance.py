"""Whether counts are what chance gives: Pearson's chi-square, and how large it may be."""

from __future__ import annotations

import numpy as np

FEWEST = 5.0


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    """Returns the statistic of counts that should be these shares of their sum."""
    expected = shares * np.sum(counts)
    return float(np.sum((counts - expected) ** 2 / expected))


def limit_of(degrees: int) -> float:
    """Returns what one statistic in 10000 exceeds (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + 3.719 * spread**0.5) ** 3


def check_shares(outcomes: list, shares: dict) -> None:
    """Asserts that only what is possible came, and each as often as it should; what is rare is counted as one."""
    assert set(outcomes) <= set(shares)
    common = [key for key, share in shares.items() if share * len(outcomes) >= FEWEST]
    counts = [outcomes.count(key) for key in common]
    wanted = [shares[key] for key in common]
    if sum(wanted) < 1 - FEWEST / len(outcomes):
        counts, wanted = [*counts, len(outcomes) - sum(counts)], [*wanted, 1 - sum(wanted)]
    wanted = np.array(wanted) / sum(wanted)
    if len(counts) > 1:
        assert chi_square(np.array(counts), wanted) < limit_of(len(counts) - 1)
