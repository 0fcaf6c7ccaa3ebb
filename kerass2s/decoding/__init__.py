"""Search for likely target sequences: pure graph code over a step callable, which knows no model."""

from kerass2s.decoding.beam import BeamSearch
from kerass2s.decoding.greedy import GreedySearch
from kerass2s.decoding.rollout import Rollout, Trajectory
from kerass2s.decoding.search import Hypothesis, Search, SearchResult, Step, StepOutput
from kerass2s.decoding.spec import SEARCHES, parse_search, search_spec

__all__ = [
    "SEARCHES",
    "BeamSearch",
    "GreedySearch",
    "Hypothesis",
    "Rollout",
    "Search",
    "SearchResult",
    "Step",
    "StepOutput",
    "Trajectory",
    "parse_search",
    "search_spec",
]
