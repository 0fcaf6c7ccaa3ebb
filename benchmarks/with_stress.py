"""Compares `g2p_en_stress` with `g2p_en` on words that neither was trained on.

    python benchmarks/with_stress.py

These words are in the test part of `cmudict`'s split by hash and among the classic split's test words too, in small
letters. What counts is the dictionary of today without stress marks, any of a word's pronunciations. The two models
were trained on 113,000 and 104,000 words of editions of the dictionary that are some years apart. The exports are
asked, by the search that they hold.
"""

from __future__ import annotations

import re
from pathlib import Path

from kerass2s import cmudict
from kerass2s.data import Pair
from kerass2s.evaluation import evaluate_texts
from kerass2s.export import load_predictor
from kerass2s.significance import compare_models

EXPORTED = Path(__file__).parent.parent / "exported"


def plain(phones: str) -> str:
    """Returns phones without their stress: `F OW1 N IY0 M` gives `F OW N IY M`."""
    return re.sub(r"\d", "", phones)


def without_stress(pair: Pair) -> Pair:
    """Returns the pair with phones alone, each pronunciation once."""
    first, *others = dict.fromkeys(map(plain, pair.targets))
    return Pair(pair.source, first, tuple(others))


def main() -> None:
    """Prints the figures of both."""
    classic = {pair.source.lower() for pair in cmudict.load_classic_split()["test"]}
    pairs = [pair for pair in cmudict.load_split()["test"] if pair.source in classic]
    bare = [without_stress(pair) for pair in pairs]
    stressed, unstressed = (
        load_predictor(EXPORTED / name / "model.onnx").generate([pair.source for pair in pairs], batch_size=256)
        for name in ("g2p_en_stress", "g2p_en")
    )
    wrong = evaluate_texts(stressed, pairs)["word_error_rate"]
    print(f"{len(pairs):,} words; g2p_en_stress with its stress: {100 * wrong:.1f} % wrong")
    outputs = {"g2p_en": unstressed, "g2p_en_stress, its stress taken away": list(map(plain, stressed))}
    for name, each in outputs.items():
        print(f"{name}: {100 * evaluate_texts(each, bare)['word_error_rate']:.1f} % wrong")
    found = compare_models(*outputs.values(), bare)["word_error_rate"]
    interval = f"{100 * found.low:.1f} to {100 * found.high:.1f}"
    print(f"difference {100 * found.value:.1f} points ({interval}), p = {found.p_value:.4f}")


if __name__ == "__main__":
    main()
