"""What is `auto` in a recipe: each choice by hand-made pairs, and that what is said of one's own stays."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from kerass2s import recipes
from kerass2s.data import Pair
from kerass2s.errors import ConfigError
from kerass2s.recipes.settling import EPOCHS, LADDER, settle

WORDS = ["".join(letters) for letters in itertools.product("abcdefgh", repeat=4)]  # 4096 different ones
LEXICON = [Pair(word, " ".join(word.upper())) for word in WORDS[:1500]]
SENTENCES = [Pair(" ".join(WORDS[i : i + 6]), " ".join(WORDS[i + 5 : i - 1 : -1])) for i in range(1, 4090)]


def kinds(pairs: list[Pair], *sets: str) -> tuple[str, str]:
    recipe, _ = settle(recipes.load("transduce", sets), pairs)
    return recipe.source_tokenizer.kind, recipe.target_tokenizer.kind


def test_tokenizers_follow_the_texts():
    assert kinds(LEXICON) == ("char", "word")
    assert kinds([Pair(pair.target, pair.source) for pair in LEXICON]) == ("word", "char")
    assert kinds(SENTENCES) == ("unigram", "unigram")
    assert kinds([Pair("Thu 1 May 2003", "2003-05-01")] * 30) == ("word", "char")
    assert kinds([Pair(f"{i} May {1000 + i}", f"{1000 + i}-05") for i in range(900)]) == ("char", "char")


@pytest.mark.parametrize(("count", "rung"), [(800, 0), (2_000, 0), (2_001, 1), (30_000, 2), (110_000, 3)])
def test_sizes_follow_the_number_of_pairs(count: int, rung: int):
    recipe, said = settle(recipes.load("transduce"), [Pair("ab", "a b")] * count)
    expected = LADDER[rung]
    assert recipe.config["units"] == expected.size.units
    assert recipe.config["dropout"] == expected.size.dropout
    assert recipe.batching.size == expected.batch
    assert EPOCHS[0] <= recipe.epochs <= EPOCHS[1]
    if EPOCHS[0] < recipe.epochs < EPOCHS[1]:
        assert recipe.epochs * count / expected.batch == pytest.approx(expected.steps, rel=0.05)
    assert len(said) == 5 and f"units {expected.size.units}" in " ".join(said)
    assert "auto" not in str(recipes.to_dict(recipe))


def test_what_is_said_of_ones_own_stays():
    sets = ["config.units=17", "target_tokenizer.kind=bpe", "epochs=3", "batching.size=5"]
    recipe, said = settle(recipes.load("transduce", sets), LEXICON)
    assert (recipe.config["units"], recipe.epochs, recipe.batching.size) == (17, 3, 5)
    assert recipe.target_tokenizer.kind == "bpe"
    assert len(said) == 2, "of the source's tokenizer, and of the other sizes"
    fixed = recipes.load("dates")
    assert settle(fixed, LEXICON) == (fixed, [])


def test_only_some_values_can_be_left_to_the_data():
    with pytest.raises(ConfigError, match="`learning_rate` must be a number"):
        recipes.load("transduce", ["learning_rate=auto"])


def test_the_page_shows_the_ladder():
    page = (Path(__file__).parents[1] / "docs" / "presets.md").read_text("utf-8")
    for rung in LADDER:
        limit = "more" if rung.pairs == float("inf") else f"to {rung.pairs:,}"
        size = rung.size
        row = [limit, size.units, size.embedding_size, size.encoder_layers, size.dropout, rung.batch, f"{rung.steps:,}"]
        assert f"| {' | '.join(map(str, row))} |" in page
