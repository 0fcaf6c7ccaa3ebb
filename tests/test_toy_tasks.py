"""Toy tasks that the models must learn, or something is broken: each member of the zoo by name, and copying."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import keras
import pytest

from kerass2s import BeamSearch, BucketByExamples, SentencePieceTokenizer, split_pairs, zoo
from kerass2s.data import Pair

LETTERS = "abcd"
WORDS = ["".join(word) for length in range(1, 6) for word in itertools.product(LETTERS, repeat=length)]

# Members whose toy task is of another kind, with the test that has it.
ELSEWHERE = {
    "pointer_generator2017": "tests/models/test_pointer.py",  # copies tokens that it never saw
    "listen_attend2016": "tests/zoo/test_real_valued_entries.py",  # frames to symbols
    "series2series": "tests/zoo/test_real_valued_entries.py",  # a mixture of sines
}
SMALL = {"units": 64, "embedding_size": 32, "dropout": 0.0}
# What differs from `SMALL`, 8 epochs and a peak of the learning rate of 0.01.
SETTINGS: dict[str, dict] = {
    "cho2014": {"epochs": 12},
    "convs2s2017": {"rate": 0.003},
    "gnmt2016": {"epochs": 12},
    "keras_lstm_seq2seq": {"settings": {"units": 64}, "epochs": 12},
    "pytorch_tutorial2017": {"settings": {"units": 64, "dropout": 0.0}},
    "sutskever2014": {"epochs": 12},
    "transformer2017": {"settings": {"units": 64, "dropout": 0.0}, "rate": 0.003, "epochs": 12},
}


def reverse(word: str) -> str:
    """Turn a word round."""
    return word[::-1]


def double(word: str) -> str:
    """Write some letters twice: a task for models that read from left to right and never go back."""
    return "".join(letter * (1 + (letter in "ac")) for letter in word)


def learn(name: str, task: Callable[[str], str], settings: dict, rate: float, epochs: int) -> float:
    """Train on four fifths of all words of up to five letters; return the share of right answers on the rest."""
    parts = split_pairs([Pair(word, task(word)) for word in WORDS], dev=0.0, test=0.2)
    tokenizer = SentencePieceTokenizer.train([LETTERS], "char")
    model = zoo.build(name, source_tokenizer=tokenizer, target_tokenizer=tokenizer, **settings)
    steps = epochs * -(-len(parts["train"]) // 32)
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps - 50, warmup_target=rate, warmup_steps=50)
    model.compile(optimizer=keras.optimizers.Adam(schedule, clipnorm=1.0))
    model.fit(parts["train"], epochs=epochs, batching=BucketByExamples(32), verbose=0)
    sources, targets = zip(*(pair[:2] for pair in parts["test"]), strict=True)
    found = [model.generate(sources, search) for search in (None, BeamSearch(width=3))]
    return min(sum(map(str.__eq__, texts, targets)) / len(targets) for texts in found)


@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in ELSEWHERE])
def test_the_toy_task_is_learned(name: str) -> None:
    task = double if name == "hard_monotonic2019" else reverse
    options = {"settings": SMALL, "rate": 0.01, "epochs": 8, **SETTINGS.get(name, {})}
    assert learn(name, task, **options) > 0.95


def test_copying_is_learned() -> None:
    assert learn("bahdanau2015", lambda word: word, SMALL, 0.01, 6) > 0.99
