"""Search for likely target sequences: pure graph code over a step callable, which knows no model."""

from kerass2s.decoding.beam import BeamSearch
from kerass2s.decoding.filters import (
    Banned,
    Filter,
    Forced,
    Lexicon,
    MaxRatio,
    MinLength,
    MinRatio,
    Monotonic,
    NoRepeatNgram,
    NoUnknown,
    Prefix,
    RepetitionPenalty,
)
from kerass2s.decoding.greedy import GreedySearch
from kerass2s.decoding.risk import MinimumBayesRisk
from kerass2s.decoding.rollout import Rollout, Trajectory
from kerass2s.decoding.sampling import SamplingSearch
from kerass2s.decoding.search import Hypothesis, Search, SearchResult, Source, Step, StepOutput
from kerass2s.decoding.spec import SEARCHES, parse_search, search_spec

__all__ = [
    "SEARCHES",
    "Banned",
    "BeamSearch",
    "Filter",
    "Forced",
    "GreedySearch",
    "Hypothesis",
    "Lexicon",
    "MaxRatio",
    "MinLength",
    "MinRatio",
    "MinimumBayesRisk",
    "Monotonic",
    "NoRepeatNgram",
    "NoUnknown",
    "Prefix",
    "RepetitionPenalty",
    "Rollout",
    "SamplingSearch",
    "Search",
    "SearchResult",
    "Source",
    "Step",
    "StepOutput",
    "Trajectory",
    "parse_search",
    "search_spec",
]
