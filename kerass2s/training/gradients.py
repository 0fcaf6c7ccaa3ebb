"""Where the loss of each output position reaches: norms of its gradient by source position and by decoder step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerass2s.data import Pair
from kerass2s.data.pipeline import shift
from kerass2s.errors import ConfigError, DataError
from kerass2s.text import END_ID, PAD_ID, START_ID
from kerass2s.training.feeding import Feeding

__all__ = ["GradientNorms", "gradient_norms"]


class GradientNorms(NamedTuple):
    """How strongly the loss at output position t (row) acts on every place it can reach, for one pair.

    A norm of 0 says that there is no path from there to that loss. Padding is cut off.

    Attributes:
        source_tokens: names of the S source positions, the end included.
        target_tokens: names of the T labels, the end included.
        fed_tokens: names of what the decoder was fed at its T steps; of a mixture, its likeliest token.
        source: [T, S], |∂ loss_t / ∂ e(x_s)|, e(x_s) what the encoder reads: the embedding of its s-th token.
        fed: [T, T], |∂ loss_t / ∂ e(fed_t')|, the embedding of what the decoder was fed at step t'.
        said: [T, T], |∂ loss_t / ∂ o_t'|, the prediction (logits) at step t'.
    """

    source_tokens: Sequence[str]
    target_tokens: Sequence[str]
    fed_tokens: Sequence[str]
    source: np.ndarray
    fed: np.ndarray
    said: np.ndarray


def gradient_norms(
    model: Any, pairs: Sequence[Pair], feeding: Feeding | None = None, step: int = 0
) -> list[GradientNorms]:
    """Measure how far back the loss of each output position reaches under a feeding, for each pair.

    The forward pass is that of a training step, dropout included; nothing is trained. It takes one backward pass for
    each position of the longest target. The loss of a position is -log p of its label; a pair counts with its first
    target.

    Args:
        model: a `Seq2Seq` whose targets are tokens.
        pairs: one batch.
        feeding: what the decoder is fed; None for the model's own.
        step: the training step, which tells a feeding with a decay how often to feed the truth.

    Raises:
        ConfigError: the targets are no tokens, or the feeding's loss is not one of positions (`MinimumRisk`).
        DataError: there are no pairs.
    """
    feeding = feeding or model.feeding
    model.codec.need_tokens("gradient norms")
    model.codec.check([pair[0] for pair in pairs])
    if feeding.likelihood != 1:
        raise ConfigError(f"Only a loss of positions has a gradient by position. Received: {type(feeding).__name__}")
    if not pairs:
        raise DataError("There is nothing to measure gradients on. Received: no pairs")
    sources, targets = zip(*(pair[:2] for pair in pairs), strict=True)
    request = model.codec.request(sources)
    source, lengths = model.codec.source(request)
    labels = model.codec.labels(tf.constant(targets), request).to_tensor(PAD_ID)
    inputs, labels, weights = shift(model.codec.encoder_inputs(source, lengths), labels)
    seen = _Seen()
    with tf.GradientTape(persistent=True) as tape:
        with _watching(model, seen, tape):
            memory = model.encoder({name: inputs[name] for name in model.encoder.input}, training=True)
            start = model.decoder.begin(memory, training=True)
            logits = feeding(model.decoder, inputs[model.decoder.target_name], start, step)
        losses = weights * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))
        by_position = [tf.reduce_sum(losses[:, t]) for t in range(labels.shape[1])]
    found = [_norms(tape, loss, seen) for loss in by_position]
    norms = [np.stack(each, axis=1) for each in zip(*found, strict=True)]
    fed = seen.ids()
    return [
        _cut(
            model.codec, pairs[row][0], int(lengths[row]), labels[row].numpy(), fed[row], *(each[row] for each in norms)
        )
        for row in range(len(pairs))
    ]


# === Watching ===


class _Seen:
    """What one forward pass made, in its order; each item is of one step, [B, ...], or of all, [B, T, ...]."""

    def __init__(self) -> None:
        self.source: list[tf.Tensor] = []
        self.elements: list[tf.Tensor] = []
        self.fed: list[tf.Tensor] = []
        self.said: list[tf.Tensor] = []

    def ids(self) -> np.ndarray:
        """Return what was fed, [B, any]: ids as they are, of a mixture [B, V] the likeliest."""
        chosen = [each if each.dtype.is_integer else tf.argmax(each, axis=-1) for each in self.elements]
        return np.concatenate([each.numpy().reshape(len(each), -1) for each in chosen], axis=1)


@contextmanager
def _watching(model: Any, seen: _Seen, tape: tf.GradientTape) -> Iterator[None]:
    """Note what encoder and decoder read and what the decoder says, as tensors that the tape watches."""

    def read(made: tf.Tensor, *_: Any) -> None:
        tape.watch(made)  # vectors and one-hot tokens have no weights, so nothing else would
        seen.source.append(made)

    def fed(made: tf.Tensor, elements: tf.Tensor) -> None:
        tape.watch(made)
        seen.fed.append(made)
        seen.elements.append(elements)

    def said(made: Any, *_: Any) -> None:
        seen.said.append(tf.convert_to_tensor(getattr(made, "prediction", made)))  # a fused model's are not made yet

    with ExitStack() as hooks:
        hooks.enter_context(_hooked(model.encoder.get_layer("source_embedding"), "call", read))
        for layer in model.decoder.entrances():
            hooks.enter_context(_hooked(layer, "call", fed))
        for method in ("sequence", "step", "soft_step"):
            hooks.enter_context(_hooked(model.decoder, method, said))
        yield


@contextmanager
def _hooked(owner: Any, method: str, keep: Callable[..., None]) -> Iterator[None]:
    """Hand the result of each call of a method to `keep`, with what it was called with; Keras has no hooks for it."""
    original = getattr(owner, method)

    def call(*arguments: Any, **options: Any) -> Any:
        made = original(*arguments, **options)
        keep(made, *arguments)
        return made

    setattr(owner, method, call)
    try:
        yield
    finally:
        delattr(owner, method)


# === Norms ===


def _norms(tape: tf.GradientTape, loss: tf.Tensor, seen: _Seen) -> list[np.ndarray]:
    """Measure one position's gradient by source [B, S], by what was fed [B, any] and by what was said [B, any]."""
    places = [seen.source, seen.fed, seen.said]
    gradients = tape.gradient(loss, places, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [np.concatenate([_by_step(each) for each in steps], axis=1) for steps in gradients]


def _by_step(gradient: tf.Tensor) -> np.ndarray:
    """Take the norm at each step, `[B, T, any] -> [B, T]`, or at a single one, `[B, any] -> [B, 1]`."""
    norms = tf.norm(tf.cast(tf.convert_to_tensor(gradient), tf.float32), axis=-1).numpy()
    return norms.reshape(len(norms), -1)


def _cut(codec: Any, source: Any, read: int, labels: np.ndarray, fed: np.ndarray, *norms: np.ndarray) -> GradientNorms:
    """Name the positions of one row, and cut off its padding and what a first pass fed and said."""
    longest, said = len(labels), int((labels != PAD_ID).sum())
    by_source, by_fed, by_said = (each[:said] for each in norms)
    names = codec.source_pieces(source)
    return GradientNorms(
        source_tokens=names if len(names) == read else [str(s) for s in range(read)],
        target_tokens=_named(codec, labels[:said], source),
        fed_tokens=_named(codec, fed[-longest:][:said], source),
        source=by_source[:, :read],
        fed=by_fed[:, -longest:][:, :said],
        said=by_said[:, -longest:][:, :said],
    )


def _named(codec: Any, ids: np.ndarray, source: Any) -> list[str]:
    """Name tokens, START and END among them."""
    special = {START_ID: "(start)", END_ID: "(end)"}
    return [
        special.get(each) or codec.target_pieces([each], source)[0].removeprefix("▁") or "▁" for each in ids.tolist()
    ]
