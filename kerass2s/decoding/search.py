"""What every search shares: the step callable it drives, the loop that drives it, and the result it returns.

Letters: B batch, K hypotheses (beams), N = B * K rows, S source, T target, L the most tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import tensorflow as tf

from kerass2s.decoding.checks import LONGEST
from kerass2s.decoding.filters import IMPOSSIBLE, Filter, Progress
from kerass2s.decoding.noise import fingerprint
from kerass2s.errors import ConfigError
from kerass2s.text import END_ID, PAD_ID, START_ID

Tensors = Mapping[str, Any]
"""A dict of tensors, batch first; a value may be such a dict itself, and the dict may be empty."""


class StepOutput(NamedTuple):
    """One decoding step: what it predicts, the next state (each [N, ...]) and, with attention, alignment [N, S].

    A decoder of tokens predicts logits [N, V]; one of vectors predicts values [N, D].
    """

    prediction: tf.Tensor
    state: Tensors
    alignment: tf.Tensor | None = None


Tracks = tuple[dict[str, tf.Tensor], ...]
"""What the filters of a search remember, a dict of tensors [N, ...] for each."""

Step = Callable[[tf.Tensor, Tensors, Tensors], StepOutput]
"""`step(ids int32 [N], state, memory) -> StepOutput`; `memory` never changes during a search."""


class Source(NamedTuple):
    """What a search knows of the sources, beside what the step makes of them.

    Attributes:
        lengths: int32 [B], in the elements that the encoder reads.
        memory_lengths: int32 [B], in the positions that attention looks at.
        fingerprint: int64 [B], a number of each one's content, for draws that do not change with the batch.
        alignment_width: int32 [], how many positions an alignment is over, padding too; None where a step gives none.
    """

    lengths: tf.Tensor
    memory_lengths: tf.Tensor
    fingerprint: tf.Tensor
    alignment_width: tf.Tensor | None

    @classmethod
    def of(cls, source: tf.Tensor, lengths: tf.Tensor, window: int = 1, aligned: bool = False) -> Self:
        """Returns what is to be known of a padded source `[B, S, ...]`, `window` elements to a memory position.

        `aligned` tells that the steps give alignments.
        """
        width = windows(tf.shape(source)[1], window) if aligned else None
        return cls(lengths, windows(lengths, window), fingerprint(source, lengths), width)

    def repeated(self, times: int) -> Self:
        """Returns each row `times` times, one beside the other."""
        return type(self)(*(tf.repeat(each, times) for each in self[:3]), self.alignment_width)


def windows(count: tf.Tensor, size: int) -> tf.Tensor:
    """Returns how many windows of a size so many elements fill, the last one perhaps not quite."""
    return count if size == 1 else (count + size - 1) // size


class SearchResult(NamedTuple):
    """The hypotheses of a batch, best first.

    Attributes:
        ids: int32 [B, K, T], without START and END, PAD after the end; T is the longest of the batch, at least 1.
        lengths: int32 [B, K], END not counted.
        scores: float32 [B, K]; -inf where fewer than K hypotheses exist at all, and all else there is empty.
        token_scores: float32 [B, K, T + 1], what each token added to the sum of log-probabilities, END's after the
            last; zero where there is none, as after a hypothesis that was cut.
        alignments: float32 [B, K, T, S], zero after the end, or None when the step returns no alignment.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    token_scores: tf.Tensor
    alignments: tf.Tensor | None

    def named(self) -> dict[str, tf.Tensor]:
        """Returns the tensors there are by their names in an export."""
        names = ("target_ids", "target_lengths", "scores", "token_scores", "alignments")
        return {name: part for name, part in zip(names, self, strict=True) if part is not None}


@dataclass
class Hypothesis:
    """One decoded text.

    Attributes:
        text: what was said.
        score: what the search ranks it by.
        ids: its token ids, without START and END.
        alignment: where each token's attention was, [T, S], if there is attention.
        token_scores: what each token added to the sum of log-probabilities (nats), and END if the text has its end.
    """

    text: str
    score: float
    ids: list[int]
    alignment: np.ndarray | None = None
    token_scores: list[float] | None = None


class Search(Protocol):
    """A way to find likely target sequences; knows a step callable, never a model."""

    @property
    def max_length(self) -> int:
        """The most tokens a hypothesis may have."""
        ...

    @property
    def width(self) -> int:
        """The most hypotheses of a source."""
        ...

    @property
    def copy_unknown(self) -> bool:
        """Whether an unknown token becomes the source token that attention points to."""
        ...

    def settings(self) -> dict[str, np.ndarray]:
        """Returns what the graph can take in place of the search's own fields, by name, each with the field's value."""
        ...

    def __call__(
        self, step: Step, state: Tensors, memory: Tensors, first: tf.Tensor, source: Source, **settings: tf.Tensor
    ) -> SearchResult:
        """Searches from `state` with `memory` (each tensor [B, ...]); `first` int32 [B] is fed before any output."""
        ...


