"""Numbers written out: both directions, one meaning each, all of a number in one part."""

from __future__ import annotations

import pytest

from kerass2s import numerals
from kerass2s.errors import ConfigError


def test_both_directions_of_a_number_are_in_one_part():
    parts = numerals.load_split(300)
    numbers = {
        name: {int(pair.source.split()[1]) for pair in part if pair.source[:2] in numerals.LANGUAGES and _asks(pair)}
        for name, part in parts.items()
    }
    back = {name: {int(pair.target) for pair in part if not _asks(pair)} for name, part in parts.items()}
    assert numbers == back
    assert sum(map(len, numbers.values())) == len(set.union(*numbers.values())) == 300
    assert all(numbers.values())
    pairs = {pair[:2] for part in parts.values() for pair in part}
    assert {("de 21", "einundzwanzig"), ("einundzwanzig", "21"), ("fr 80", "quatre-vingts")} <= pairs


def _asks(pair: tuple[str, ...]) -> bool:
    """Tells whether a pair writes a number out."""
    return pair[0].split()[-1].isdigit()


def test_a_text_means_one_number():
    texts: dict[str, int] = {}
    for number, by_language in numerals.written(1200).items():
        for text in by_language.values():
            assert texts.setdefault(text, number) == number


def test_long_numbers_are_in_and_the_seed_decides_which():
    one, same, other = (set(numerals.written(1100, seed)) for seed in (0, 0, 1))
    assert one == same != other
    assert set(range(1000)) <= one
    assert max(one) >= 100_000


@pytest.mark.parametrize("count", [0, numerals.LIMIT + 1])
def test_a_count_out_of_range_is_refused(count: int):
    with pytest.raises(ConfigError, match=r"count must be from 1 to 1000000\. Received: "):
        numerals.written(count)
