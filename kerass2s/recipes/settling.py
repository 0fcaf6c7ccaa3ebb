"""What a recipe leaves to the data, settled: tokenizers, sizes, batches and epochs, by looking at the pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from kerass2s.recipes import AUTO, BatchingRecipe, Recipe, TokenizerRecipe

if TYPE_CHECKING:
    from kerass2s.data import Pair

LOOKED_AT = 100_000
SYMBOLS, TIMES = 1000, 20
SENTENCE, WORDS = 4.0, 2000
SUBWORDS = ((20_000, 2000), (100_000, 4000))
MANY_SUBWORDS = 8000


@dataclass(frozen=True)
class Size:
    """The keys of `config` that depend on how many pairs there are: few pairs want small, well regularised models."""

    units: int
    embedding_size: int
    encoder_layers: int
    dropout: float


@dataclass(frozen=True)
class Rung:
    """What fits up to so many pairs: sizes, examples a batch, and batches in all."""

    pairs: float
    size: Size
    batch: int
    steps: int


LADDER = (
    Rung(2_000, Size(128, 64, 1, 0.4), 16, 5_000),
    Rung(10_000, Size(128, 64, 1, 0.3), 32, 8_000),
    Rung(50_000, Size(192, 96, 1, 0.3), 64, 15_000),
    Rung(float("inf"), Size(256, 128, 2, 0.3), 256, 13_400),
)
EPOCHS = (4, 100)
"""Fewest and most."""


def settle(recipe: Recipe, pairs: Sequence[Pair], taught: int = 0) -> tuple[Recipe, list[str]]:
    """Returns the recipe with every `auto` replaced, and a sentence for each choice; the same pairs give the same.

    Args:
        recipe: with or without `auto`.
        pairs: the training pairs, one target each; at least one.
        taught: how many more a teacher will add.
    """
    said: list[str] = []
    source = _tokenizer("source", recipe.source_tokenizer, [pair.source for pair in pairs[:LOOKED_AT]], said)
    target = _tokenizer("target", recipe.target_tokenizer, [pair.target for pair in pairs[:LOOKED_AT]], said)
    count = len(pairs) + taught
    rung = next(each for each in LADDER if count <= each.pairs)
    chosen = {key: value for key, value in asdict(rung.size).items() if recipe.config.get(key) == AUTO}
    if chosen:
        said.append(f"{', '.join(f'{key} {value}' for key, value in chosen.items())}: for {count:,} pairs")
    batching = recipe.batching
    if batching.size == AUTO:
        batching = BatchingRecipe(batching.by, rung.batch)
        said.append(f"batches of {rung.batch} {batching.by}: for {count:,} pairs")
    epochs = recipe.epochs
    if epochs == AUTO:
        epochs = min(max(round(rung.steps * rung.batch / count), EPOCHS[0]), EPOCHS[1])
        said.append(f"{epochs} epochs: about {rung.steps:,} batches of {rung.batch}")
    settled = replace(
        recipe,
        source_tokenizer=source,
        target_tokenizer=target,
        config={**recipe.config, **chosen},
        batching=batching,
        epochs=epochs,
    )
    return settled, said


def _tokenizer(side: str, recipe: TokenizerRecipe, texts: Sequence[str], said: list[str]) -> TokenizerRecipe:
    if recipe.kind != AUTO:
        return recipe
    counts = Counter(word for text in texts for word in text.split())
    words = sum(counts.values()) / len(texts)
    if len(counts) <= SYMBOLS and sum(counts.values()) >= TIMES * len(counts) and words > 1:
        said.append(f"{side} tokenizer word: {len(counts)} symbols, which come {TIMES} times and more on average")
        return replace(recipe, kind="word")
    if words < SENTENCE or len(counts) <= WORDS:
        said.append(f"{side} tokenizer char: {words:.1f} words a text, {len(counts):,} different ones")
        return replace(recipe, kind="char")
    size = recipe.vocabulary_size or next((size for limit, size in SUBWORDS if len(texts) < limit), MANY_SUBWORDS)
    said.append(f"{side} tokenizer unigram of {size}: sentences of {words:.1f} words, {len(counts):,} different ones")
    return replace(recipe, kind="unigram", vocabulary_size=size)
