"""The split: by hash of the source alone, near the shares asked for, all of one source together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerass2s.data import Pair, split_of, split_pairs
from kerass2s.errors import ConfigError

WORDS = [f"word{index}" for index in range(4000)]


def test_known_words_stay_where_they_are_on_every_machine() -> None:
    parts = [split_of(f"w{index}", dev=0.3, test=0.3) for index in range(8)]
    assert parts == ["dev", "dev", "test", "dev", "dev", "train", "train", "train"]


def test_shares_are_near_what_was_asked() -> None:
    parts = [split_of(word, dev=0.1, test=0.2) for word in WORDS]
    assert abs(parts.count("dev") / len(parts) - 0.1) < 0.02
    assert abs(parts.count("test") / len(parts) - 0.2) < 0.02


def test_a_larger_dev_part_moves_no_test_source() -> None:
    for word in WORDS[:500]:
        assert (split_of(word, dev=0.05) == "test") == (split_of(word, dev=0.4) == "test")


def test_salt_gives_another_split() -> None:
    assert [split_of(word) for word in WORDS] != [split_of(word, salt="2") for word in WORDS]


@given(st.text(), st.text())
def test_any_source_has_one_part(source: str, salt: str) -> None:
    assert split_of(source, salt=salt) == split_of(source, salt=salt)
    assert split_of(source, dev=0, test=0, salt=salt) == "train"
    assert split_of(source, dev=1, test=0, salt=salt) == "dev"
    assert split_of(source, dev=0, test=1, salt=salt) == "test"


def test_pairs_of_one_source_fall_together_in_order() -> None:
    pairs = [Pair(word, target) for word in WORDS[:300] for target in ("a", "b")]
    parts = split_pairs(pairs, dev=0.2, test=0.2)
    assert list(parts) == ["train", "dev", "test"]
    for part, kept in parts.items():
        assert kept == [pair for pair in pairs if split_of(pair.source, dev=0.2, test=0.2) == part]
    assert split_pairs([]) == {"train": [], "dev": [], "test": []}


@pytest.mark.parametrize("shares", [{"dev": -0.1}, {"test": 1.1}, {"dev": 0.6, "test": 0.6}, {"dev": float("nan")}])
def test_bad_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Received: dev="):
        split_of("a", **shares)
