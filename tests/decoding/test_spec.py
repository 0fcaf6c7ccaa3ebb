"""Searches by name: every spec comes back, and a wrong one is refused in one clear line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerass2s.decoding import BeamSearch, GreedySearch, Search, parse_search, search_spec
from kerass2s.errors import ConfigError

LENGTHS = st.integers(1, 65536)
SEARCHES = st.builds(GreedySearch, LENGTHS) | st.builds(BeamSearch, st.integers(1, 1024), st.floats(0, 10), LENGTHS)


@given(SEARCHES)
def test_a_spec_comes_back(search: Search):
    assert parse_search(search_spec(search)) == search


@given(st.text() | st.sampled_from(["greedy:", "beam:"]).flatmap(lambda name: st.text().map(name.__add__)))
def test_any_text_is_a_search_or_one_line_of_error(text: str):
    try:
        assert parse_search(search_spec(parse_search(text))) == parse_search(text)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("spec", "search"),
    [
        ("greedy", GreedySearch()),
        ("greedy:max_length=40", GreedySearch(40)),
        ("beam:5", BeamSearch(5)),
        ("beam:8,max_length=40", BeamSearch(8, 0.0, 40)),
        ("beam:5,length_penalty=0.6,max_length=40", BeamSearch(5, 0.6, 40)),
    ],
)
def test_specs_as_the_command_line_writes_them(spec: str, search: Search):
    assert parse_search(spec) == search
    assert search_spec(search) == spec


@pytest.mark.parametrize("spec", ["beam", " beam ", "beam:width=5", "beam:length_penalty=0,width=5", "beam: 5 "])
def test_other_ways_to_write_the_default_beam(spec: str):
    assert search_spec(parse_search(spec)) == "beam:5"


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("", "known: greedy, beam"),
        ("beem:5", "did you mean 'beam'?"),
        ("sampel:temperature=0.8,top_k=40", "did you mean 'sample'?"),
        ("Greedy", "did you mean 'greedy'?"),
        ("beam:0", "width must be a whole number from 1"),
        ("beam:-1", "width must be a whole number from 1"),
        ("beam:1025", "to 1024"),
        ("beam:x", "width of search 'beam' must be a whole number"),
        ("beam:2.5", "width of search 'beam' must be a whole number"),
        ("beam:", "width of search 'beam' must be a whole number"),
        ("beam:5,", "takes key=value"),
        ("beam:5,6", "takes key=value"),
        ("greedy:", "takes key=value"),
        ("greedy:5", "keys: max_length"),
        ("greedy:width=5", "Unknown key 'width'"),
        ("beam:5,lenght_penalty=1", "did you mean 'length_penalty'?"),
        ("beam:5,width=5", "width twice"),
        ("beam:5,length_penalty=nan", "length_penalty must be from 0 to 10"),
        ("beam:5,length_penalty=inf", "length_penalty must be from 0 to 10"),
        ("beam:5,length_penalty=-0.1", "length_penalty must be from 0 to 10"),
        ("beam:5,length_penalty=much", "length_penalty of search 'beam' must be a number"),
        ("beam:5,max_length=0", "max_length must be a whole number from 1"),
        ("greedy:max_length=" + "9" * 5000, "max_length"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(spec: str, what: str):
    with pytest.raises(ConfigError) as caught:
        parse_search(spec)
    message = str(caught.value)
    assert what in message
    assert "Received: " in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: GreedySearch(max_length=0),
        lambda: GreedySearch(max_length=True),
        lambda: BeamSearch(width=2.0),
        lambda: BeamSearch(width="5"),
        lambda: BeamSearch(length_penalty="0.6"),
        lambda: BeamSearch(length_penalty=None),
        lambda: BeamSearch(max_length=-3),
    ],
)
def test_fields_are_checked_on_creation(make):
    with pytest.raises(ConfigError, match=r"Received: "):
        make()


def test_something_else_has_no_spec():
    with pytest.raises(ConfigError, match="greedy, beam"):
        search_spec("beam:5")
