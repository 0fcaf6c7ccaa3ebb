"""What stands at the two ends of a model: how sources and targets become tensors, and how answers come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import keras
import numpy as np
import tensorflow as tf

from kerass2s.codec.copying import CopyCodec
from kerass2s.codec.text import TextCodec
from kerass2s.codec.vectors import SeriesCodec, VectorTextCodec
from kerass2s.data import Batching
from kerass2s.data.curriculum import Pace
from kerass2s.decoding import Hypothesis
from kerass2s.text import SentencePieceTokenizer

__all__ = ["Codec", "CopyCodec", "SeriesCodec", "TextCodec", "VectorTextCodec"]


class Codec(Protocol):
    """The two ends of a model.

    A *request* is what a user hands over, a dict of tensors: `{"text": string [B]}`, say. A *source* is what the
    encoder reads, padded, with its lengths: `source_ids int32 [B, S]` or `source_values float32 [B, S, N]`. An *answer*
    is one row of what a search found, by the names that it has in an export.

    The last section is for targets of tokens alone: who calls it asks `need_tokens` first.
    """

    source_name: ClassVar[str]
    """The name of the source as an input of an export: "source_ids" or "source_values"."""
    request_spec: Any
    """The tensors of a request, by name."""
    source_spec: Any
    """The source and `source_lengths`, by name."""
    window: int
    """How many elements of the source one position of the encoder's memory joins: 1, or more where it is shorter."""

    @property
    def source_size(self) -> int:
        """How wide an element of the source is: V of tokens, N of vectors."""
        ...

    @property
    def target_size(self) -> int:
        """How wide an element of the target is: V of tokens, N of vectors."""
        ...

    def tokenizers(self) -> dict[str, SentencePieceTokenizer]:
        """The tokenizers there are, under "source" and "target"."""
        ...

    # === Training ===

    def batches(self, data: Any, batching: Batching | None, seed: int | None, pace: Pace | None = None) -> Any:
        """Turn a user's pairs into batches for `fit`, shuffled if there is a seed; leave anything else to Keras.

        `pace` says which pairs are drawn from at which step, if not all are at every step.
        """
        ...

    def loss(self) -> keras.losses.Loss:
        """Make the loss of `compile` where none is given."""
        ...

    def metrics(self) -> list[keras.metrics.Metric]:
        """Make the metrics of `compile` where none are given."""
        ...

    # === Requests, outside the graph ===

    def check(self, sources: Any, first: int = 0) -> None:
        """Refuse what is no list of sources, with a UserError; `first` is the number of its first one."""
        ...

    def request(self, sources: Sequence[Any]) -> dict[str, tf.Tensor]:
        """Make a request of some sources."""
        ...

    def rows(self, sources: Sequence[Any]) -> list[np.ndarray]:
        """Make the encoder's row of each source without a graph: ids [S] or vectors [S, N]."""
        ...

    def search(self) -> Any:
        """Make the search where none is given."""
        ...

    def settings(self, search: Any) -> dict[str, np.ndarray]:
        """Return what an export with `search` takes as further inputs, each with the value it has in `search`.

        Raises:
            ConfigError: `search` is not for targets such as these.
        """
        ...

    def best(self, answer: dict[str, np.ndarray], source: Any) -> Any:
        """Return the best there is in the answer to `source`: a text, or an array [T, D]."""
        ...

    def example(self, generator: np.random.Generator, length: int) -> Any:
        """Make a random source of about `length` elements, to try an export with."""
        ...

    def strange(self) -> list[Any]:
        """Make sources that an export must survive, the empty one first."""
        ...

    def source_pieces(self, source: Any) -> list[str]:
        """Name the positions of a source's memory, for people."""
        ...

    # === Graph ===

    def source(self, request: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Turn a request into the padded source [B, S, ...] and its lengths int32 [B]."""
        ...

    def encoder_inputs(self, source: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Make the encoder's inputs; what stands beyond a row's length is ignored, whatever it is."""
        ...

    def first(self, source: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Return what the decoder is fed before its first output, [B, ...]."""
        ...

    def answers(self, found: dict[str, tf.Tensor], request: dict[str, tf.Tensor], search: Any) -> dict[str, tf.Tensor]:
        """Add to what `search` found for a request whatever the graph can tell of it: the texts."""
        ...

    # === Only where targets are tokens ===

    def need_tokens(self, what: str) -> None:
        """Refuse, with a ConfigError, `what` was asked for where targets are no tokens."""
        ...

    def labels(self, targets: tf.Tensor, request: dict[str, tf.Tensor]) -> tf.RaggedTensor:
        """Tokenise the targets of a request, `string [B] -> int32 [B, None]`, each row with its END."""
        ...

    def decode(self, ids: Sequence[int], source: Any) -> str:
        """Turn the ids of an answer to `source` into text, without a graph."""
        ...

    def hypotheses(self, answer: dict[str, np.ndarray], source: Any) -> list[Hypothesis]:
        """Unpack the answer to `source`, best first."""
        ...

    def target_pieces(self, ids: Sequence[int], source: Any) -> list[str]:
        """Name the tokens of an answer to `source`, for people."""
        ...
