"""Toy tasks that the models must learn, or something is broken: copy and reverse."""

from __future__ import annotations

import random

import keras
import pytest

from kerass2s import BeamSearch, BucketByExamples, SentencePieceTokenizer, split_pairs, zoo
from kerass2s.data import Pair

LETTERS = "abcdefgh"


def pairs(task: str) -> list[Pair]:
    """Distinct random words of 2 to 7 letters with their copy or their reverse."""
    draw = random.Random(1)
    words = dict.fromkeys("".join(draw.choices(LETTERS, k=draw.randint(2, 7))) for _ in range(6000))
    return [Pair(word, word if task == "copy" else word[::-1]) for word in words]


@pytest.mark.parametrize(("task", "name"), [("copy", "bahdanau2015"), ("reverse", "luong2015")])
def test_the_task_is_learned(task: str, name: str) -> None:
    split = split_pairs(pairs(task))
    tokenizer = SentencePieceTokenizer.train([LETTERS], "char")
    model = zoo.build(
        name, source_tokenizer=tokenizer, target_tokenizer=tokenizer, units=64, embedding_size=32, dropout=0.0
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 1200)
    model.compile(optimizer=keras.optimizers.Adam(schedule, clipnorm=1.0))
    model.fit(split["train"], epochs=14, batching=BucketByExamples(64), verbose=0)
    sources, targets = zip(*(pair[:2] for pair in split["test"]), strict=True)
    for search in (None, BeamSearch(width=3)):
        right = sum(map(str.__eq__, model.generate(sources, search), targets))
        assert right / len(targets) > 0.99