class Carry(Protocol):
    """What a search carries from step to step: a NamedTuple of tensors, these among them."""

    ids: tf.Tensor
    state: Tensors
    alignments: tuple[tf.Tensor, ...]

    @property
    def running(self) -> tf.Tensor:
        """Bool, any shape: what is not decided yet."""
        ...


def check_filters(filters: object) -> None:
    """Raises ConfigError unless `filters` is a tuple of filters."""
    if not isinstance(filters, tuple) or not all(isinstance(each, Filter) for each in filters):
        raise ConfigError(f"filters must be a tuple of filters, such as (MinLength(2),). Received: {filters!r}")


def filtered(search: Any, *rules: Filter) -> Any:
    """Returns a search of tokens with further filters.

    Raises:
        ConfigError: it has none.
    """
    if not hasattr(search, "filters"):
        raise ConfigError(f"Filters are for searches of tokens. Received: {search}")
    return replace(search, filters=(*search.filters, *rules))


def longest(own: int, given: tf.Tensor | None) -> tf.Tensor:
    """Returns the most tokens, int32 []: what the graph was given, kept in range, or the search's own."""
    return tf.constant(own) if given is None else tf.clip_by_value(tf.cast(given, tf.int32), 1, LONGEST)


def log_probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Returns the model's float32 log-probabilities [N, V] of logits [N, V], with PAD and START made impossible."""
    log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float32), axis=-1)
    ids = tf.range(tf.shape(log_probs)[1])
    # A sum, for ONNX Runtime takes six times as long to choose between rows and a number.
    return log_probs + tf.where((ids == PAD_ID) | (ids == START_ID), IMPOSSIBLE, 0.0)


class Rules:
    """The filters of a search at work: what each remembers is a dict of tensors [N, ...], carried as one tuple."""

    def __init__(self, filters: Sequence[Filter], limit: tf.Tensor, source_lengths: tf.Tensor) -> None:
        self._filters = filters
        self._limit = limit
        self._source_lengths = source_lengths

    def start(self, rows: tf.Tensor) -> Tracks:
        """Returns what the filters remember before the first token."""
        return tuple(each.start(rows) for each in self._filters)

    def allow(
        self, t: tf.Tensor, tokens: tf.Tensor, tracks: Tracks, output: StepOutput
    ) -> tuple[tf.Tensor, Callable[[Tracks, tf.Tensor, tf.Tensor], Tracks]]:
        """Returns the log-probabilities [N, V] that the filters leave, and how they follow what is chosen.

        `follow(tracks, tokens [N], rows [N])` takes what is remembered, in the order of the rows chosen, and says which
        those are.
        """
        alignment = None if output.alignment is None else tf.cast(output.alignment, tf.float32)
        progress = Progress(t, tokens, self._limit, self._source_lengths, alignment)
        log_probs = log_probabilities(output.prediction)
        for each, own in zip(self._filters, tracks, strict=True):
            log_probs = each(log_probs, progress, own)

        def follow(tracks: Tracks, tokens: tf.Tensor, rows: tf.Tensor) -> Tracks:
            seen = progress if alignment is None else progress._replace(alignment=tf.gather(alignment, rows))
            return tuple(each.follow(own, tokens, seen) for each, own in zip(self._filters, tracks, strict=True))

        return log_probs, follow


