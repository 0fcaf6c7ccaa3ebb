"""Searches by name: every spec comes back, and a wrong one is refused in one clear line."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerass2s.decoding import (
    Banned,
    BeamSearch,
    Forced,
    GreedySearch,
    Lexicon,
    MaxRatio,
    MinimumBayesRisk,
    MinLength,
    MinRatio,
    Monotonic,
    NoRepeatNgram,
    NoUnknown,
    Prefix,
    RepetitionPenalty,
    Rollout,
    SamplingSearch,
    Search,
    parse_search,
    search_spec,
)
from kerass2s.decoding.spec import FILTERS as NAMED
from kerass2s.decoding.spec import SEARCHES as KNOWN
from kerass2s.errors import ConfigError

LENGTHS = st.integers(1, 65536)
WORDS = st.lists(st.integers(4, 99999) | st.just(1), min_size=1, max_size=5).map(tuple)
LEXICON = Lexicon(((4, 5), ()))
FILTERS = {
    MinLength: st.builds(MinLength, LENGTHS),
    MinRatio: st.builds(MinRatio, st.floats(0, 1e4) | st.integers(0, 9)),
    MaxRatio: st.builds(MaxRatio, st.floats(0, 1e4)),
    Banned: st.builds(Banned, st.lists(st.integers(0, 99999), min_size=1).map(tuple)),
    NoUnknown: st.builds(NoUnknown),
    Forced: st.builds(Forced, WORDS),
    Prefix: st.builds(Prefix, WORDS),
    NoRepeatNgram: st.builds(NoRepeatNgram, LENGTHS),
    RepetitionPenalty: st.builds(RepetitionPenalty, st.floats(1, 100)),
    Lexicon: st.just(LEXICON),
    Monotonic: st.builds(Monotonic, LENGTHS, st.integers(0, 65536), st.floats(0, 100)),
}
SOME = st.lists(st.one_of(*FILTERS.values()), unique_by=type).map(tuple)
PENALTIES = st.floats(0, 10) | st.integers(0, 10)
RANKED = {
    "length_penalty": PENALTIES,
    "max_length": LENGTHS,
    "normalization": st.sampled_from(["gnmt", "plain"]),
    "coverage_penalty": PENALTIES,
    "word_reward": st.floats(-10, 10),
    "filters": SOME,
}


def grouped(groups: int, width: int, fields: dict) -> BeamSearch:
    """A beam search of so many groups of that width."""
    return BeamSearch(groups * width, groups=groups, **fields)


SEARCHES = {
    GreedySearch: st.builds(GreedySearch, LENGTHS, filters=SOME),
    BeamSearch: st.builds(
        grouped,
        st.integers(1, 32),
        st.integers(1, 32),
        st.fixed_dictionaries({}, optional={**RANKED, "diversity": st.floats(0, 1000)}),
    ),
    SamplingSearch: st.builds(
        SamplingSearch,
        st.integers(1, 1024),
        temperature=st.floats(0.01, 100) | st.integers(1, 100),
        top_k=st.integers(0, 65536),
        top_p=st.floats(0, 1),
        seed=st.integers(0, 2**31 - 2),
        **RANKED,
    ),
    Rollout: st.builds(Rollout, LENGTHS),
    MinimumBayesRisk: st.builds(
        MinimumBayesRisk,
        st.integers(2, 1024),
        metric=st.sampled_from(["chrf", "token_error_rate"]),
        temperature=st.floats(0.01, 100),
        seed=st.integers(0, 2**31 - 2),
        max_length=LENGTHS,
        copy_unknown=st.booleans(),
        filters=SOME,
    ),
}


def test_every_search_and_filter_is_drawn():
    assert set(SEARCHES) == set(KNOWN.values())
    assert set(FILTERS) == set(NAMED.values())


@given(st.one_of(*SEARCHES.values()))
def test_a_spec_comes_back(search: Search):
    spec = search_spec(search)
    again = parse_search(spec, LEXICON)
    assert again == search
    assert search_spec(again) == spec


def test_two_filters_of_one_name_have_no_spec():
    with pytest.raises(ConfigError, match="once. Received: "):
        search_spec(GreedySearch(filters=(Banned((4,)), Banned((5,)))))


@pytest.mark.parametrize("lexicon", [None, Lexicon(((4,),))])
def test_a_spec_only_names_its_lexicon(lexicon: Lexicon | None):
    spec = search_spec(GreedySearch(filters=(LEXICON,)))
    with pytest.raises(ConfigError, match="beside its spec"):
        parse_search(spec, lexicon)


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
        ("beam:6,groups=3,diversity=1.0,no_unknown", BeamSearch(6, groups=3, diversity=1, filters=(NoUnknown(),))),
        (
            "sample:1,temperature=0.8,top_k=40,top_p=0.9,seed=7",
            SamplingSearch(temperature=0.8, top_k=40, top_p=0.9, seed=7),
        ),
        ("greedy:min_length=2,banned=7+12", GreedySearch(filters=(MinLength(2), Banned((7, 12))))),
        ("greedy:monotonic=3+1+2.5", GreedySearch(filters=(Monotonic(3, 1, 2.5),))),
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
        ("beam:5,groups=2", "multiple of groups"),
        ("beam:5,banned=7,banned=8", "banned twice"),
        ("beam:5,banned=", "banned of search 'beam' must be a whole number"),
        ("beam:5,banned=7+x", "banned of search 'beam' must be a whole number"),
        ("beam:5,forced=3", "none of them 0, 2, 3"),
        ("beam:5,min_length=2+3", "at most 1 numbers"),
        ("beam:5,monotonic=3+1+2+9", "at most 3 numbers"),
        ("beam:5,monotonic", "takes key=value"),
        ("beam:5,no_unknown=1", "takes key=value"),
        ("beam:5,no_repeat_ngrams=3", "did you mean 'no_repeat_ngram'?"),
        ("beam:5,normalization=mean", "normalization must be one of"),
        ("beam:5,filters=banned", "Unknown key 'filters'"),
        ("rollout:3,min_length=2", "Unknown key 'min_length'"),
        ("sample:1,temperature=0", "temperature must be from 0.01 to 100"),
        ("sample:1,top_p=2", "top_p must be from 0 to 1"),
        ("sample:1,seed=-1", "seed must be a whole number from 0"),
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


def test_searches_made_of_nothing_have_these_fields() -> None:
    kept = {"max_length": 256, "copy_unknown": False, "filters": ()}
    drawn = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0}
    ranked = {"normalization": "gnmt", "coverage_penalty": 0.0, "word_reward": 0.0, "length_penalty": 0.0, **kept}
    assert asdict(GreedySearch()) == kept
    assert asdict(BeamSearch()) == {"width": 5, "groups": 1, "diversity": 0.5, **ranked}
    assert asdict(SamplingSearch()) == {"samples": 1, **drawn, **ranked}
    assert asdict(MinimumBayesRisk()) == {"samples": 16, "metric": "chrf", **drawn, **kept}
    assert asdict(Rollout()) == {"horizon": 24}
    assert asdict(Monotonic()) == {"ahead": 3, "back": 0, "strength": 10.0}
