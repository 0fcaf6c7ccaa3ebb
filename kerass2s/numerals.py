"""Whole numbers written out in many languages, and in digits: pairs for either direction, made by `num2words`.

What is to be written out says in which language: `Pair("de 21", "einundzwanzig")`; the way back needs no such word:
`Pair("einundzwanzig", "21")`. A text that means two numbers is left out; Turkish is not among the languages, since
num2words 0.5 writes 140,325 and 141,325 alike.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

from kerass2s.data import Pair
from kerass2s.data.split import split_of
from kerass2s.errors import ConfigError, DataError

__all__ = ["LANGUAGES", "LIMIT", "load_split", "written"]

LANGUAGES = ("cs", "de", "en", "es", "fi", "fr", "it", "nl", "pl", "pt", "sv")
LIMIT = 1_000_000
COUNT = 10_000


def written(count: int = COUNT, seed: int = 0) -> dict[int, dict[str, str]]:
    """Returns `count` numbers below `LIMIT`, in order, each with its text in every language that has one of its own.

    As many numbers have one digit more as there are, up to all of those with few: 0 to 999 are in, and most with six
    digits are not. The same seed gives the same numbers.

    Raises:
        ConfigError: `count` is not from 1 to `LIMIT`.
        DataError: the package `num2words` is not installed.
    """
    if not 1 <= count <= LIMIT:
        raise ConfigError(f"count must be from 1 to {LIMIT}. Received: {count!r}")
    draws = random.Random(f"numerals {seed}")
    numbers = set(range(min(count, 1000)))
    while len(numbers) < count:
        numbers.add(draws.randrange(10 ** draws.randint(3, 6)))
    texts = {number: {language: _written(number, language) for language in LANGUAGES} for number in sorted(numbers)}
    meanings: dict[str, set[int]] = defaultdict(set)
    for number, by_language in texts.items():
        for text in by_language.values():
            meanings[text].add(number)
    return {
        number: {language: text for language, text in by_language.items() if len(meanings[text]) == 1}
        for number, by_language in texts.items()
    }


def load_split(count: int = COUNT) -> dict[str, list[Pair]]:
    """Returns `train`, `dev` and `test` in both directions, split by number: all that is said of one is in one part.

    The SHA-256 of the digits decides (90, 5 and 5 percent).
    """
    parts: dict[str, list[Pair]] = {"train": [], "dev": [], "test": []}
    for number, by_language in written(count).items():
        digits = str(number)
        part = parts[split_of(digits)]
        part += [Pair(f"{language} {digits}", text) for language, text in by_language.items()]
        part += [Pair(text, digits) for text in dict.fromkeys(by_language.values())]
    return parts


def _written(number: int, language: str) -> str:
    return " ".join(_num2words()(number, lang=language).split())


def _num2words() -> Any:
    try:
        from num2words import num2words
    except ImportError as error:
        raise DataError("Written numbers need `pip install num2words`. Received: no package `num2words`") from error
    return num2words
