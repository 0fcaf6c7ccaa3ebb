"""The machine's own bandwidth in a comparison: arrays that are added, as in STREAM, in NumPy.

The arrays are together as large as what a step goes through: where that fits into a cache, so do they.
"""

from __future__ import annotations

import argparse
import itertools
from multiprocessing.pool import ThreadPool

import numpy as np
from turns import serve

LEAST = 2**29
"""Bytes that are moved in one turn, so that starting the threads costs little."""


def main() -> None:
    """Adds as often as it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=float, default=256, help="of all three arrays")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    count = int(options.mib * 2**20) // (3 * 4)
    one, other, total = (np.ones(count, np.float32) for _ in range(3))
    times = -(-LEAST // (3 * 4 * count))
    edges = np.linspace(0, count, options.threads + 1).astype(int)
    parts = [slice(*each) for each in itertools.pairwise(edges)]

    def add(part: slice) -> None:
        for _ in range(times):
            np.add(one[part], other[part], out=total[part])

    with ThreadPool(options.threads) as pool:
        pool.map(add, parts)
        serve({"shown": [float(total[-1])], "moved": times * 3 * 4 * count}, lambda: pool.map(add, parts))


if __name__ == "__main__":
    main()
