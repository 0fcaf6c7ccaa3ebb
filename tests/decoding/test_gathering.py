"""No beam holds another's state: whatever a beam carries changes the answer if it does not follow its beam."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from plain_search import Case, beam, check
from prefix_table import PrefixTable

from kerass2s.decoding import BeamSearch, Lexicon, Monotonic
from kerass2s.decoding import beam as beam_module
from kerass2s.decoding import search as search_module

LONGEST, BATCH = 4, 6
LEXICON = Lexicon(tuple(word for word in product((1, 4, 5), repeat=3) if word[0] + word[1] != word[2]))
SEARCH = BeamSearch(4, 0.6, LONGEST, coverage_penalty=1.0, filters=(LEXICON, Monotonic(ahead=1, back=0, strength=2.0)))
# Gathered like all that filters remember, but made anew at every step, from an alignment that is gathered too.
UNUSED = "what the monotonic filter remembers"
CARRIED = (
    "state: the nested cache",
    "state: the number of the prefix",
    "what the lexicon remembers",
    UNUSED,
    "coverage",
    "tokens and the beams they came from",
    "what each token added",
    "the score before",
    "the alignment that the filters follow",
)
"""What is gathered by the rows that a step chooses, in that order."""


class Forgetful:
    """TensorFlow, but that one of the gathers by the rows chosen is forgotten."""

    def __init__(self, forgotten: int | None) -> None:
        self.forgotten = forgotten
        self.rows: Any = None
        self.count = self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(tf, name)

    def gather(self, tensor: tf.Tensor, rows: tf.Tensor, **others: Any) -> tf.Tensor:
        """Gathers, unless it is the one to forget."""
        if rows is not self.rows:
            return tf.gather(tensor, rows, **others)
        self.count += 1
        self.most = max(self.most, self.count)
        return tensor if self.count - 1 == self.forgotten else tf.gather(tensor, rows, **others)


def check_search(monkeypatch: pytest.MonkeyPatch, forgotten: int | None) -> None:
    """Compares the search, eagerly, with one in plain Python; says how much it gathers by the rows chosen."""
    forgetful, choose = Forgetful(forgotten), beam_module._Search._choose

    def remember(*args: Any) -> Any:
        choice = choose(*args)
        forgetful.rows, forgetful.count = choice.rows, 0
        return choice

    monkeypatch.setattr(beam_module._Search, "_choose", remember)
    monkeypatch.setattr(beam_module, "tf", forgetful)
    monkeypatch.setattr(search_module, "tf", forgetful)
    table = PrefixTable(3, LONGEST, BATCH, 1.0, (4, 5, 6, 4, 5, 6))
    result = SEARCH(table.step, *table.begin())
    if forgetful.most != len(CARRIED):
        pytest.fail(f"a step gathers {forgetful.most} tensors by the rows chosen, not {CARRIED}")
    for item in range(BATCH):
        case = Case(table, item, LONGEST, SEARCH.filters)
        expected = beam(case, SEARCH)
        check(result, item, expected)
        for place, tokens in enumerate(result.ids.numpy()[item, : len(expected)]):
            length = int(result.lengths[item, place])
            looks = [case.alignment(tuple(tokens[:t].tolist())) for t in range(length)]
            np.testing.assert_allclose(
                result.alignments[item, place, :length], np.reshape(looks, [length, -1]), atol=1e-6
            )


def test_all_that_a_beam_carries_is_its_own(monkeypatch: pytest.MonkeyPatch):
    check_search(monkeypatch, None)


@pytest.mark.parametrize("part", [part for part in CARRIED if part != UNUSED])
def test_what_is_not_gathered_changes_the_answer(monkeypatch: pytest.MonkeyPatch, part: str):
    with pytest.raises(AssertionError):
        check_search(monkeypatch, CARRIED.index(part))
