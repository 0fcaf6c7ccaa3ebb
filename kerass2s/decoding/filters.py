"""Filters: what the next token may be, as graph code over log-probabilities; each is one small rule.

A rule makes tokens impossible or changes what they cost. The score of a hypothesis is the sum of what the filters left,
which is the model's own log-probability where no rule changed it: nothing is normalised again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf

from kerass2s.decoding.checks import LONGEST, check_number, check_whole
from kerass2s.decoding.lexicon import ROOT, double_array
from kerass2s.errors import ConfigError
from kerass2s.text import END_ID, PAD_ID, START_ID, UNKNOWN_ID

IMPOSSIBLE = -1e9
"""Log-probability of what must never be chosen; finite, so that no infinity enters the arithmetic."""

STRONGEST = 1e4


class Progress(NamedTuple):
    """What a filter sees before a token is chosen.

    Attributes:
        t: int32 [], how many tokens there are.
        tokens: int32 [N, L], PAD from t on.
        limit: int32 [], L, the most tokens there can be.
        source_lengths: int32 [N], in the elements that the encoder reads: the END of a text counts.
        alignment: float32 [N, S] of this step, or None without attention.
    """

    t: tf.Tensor
    tokens: tf.Tensor
    limit: tf.Tensor
    source_lengths: tf.Tensor
    alignment: tf.Tensor | None


class Filter:
    """Base of the filters. One that remembers something has `start` and `follow`; searches reorder it with the beams.

    Two filters of the same arguments are equal and have the same hash: each is a frozen dataclass.
    """

    def start(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what the filter remembers before the first token, each [N, ...]; nothing unless it says so."""
        return {}

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        raise TypeError(f"A Filter must say what it does to the log-probabilities. Received: {type(self).__name__}")

    def follow(self, own: dict[str, tf.Tensor], tokens: tf.Tensor, progress: Progress) -> dict[str, tf.Tensor]:
        """Returns what is remembered once tokens [N] were chosen in rows with `own` and the alignment of `progress`."""
        return {}


# === Arithmetic ===


def _keep(log_probs: tf.Tensor, allowed: tf.Tensor) -> tf.Tensor:
    """Makes impossible what is not allowed, bool [N, V] or what broadcasts to it."""
    return tf.where(allowed, log_probs, IMPOSSIBLE)


def _is_any(log_probs: tf.Tensor, ids: Iterable[int]) -> tf.Tensor:
    """Bool [V]: which tokens are among ids."""
    columns = tf.range(tf.shape(log_probs)[1])
    return tf.reduce_any(columns[:, None] == np.array(list(ids), np.int32), axis=1)


