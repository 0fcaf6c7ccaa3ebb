"""Trains a recipe whose sizes are `auto` on few and many words, and keeps what dev says of each choice.

    python benchmarks/ladder.py --out DIR                        # the recipe as it is, at each number of words
    python benchmarks/ladder.py --out DIR --words 800 --set config.dropout=0.5     # another choice beside it

The words are English, from the classic split of the CMU Pronouncing Dictionary: the first of its training words by
hash, so that those of a smaller number are among those of a larger, with all their pronunciations. The dev words are
2,000 of the split's, the same for each number; no test word is read. What is in docs/ladder_results.json already is not
trained again. From two to ten minutes a run on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kerass2s import cmudict
from kerass2s.data import Pair
from kerass2s.recipes.runs import accuracy, best_epoch, history, hours

RESULTS = Path(__file__).parent.parent / "docs" / "ladder_results.json"
WORDS = (800, 3_200, 10_000, 33_000)
DEV_WORDS = 2_000


def first(pairs: list[Pair], count: int) -> list[Pair]:
    """Returns the first words by hash."""
    return sorted(pairs, key=lambda pair: hashlib.sha256(f"ladder {pair.source}".encode()).digest())[:count]


def write(file: Path, pairs: list[Pair]) -> None:
    """Writes pairs as a TSV with all their targets."""
    file.write_text("".join("\t".join([pair.source, *pair.targets]) + "\n" for pair in pairs), encoding="utf-8")


def run(out: Path, recipe: str, words: int, sets: list[str]) -> dict[str, Any]:
    """Trains one in a process of its own; returns what its best epoch gave on dev."""
    directory = out / "-".join([recipe, str(words), *(each.replace("/", "_") for each in sets)])
    directory.mkdir(parents=True)
    parts = cmudict.load_classic_split()
    write(directory / "train.tsv", first(parts["train"], words))
    write(directory / "dev.tsv", first(parts["dev"], DEV_WORDS))
    command = [sys.executable, "-m", "kerass2s", "train", recipe, "--out", str(directory / "run")]
    files = ["--train", str(directory / "train.tsv"), "--dev", str(directory / "dev.tsv")]
    subprocess.run([*command, *files, *(part for each in sets for part in ("--set", each))], check=True)
    entries = history(directory / "run")
    best = best_epoch(entries)
    return {
        "recipe": recipe,
        "words": words,
        "sets": sets,
        "word_error_rate": round(1 - accuracy(best), 4),
        "epoch": best["epoch"] + 1,
        "epochs": len(entries),
        "minutes": round(60 * hours(entries), 1),
    }


def main() -> int:
    """Trains what is not in the results yet, and prints all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the runs go")
    parser.add_argument("--recipe", default="g2p_en", help="a bundled recipe with `auto` in it")
    parser.add_argument("--words", type=int, action="append", help="how many, instead of all; repeatable")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="as of `train`")
    asked = parser.parse_args()
    for words in asked.words or WORDS:
        known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
        if any((each["recipe"], each["words"], each["sets"]) == (asked.recipe, words, asked.sets) for each in known):
            continue
        found = run(asked.out, asked.recipe, words, asked.sets)
        print(json.dumps(found), flush=True)
        RESULTS.write_text(json.dumps([*known, found], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
