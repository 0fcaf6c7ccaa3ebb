"""Where pairs come from, how they are split, and the tf.data pipeline that feeds them to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kerass2s.data.columns import pairs_of
from kerass2s.data.readers import Pair, count_lines, read_pairs, read_parallel, read_sources, stream_sources
from kerass2s.data.split import split_of, split_pairs

if TYPE_CHECKING:
    from kerass2s.data.curriculum import ShortFirst
    from kerass2s.data.pipeline import Batching, BucketByExamples, BucketByTokens, batches, to_dataset

_PIPELINE = ("Batching", "BucketByExamples", "BucketByTokens", "batches", "to_dataset")

__all__ = [
    "Batching",
    "BucketByExamples",
    "BucketByTokens",
    "Pair",
    "ShortFirst",
    "batches",
    "count_lines",
    "pairs_of",
    "read_pairs",
    "read_parallel",
    "read_sources",
    "split_of",
    "split_pairs",
    "stream_sources",
    "to_dataset",
]


def __getattr__(name: str) -> Any:
    """Loads TensorFlow only when the pipeline is asked for: reading a file needs none of it."""
    if name in _PIPELINE:
        from kerass2s.data import pipeline

        return getattr(pipeline, name)
    if name == "ShortFirst":
        from kerass2s.data.curriculum import ShortFirst

        return ShortFirst
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