def write(buffer: tf.Tensor, t: tf.Tensor, values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Returns buffer [N, L, ...] with values [N, ...] at position t of its second axis; `places` [L] counts from 0.

    The search counts them once, since a loop that did so itself would do it at each step.
    """
    here = tf.reshape(places, [1, -1] + [1] * (len(buffer.shape) - 2)) == t
    return tf.where(here, tf.expand_dims(values, 1), buffer)


def unaligned(rows: tf.Tensor, places: tf.Tensor, source: Source) -> tuple[tf.Tensor, ...]:
    """Returns what alignments are written into, () or one buffer of zeros [N, L, S], for N rows and L places."""
    if source.alignment_width is None:
        return ()
    return (tf.zeros([rows, tf.shape(places)[0], source.alignment_width]),)


def record(
    alignments: tuple[tf.Tensor, ...], t: tf.Tensor, output: StepOutput, places: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Writes the step's alignment [N, S] at t of the buffer [N, L, S]; () without one."""
    return tuple(write(buffer, t, tf.cast(output.alignment, tf.float32), places) for buffer in alignments)


def search_loop(
    step: Step,
    memory: Tensors,
    carry: Carry,
    advance: Callable[[tf.Tensor, Any, StepOutput], Any],
) -> Any:
    """Takes a step and lets `advance(t, carry, output)` act on it, until nothing is running."""

    def take(t: tf.Tensor, carry: Any) -> tuple[tf.Tensor, Any]:
        return t + 1, advance(t, carry, step(carry.ids, carry.state, memory))

    shapes = tf.nest.map_structure(any_batch, carry)._replace(state=tf.nest.map_structure(may_grow, carry.state))
    _, carry = tf.while_loop(
        lambda t, carry: tf.reduce_any(carry.running),
        take,
        (tf.constant(0), carry),
        shape_invariants=(tf.TensorShape([]), shapes),
    )
    return carry


def any_batch(tensor: tf.Tensor) -> tf.TensorShape:
    """Returns the shape of a tensor [N, ...] in a loop, where N may be any number."""
    return tf.TensorShape([None] * min(1, len(tensor.shape))).concatenate(tensor.shape[1:])


def may_grow(tensor: tf.Tensor) -> tf.TensorShape:
    """Returns the shape of a state [N, ..., D] in a loop: a cache grows along any axis but the last."""
    free = max(1, len(tensor.shape) - 1)
    return tf.TensorShape([None] * free).concatenate(tensor.shape[free:])


def finish(
    ids: tf.Tensor,
    paths: tf.Tensor | None,
    scores: tf.Tensor,
    token_scores: tf.Tensor,
    alignments: tuple[tf.Tensor, ...],
) -> SearchResult:
    """Cuts ids to the longest, and gathers the alignments along each hypothesis' path.

    Args:
        ids: int32 [B, K, L], END kept, PAD after the end.
        paths: int32 [B, K, L], the beam that each token was chosen from; None where each is a path of its own.
        scores: float32 [B, K], IMPOSSIBLE where there is no hypothesis.
        token_scores: float32 [B, K, L], zero after the end.
        alignments: () or one buffer float32 [B * K, L, S], each position in the beam order of its step.
    """
    exists = scores > IMPOSSIBLE / 2
    # A row that the filters left nothing to go on with has tokens, but is no hypothesis.
    ids = tf.where((ids == END_ID) | ~exists[:, :, None], PAD_ID, ids)
    token_scores = tf.where(exists[:, :, None], token_scores, 0.0)
    # Axes of reductions are counted from the front: ONNX Runtime 1.31 keeps a negative one when B is 0.
    lengths = tf.reduce_sum(tf.cast(ids != PAD_ID, tf.int32), axis=2)
    longest = tf.reduce_max(tf.concat([[1], tf.reshape(lengths, [-1])], axis=0))
    cut = _first(ids, longest)
    scores = tf.where(exists, scores, -np.inf)
    token_scores = _first(tf.pad(token_scores, [[0, 0], [0, 0], [0, 1]]), longest + 1)
    if not alignments:
        return SearchResult(cut, lengths, scores, token_scores, None)
    width = tf.shape(alignments[0])[2:]
    if paths is None:
        gathered = _first(tf.reshape(alignments[0], tf.concat([tf.shape(ids), width], axis=0)), longest)
    else:
        batch, beams, length = tf.unstack(tf.shape(ids))
        rows = tf.reshape(tf.range(batch), [-1, 1, 1]) * beams + _first(paths, longest)
        rows = rows * length + tf.range(longest)
        gathered = tf.gather(tf.reshape(alignments[0], tf.concat([[-1], width], axis=0)), rows)
    aligned = gathered * tf.cast(cut != PAD_ID, tf.float32)[..., None]
    return SearchResult(cut, lengths, scores, token_scores, aligned)


def _first(values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns the first so many of values [B, K, L, ...] along L: in ONNX a gather is two nodes, a slice is eight."""
    return tf.gather(values, tf.range(count), axis=2)


def best_first(result: SearchResult, width: int) -> SearchResult:
    """Returns the hypotheses of `[G, K / G]` groups as K of one item, by score; equal scores keep their order."""

    def joined(part: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(part)
        return tf.reshape(part, tf.concat([[shape[0] * shape[1] // width, width], shape[2:]], axis=0))

    joint = SearchResult(*(part if part is None else joined(part) for part in result))
    # A row more: a TopK of no rows, as of an empty batch, ends the process in ONNX Runtime before 1.31.
    places = tf.math.top_k(tf.pad(joint.scores, [[0, 1], [0, 0]]), width).indices[:-1]
    rows = places + tf.range(tf.shape(places)[0])[:, None] * width

    def ordered(part: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(part)
        return tf.gather(tf.reshape(part, tf.concat([[shape[0] * shape[1]], shape[2:]], axis=0)), rows)

    return SearchResult(*(part if part is None else ordered(part) for part in joint))