def _put(log_probs: tf.Tensor, tokens: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns log_probs [N, V] with values [N, C] at tokens [N, C]; the same token twice in a row has one value."""
    rows = tf.broadcast_to(tf.range(tf.shape(tokens)[0])[:, None], tf.shape(tokens))
    places = tf.reshape(tf.stack([rows, tokens], axis=2), [-1, 2])
    return tf.tensor_scatter_nd_update(log_probs, places, tf.reshape(values, [-1]))


def _without_end(log_probs: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Makes END impossible in some rows, bool [] or [N, 1]."""
    return _keep(log_probs, ~(rows & _is_any(log_probs, [END_ID])))


# === Checks ===


def _check_ids(name: str, ids: object, refused: tuple[int, ...]) -> None:
    whole = isinstance(ids, tuple) and all(isinstance(each, int) and not isinstance(each, bool) for each in ids)
    if not whole or not ids or min(ids) < 0 or set(ids) & set(refused):
        but = f", none of them {', '.join(map(str, refused))}" if refused else ""
        raise ConfigError(f"{name} must be a tuple of token ids{but}. Received: {ids!r}")


SPECIAL = (PAD_ID, START_ID, END_ID)


# === Length ===


@dataclass(frozen=True)
class MinLength(Filter):
    """At least so many tokens: END is impossible before.

    Raises:
        ConfigError: it is no whole number from 1.
    """

    tokens: int

    def __post_init__(self) -> None:
        """Checks the field."""
        check_whole("min_length", self.tokens, LONGEST)

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        return _without_end(log_probs, progress.t < self.tokens)


@dataclass(frozen=True)
class MinRatio(Filter):
    """At least `ratio` times as many tokens as the source has: END is impossible before.

    Raises:
        ConfigError: it is no number from 0 to 10000.
    """

    ratio: float

    def __post_init__(self) -> None:
        """Checks the field."""
        check_number("min_ratio", self.ratio, 0, STRONGEST)

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        least = self.ratio * tf.cast(progress.source_lengths, tf.float32)
        return _without_end(log_probs, (tf.cast(progress.t, tf.float32) < least)[:, None])


@dataclass(frozen=True)
class MaxRatio(Filter):
    """At most `ratio` times as many tokens as the source has, and at least one: then END alone is possible.

    Raises:
        ConfigError: it is no number from 0 to 10000.
    """

    ratio: float

    def __post_init__(self) -> None:
        """Checks the field."""
        check_number("max_ratio", self.ratio, 0, STRONGEST)

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        most = tf.maximum(self.ratio * tf.cast(progress.source_lengths, tf.float32), 1.0)
        more = tf.cast(progress.t + 1, tf.float32) <= most
        return _keep(log_probs, more[:, None] | _is_any(log_probs, [END_ID]))


# === Single tokens ===


@dataclass(frozen=True)
class Banned(Filter):
    """Tokens that never come.

    Raises:
        ConfigError: no tuple of ids.
    """

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        """Checks the field."""
        _check_ids("banned", self.ids, ())

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        return _keep(log_probs, ~_is_any(log_probs, self.ids))


@dataclass(frozen=True)
class NoUnknown(Filter):
    """The unknown token never comes."""

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        return _keep(log_probs, ~_is_any(log_probs, [UNKNOWN_ID]))


@dataclass(frozen=True)
class Forced(Filter):
    """Tokens that come, in any order and anywhere: END waits for them, and the last places are kept for them.

    Raises:
        ConfigError: no tuple of ids, or PAD, START or END among them.
    """

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        """Checks the field."""
        _check_ids("forced", self.ids, SPECIAL)

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        ids = np.array(sorted(set(self.ids)), np.int32)
        missing = ~tf.reduce_any(progress.tokens[:, :, None] == ids, axis=1)  # [N, F]
        columns = tf.range(tf.shape(log_probs)[1])
        wanted = tf.reduce_any(missing[:, None, :] & (columns[:, None] == ids), axis=2)
        count = tf.reduce_sum(tf.cast(missing, tf.int32), axis=1)[:, None]
        log_probs = _without_end(log_probs, count > 0)
        return _keep(log_probs, wanted | (count < progress.limit - progress.t) | (count == 0))


@dataclass(frozen=True)
class Prefix(Filter):
    """The tokens that every output begins with, as a tag of its language; what the model says comes after them.

    Raises:
        ConfigError: no tuple of ids, or PAD, START or END among them.
    """

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        """Checks the field."""
        _check_ids("prefix", self.ids, SPECIAL)

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        ids = np.array([*self.ids, PAD_ID], np.int32)
        wanted = tf.gather(ids, tf.minimum(progress.t, len(self.ids)))
        return _keep(log_probs, (progress.t >= len(self.ids)) | (tf.range(tf.shape(log_probs)[1]) == wanted))


# === Repetition ===


@dataclass(frozen=True)
class NoRepeatNgram(Filter):
    """No n tokens come twice in the same order (Paulus, Xiong and Socher 2018, section 2.5, with n = 3).

    Raises:
        ConfigError: n is no whole number from 1.
    """

    n: int

    def __post_init__(self) -> None:
        """Checks the field."""
        check_whole("no_repeat_ngram", self.n, LONGEST)

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        before = self.n - 1
        # With n more columns of PAD the windows fit, however few tokens there can be.
        tokens = tf.pad(progress.tokens, [[0, 0], [0, self.n]])
        windows = tf.shape(tokens)[1] - before
        last = tokens[:, before : before + windows]  # of each window its n-th token
        same = last != PAD_ID
        for place in range(before):
            now = tf.gather(tokens, tf.maximum(progress.t - before + place, 0), axis=1)
            same &= tokens[:, place : place + windows] == now[:, None]
        banned = tf.where(same, last, PAD_ID)
        return _put(log_probs, banned, tf.fill(tf.shape(banned), IMPOSSIBLE))


@dataclass(frozen=True)
class RepetitionPenalty(Filter):
    """What was said costs more: its log-probability is multiplied by `factor` (after Keskar et al. 2019, section 4.1).

    Theirs divides the logit, which is a penalty only where that is positive; a log-probability never is.

    Raises:
        ConfigError: the factor is no number from 1 to 100.
    """

    factor: float

    def __post_init__(self) -> None:
        """Checks the field."""
        check_number("repetition_penalty", self.factor, 1, 100)

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        values = tf.gather(log_probs, progress.tokens, batch_dims=1)
        return _put(log_probs, progress.tokens, values * self.factor)


# === Whole outputs ===


@dataclass(frozen=True)
class Lexicon(Filter):
    """The output is one of given sequences: names of products, valid words, or whatever else is listed.

    Each row walks a trie of the sequences; where it stands, only the tokens that go on in the trie are possible, END
    where a sequence ends. What leads to none of at most `max_length` tokens is impossible, so that none is cut.
    `Lexicon.of(tokenizer, texts)` makes one of texts.

    Args:
        sequences: the token ids of each output, without START and END; an empty one allows the empty output.

    Raises:
        ConfigError: there are no sequences, or PAD, START or END is in one.
    """

    sequences: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Checks the field."""
        if not isinstance(self.sequences, tuple) or not self.sequences:
            raise ConfigError(f"A lexicon holds at least one sequence of token ids. Received: {self.sequences!r}")
        for each in self.sequences:
            if each != ():
                _check_ids("A sequence of a lexicon", each, SPECIAL)

    @classmethod
    def of(cls, tokenizer: Any, texts: Iterable[str]) -> Self:
        """Returns the lexicon of texts, as the target's tokenizer cuts them.

        Raises:
            ConfigError: there are no texts, or the tokenizer has no token for a part of one.
        """
        sequences = {text: tuple(tokenizer.encode(text)) for text in texts}
        for text, ids in sequences.items():
            if UNKNOWN_ID in ids:
                raise ConfigError(f"The target vocabulary cannot spell a text of the lexicon. Received: {text!r}")
        return cls(tuple(sorted(set(sequences.values()))))

    @cached_property
    def digest(self) -> str:
        """The first 16 digits of the SHA-256 of the sequences, by which a spec names the lexicon."""
        return hashlib.sha256(json.dumps(self.sequences).encode()).hexdigest()[:16]

    @cached_property
    def _trie(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return double_array(self.sequences)

    def __hash__(self) -> int:
        """Hashes by the digest, which is made once."""
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Lexicon({len(self.sequences)} sequences, {self.digest})"

    def start(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the place in the trie, the root, int32 [N]."""
        return {"place": tf.fill([rows], ROOT)}

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        below, exists = self._children(own["place"], tf.range(tf.shape(log_probs)[1]))
        in_time = tf.gather(self._trie[2], below) < progress.limit - progress.t
        return _keep(log_probs, exists & in_time)

    def follow(self, own: dict[str, tf.Tensor], tokens: tf.Tensor, progress: Progress) -> dict[str, tf.Tensor]:
        """Returns the place of the child; rows that left the trie, as finished ones do, stay where they are."""
        place = own["place"]
        below, exists = self._children(place, tokens[:, None])
        return {"place": tf.where(exists[:, 0], below[:, 0], place)}

    def _children(self, place: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The places of the children of place [N] by tokens [N, C] or [C], and whether they are there."""
        base, check, _ = self._trie
        below = tf.minimum(tf.gather(base, place)[:, None] + tokens, len(check) - 1)
        return below, tf.gather(check, below) == place[:, None]


@dataclass(frozen=True)
class Monotonic(Filter):
    """Attention moves forward: a step that looks elsewhere than from `back` before to `ahead` after the last one costs.

    For tasks whose output follows the source: pronunciation, inflection, speech. The place of a step is the source
    position that its attention looks at most; the first step's is free from 0 to `ahead`. Every position beyond the
    window costs `strength` nats, whatever token is said: beams that jump lose against those that do not, and where all
    jump there still is an output.

    Raises:
        ConfigError: an argument out of range.
    """

    ahead: int = 3
    back: int = 0
    strength: float = 10.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_whole("ahead of monotonic", self.ahead, LONGEST)
        check_whole("back of monotonic", self.back, LONGEST, least=0)
        check_number("strength of monotonic", self.strength, 0, 100)

    def start(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the last place, 0, int32 [N]."""
        return {"place": tf.zeros([rows], tf.int32)}

    def __call__(self, log_probs: tf.Tensor, progress: Progress, own: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_probs [N, V] after the rule."""
        moved = self._place(progress) - own["place"]
        beyond = tf.maximum(moved - self.ahead, 0) + tf.maximum(-moved - self.back, 0)
        return log_probs - self.strength * tf.cast(beyond, tf.float32)[:, None]

    def follow(self, own: dict[str, tf.Tensor], tokens: tf.Tensor, progress: Progress) -> dict[str, tf.Tensor]:
        """Returns the place of this step."""
        return {"place": self._place(progress)}

    def _place(self, progress: Progress) -> tf.Tensor:
        if progress.alignment is None:
            raise ConfigError("The filter monotonic needs a model with attention. Received: no alignment")
        return tf.argmax(progress.alignment, axis=1, output_type=tf.int32)
