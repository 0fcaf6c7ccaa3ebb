"""What every test shares: a quiet CPU, a few threads, a seed, and tiny tokenizers over a tiny lexicon."""

from __future__ import annotations

import os

# Before tensorflow is imported, here and in the processes that tests start.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["KERAS_BACKEND"] = "tensorflow"
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import keras
import pytest

from kerass2s.text import SentencePieceTokenizer

# The same examples in every run, and no time limit on one: a first call traces a graph.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

LEXICON = [
    ("cat", "K AE T"),
    ("act", "AE K T"),
    ("tack", "T AE K"),
    ("sat", "S AE T"),
    ("sack", "S AE K"),
    ("stack", "S T AE K"),
    ("kit", "K IH T"),
    ("skit", "S K IH T"),
    ("it", "IH T"),
    ("sit", "S IH T"),
    ("tick", "T IH K"),
    ("stick", "S T IH K"),
]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same seed, so that its order and its worker do not matter."""
    keras.utils.set_random_seed(2014)


@pytest.fixture(scope="session")
def lexicon() -> list[tuple[str, str]]:
    """Twelve words and their phones: (letters, phones separated by spaces)."""
    return list(LEXICON)


@pytest.fixture(scope="session")
def source_tokenizer() -> SentencePieceTokenizer:
    """A character tokenizer over the lexicon's letters."""
    return SentencePieceTokenizer.train([source for source, _ in LEXICON], kind="char")


@pytest.fixture(scope="session")
def target_tokenizer() -> SentencePieceTokenizer:
    """A word tokenizer over the lexicon's phones."""
    return SentencePieceTokenizer.train([target for _, target in LEXICON], kind="word")
