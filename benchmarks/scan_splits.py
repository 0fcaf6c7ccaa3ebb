"""Trains the recipe `scan_luong2015` on SCAN's three splits and scores each once on the authors' test commands.

Run `python benchmarks/scan_splits.py --out DIR` (SCAN is downloaded, or read from `$KERASS2S_DATA/scan`). About 6
minutes a split on 2 cores. The model of each split is the epoch that was best on dev; a split whose model is in DIR
already is only scored.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from kerass2s import Seq2Seq, scan
from kerass2s.evaluation import evaluate_texts


def main() -> int:
    """Prints, for each split, the exact matches on dev and on test, greedy search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where the trained models are written")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of the order of the pairs")
    options = parser.parse_args()
    for split in scan.SPLITS:
        directory = options.out / f"{split}-{options.seed}"
        if not (directory / "config.json").exists():
            sets = ["--set", f"data.name=scan_{split}", "--set", f"seed={options.seed}"]
            command = [sys.executable, "-m", "kerass2s", "train", "scan_luong2015", "--out", str(directory), *sets]
            subprocess.run(command, check=True)
        model, parts = Seq2Seq.from_preset(directory), scan.load_split(split)
        for part in ("dev", "test"):
            found = evaluate_texts(model.generate([pair.source for pair in parts[part]], batch_size=128), parts[part])
            print(f"{split} {part}: {found['sequence_accuracy']:.2%} of {len(parts[part])} commands", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
