"""Trains a recipe whose sizes are `auto` on few and many pairs, and keeps what dev says of each choice.

    python benchmarks/ladder.py --out DIR                                       # g2p_en, at each number of words
    python benchmarks/ladder.py --out DIR --pairs 800 --set config.dropout=0.5  # another choice beside it
    python benchmarks/ladder.py --out DIR --recipe transduce --data dates --pairs 2000

The pairs are the first of a data set's training sources by hash, so that those of a smaller number are among those of a
larger, with all their targets. The dev pairs are 2,000 of its dev part, the same for each number; no test pair is read.
What is in docs/ladder_results.json already is not trained again. From one to ten minutes a run on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kerass2s import datasets
from kerass2s.data import Pair
from kerass2s.recipes.runs import accuracy, best_epoch, history, hours

RESULTS = Path(__file__).parent.parent / "docs" / "ladder_results.json"
PAIRS = (800, 3_200, 10_000, 33_000)
DEV_PAIRS = 2_000


def first(pairs: list[Pair], count: int) -> list[Pair]:
    """Returns the first pairs by the hash of their source."""
    return sorted(pairs, key=lambda pair: hashlib.sha256(f"ladder {pair.source}".encode()).digest())[:count]


def write(file: Path, pairs: list[Pair]) -> None:
    """Writes pairs as a TSV with all their targets."""
    file.write_text("".join("\t".join([pair.source, *pair.targets]) + "\n" for pair in pairs), encoding="utf-8")


def run(out: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Trains one in a process of its own; returns what its best epoch gave on dev."""
    directory = out / "-".join([asked["recipe"], asked["data"], str(asked["pairs"]), *asked["sets"]])
    directory.mkdir(parents=True)
    parts = datasets.load_split(asked["data"])
    write(directory / "train.tsv", first(parts["train"], asked["pairs"]))
    write(directory / "dev.tsv", first(parts["dev"], DEV_PAIRS))
    command = [sys.executable, "-m", "kerass2s", "train", asked["recipe"], "--out", str(directory / "run")]
    files = ["--train", str(directory / "train.tsv"), "--dev", str(directory / "dev.tsv")]
    subprocess.run([*command, *files, *(part for each in asked["sets"] for part in ("--set", each))], check=True)
    entries = history(directory / "run")
    best = best_epoch(entries)
    return {
        **asked,
        "word_error_rate": round(1 - accuracy(best), 4),
        "epoch": best["epoch"] + 1,
        "epochs": len(entries),
        "minutes": round(60 * hours(entries), 1),
    }


def results() -> list[dict[str, Any]]:
    """Returns what is kept."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []


def main() -> int:
    """Trains what is not in the results yet, and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the runs go")
    parser.add_argument("--recipe", default="g2p_en", help="a bundled recipe with `auto` in it")
    parser.add_argument("--data", default="cmudict_classic", help="a bundled data set")
    parser.add_argument("--pairs", type=int, action="append", help="how many sources, instead of all; repeatable")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="as of `train`")
    given = parser.parse_args()
    for pairs in given.pairs or PAIRS:
        asked = {"recipe": given.recipe, "data": given.data, "pairs": pairs, "sets": given.sets}
        if any(each | asked == each for each in results()):
            continue
        found = run(given.out, asked)
        print(json.dumps(found), flush=True)
        RESULTS.write_text(json.dumps([*results(), found], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
