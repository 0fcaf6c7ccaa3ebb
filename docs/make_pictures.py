"""Draws pictures of README and docs/errors.md anew: `python docs/make_pictures.py`; it takes a minute.

They are of the model that the tests have, `tests/trained/g2p_quickstart`, made by `make quickstart` on 2026-11-21, and
of words that it never saw: attention over six test words, and the errors and one beam tree of dev words.
"""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path

from kerass2s import BeamSearch, Pair, cmudict, load_preset
from kerass2s.analysis import outcomes
from kerass2s.plots import attention_map, beam_tree, save_attention, save_beam_tree, save_errors

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
WORDS = ("daylights", "volcano", "penguin", "phoenix", "earthworm", "queue")
ERRORS = 600
TREE, BEAMS = "pharaohs", 4


def by_hash(pairs: list[Pair], count: int) -> list[Pair]:
    """Returns some pairs, the same in every run and from all over the alphabet."""
    return sorted(pairs, key=lambda pair: hashlib.sha256(pair.source.encode("utf-8")).digest())[:count]


def main() -> None:
    """Draws them all."""
    model = load_preset(ROOT / "tests" / "trained" / "g2p_quickstart")
    split = cmudict.load_split()

    assert set(WORDS) <= {pair.source for pair in split["test"]}
    maps = [attention_map(word, found[0], model.codec) for word, found in zip(WORDS, model.n_best(WORDS), strict=True)]
    save_attention(IMAGES / "quickstart_attention.png", maps)

    pairs = by_hash(split["dev"], ERRORS)
    best = [found[0] for found in model.n_best([pair.source for pair in pairs])]
    made = outcomes([one.text for one in best], pairs, [one.score for one in best])
    save_errors(IMAGES / "errors.png", {"g2p_quickstart": made}, model.source_tokenizer)

    save_beam_tree(IMAGES / "beams.png", beam_tree(model, TREE, BeamSearch(BEAMS)), TREE)

    few_colours = runpy.run_path(str(ROOT / "docs" / "make_notebooks.py"))["few_colours"]
    for name in ("quickstart_attention", "errors", "beams"):
        picture = IMAGES / f"{name}.png"
        picture.write_bytes(few_colours(picture.read_bytes()))


if __name__ == "__main__":
    main()
