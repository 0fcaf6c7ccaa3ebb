"""The parts of a decoder that generates or points: its cell, with coverage, and its readout over two vocabularies."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.attention import AdditiveAttention
from kerass2s.decoders.attentional import FeedingCell
from kerass2s.decoders.base import DenseReadout, Readout
from kerass2s.decoding.search import IMPOSSIBLE
from kerass2s.dropout import Dropping
from kerass2s.encoders.pointer import first_alike
from kerass2s.recurrence import RecurrentStack
from kerass2s.text import PAD_ID

__all__ = ["Coverage", "Mixture", "PointerCell", "PointerReadout"]

LEAST = 1e-30
"""The least mass of a copy that is possible; attention far away can be 0 in float32, and its logarithm must exist."""


class PointerCell(FeedingCell):
    """One step of the pointer-generator's recurrence (See, Liu and Manning 2017).

        x_t = W [y_{t-1}; h*_{t-1}] + b,  s_t = [h_t; c_t] = lstm(x_t, s_{t-1}),  h*_t = attention(s_t)

    With coverage c_t, the sum of all alignments so far (equation 10), the energy is that of equation 11,
    `v . tanh(W_h h_i + W_s s_t + w_c c_i + b)`: w_c c_i is added to the keys.

    `attend` gives [s_t; x_t] [B, 2U + E] as hidden, since p_gen looks at all of it.

    Args:
        stack: one LSTM.
        attention: additive; its query is s_t.
        memory_size: M of the encoder's memory.
        input_size: E, the width of x_t.
        coverage: whether the attention sees what it has attended to.
    """

    def __init__(
        self,
        stack: RecurrentStack,
        attention: AdditiveAttention,
        memory_size: int,
        *,
        input_size: int,
        coverage: bool,
        name: str = "pointer_cell",
    ) -> None:
        super().__init__(stack, attention, memory_size, name=name)
        self.merge = keras.layers.Dense(input_size, name="merge")
        self.hidden_size = sum(stack.sizes.values()) + input_size
        self.key_shift = keras.layers.Dense(attention.units, use_bias=False, name="coverage") if coverage else None
        if coverage:
            self.own_sizes["coverage"] = None

    def first(self, summary: Any, memory_mask: Any) -> dict[str, Any]:
        """Make h*_0 = 0 and, if there is one, a coverage of 0."""
        state = super().first(summary, memory_mask)
        return {**state, "coverage": ops.zeros_like(memory_mask, "float32")} if self.key_shift else state

    def read(
        self, hidden: Any, own: dict[str, Any], keys: Any, memory: Any, memory_mask: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Ask the memory and add to the coverage, `hidden [B, 2U] -> h*_t [B, M], alignment [B, S], coverage`."""
        if not self.key_shift:
            return super().read(hidden, own, keys, memory, memory_mask)
        keys = keys + self.key_shift(ops.expand_dims(own["coverage"], -1))
        context, alignment, _ = super().read(hidden, own, keys, memory, memory_mask)
        return context, alignment, {"coverage": own["coverage"] + alignment}

    def attend(
        self, inputs: Any, own: dict[str, Any], keys: Any, memory: Any, memory_mask: Any
    ) -> tuple[Any, Any, dict[str, Any], Any]:
        """Step, `inputs [B, E], own states -> [s_t; x_t], h*_t [B, M], next own states, alignment [B, S]`."""
        merged = self.merge(ops.concatenate([inputs, own["feed"]], -1))
        _, following = self.stack.step(merged, own)
        state = ops.concatenate(list(following.values()), -1)
        context, alignment, changed = self.read(state, own, keys, memory, memory_mask)
        hidden = ops.concatenate([state, merged], -1)
        return hidden, context, {**own, **following, **changed, "feed": context}, alignment


@keras.saving.register_keras_serializable("kerass2s")
class Mixture(keras.layers.Layer):
    """P(w) = p_gen P_vocab(w) + (1 - p_gen) sum of a_i over the i where w_i = w, as logarithms (equation 9).

    The last axis has V + S columns: the target's tokens, and one for each source position, which only the first
    position of a token that the target lacks uses. `copy_ids` says which column a position's mass goes to (see
    `kerass2s.encoders.pointer.CopyIds`).
    """

    def call(self, logits: Any, gate: Any, alignment: Any, copy_ids: Any) -> Any:
        """Mix, `logits [B, T, V], gate [B, T, 1], alignment [B, T, S], copy_ids [B, S] -> [B, T, V + S]`."""
        copied, possible = self._copied(alignment, copy_ids, logits.shape[-1])
        # What can be copied keeps a trace of mass, so that no label has a log-probability of nothing.
        trace = ops.where(ops.expand_dims(possible, 1), ops.log(LEAST), IMPOSSIBLE) + ops.zeros_like(alignment)
        generated = ops.concatenate([ops.log_sigmoid(gate) + ops.log_softmax(logits, axis=-1), trace], axis=-1)
        copied = ops.where(copied > LEAST, ops.log(ops.maximum(copied, LEAST)), IMPOSSIBLE)
        # Not `ops.logaddexp`: it is made of log1p, which ONNX lacks.
        return ops.logsumexp(ops.stack([generated, ops.log_sigmoid(-gate) + copied]), axis=0)

    def _copied(self, alignment: Any, copy_ids: Any, size: int) -> tuple[Any, Any]:
        """Sum the alignment of equal tokens: mass [B, T, V + S], and which of the last S columns have a token [B, S].

        Each sum stands at the token's first position. The other positions scatter nothing to a column of their own,
        so that no two write to one place: not every runtime adds there.
        """
        alike = ops.equal(ops.expand_dims(copy_ids, 1), ops.expand_dims(copy_ids, 2))
        places = ops.cumsum(ops.ones_like(copy_ids), axis=1) - 1
        first = ops.equal(first_alike(copy_ids), places)
        mass = ops.matmul(alignment, ops.cast(alike, alignment.dtype))
        mass = mass * ops.expand_dims(ops.cast(first, mass.dtype), 1)
        batch, source = ops.shape(copy_ids)
        rows = ops.cumsum(ops.ones_like(copy_ids), axis=0) - 1
        columns = ops.stack([rows, ops.where(first, copy_ids, size + places)], axis=-1)
        shape = (batch, size + source, ops.shape(mass)[1])
        spread = ops.scatter(columns, ops.transpose(mass, (0, 2, 1)), shape)
        return ops.transpose(spread, (0, 2, 1)), ops.equal(copy_ids, size + places)


@keras.saving.register_keras_serializable("kerass2s")
class Coverage(keras.layers.Layer):
    """Hands a prediction on, and in training adds what attention repeats to the loss (equations 12 and 13).

    λ times the mean over the real t of sum_i min(a_i, c_i), where c is the sum of the alignments before t.

    Args:
        weight: λ.
    """

    def __init__(self, weight: float, name: str = "coverage_loss", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.weight = weight

    def call(self, prediction: Any, alignment: Any, target_ids: Any, training: bool = False) -> Any:
        """Return `prediction`; `alignment [B, T, S]`, `target_ids [B, T]` is the decoder's input, PAD after the end."""
        if training:
            before = ops.cumsum(alignment, axis=1) - alignment
            repeated = ops.sum(ops.minimum(alignment, before), axis=2)
            real = ops.cast(ops.not_equal(target_ids, PAD_ID), repeated.dtype)
            self.add_loss(self.weight * ops.sum(repeated * real) / ops.maximum(ops.sum(real), 1))
        return prediction

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "weight": self.weight}


class PointerReadout(Readout):
    """log P(w) over V + S columns of what a `PointerCell` gives.

        P_vocab = softmax(V' (V [h_t; h*_t] + b) + b')                       equation 4
        p_gen = sigmoid(w_h* . h*_t + w_s . [h_t; c_t] + w_x . x_t + b)      equation 8

    Args:
        size: V of the target.
        units: U of the cell.
        dropout: rate on what is read out, in training only; or a `Dropping`.
        coverage: λ of the coverage loss, added where a whole sequence is trained; None for no such loss.
    """

    def __init__(
        self, size: int, units: int, *, dropout: float | Dropping = 0.0, coverage: float | None = None
    ) -> None:
        super().__init__(size, DenseReadout(units, activation=None), dropout)
        self.units = units
        self.gate = keras.layers.Dense(1, dtype="float32", name="p_gen")
        self.mixture = Mixture(name="mixture", dtype="float32")
        self.penalty = None if coverage is None else Coverage(coverage)

    def inputs(self) -> dict[str, Any]:
        """Ask the encoder for `copy_ids [B, S]`."""
        return {"copy_ids": keras.Input((None,), dtype="int32", name="copy_ids")}

    def __call__(self, hidden: Any, context: Any, embedded: Any, alignment: Any, memory: dict[str, Any]) -> Any:
        """Predict, `hidden [..., 2U + E], context [..., M], alignment [..., S] -> log-probabilities [..., V + S]`."""
        logits = super().__call__(hidden[..., : self.units], context, embedded, alignment, memory)
        gate = self.gate(ops.concatenate([context, hidden], -1))
        if len(alignment.shape) == 2:
            one = (ops.expand_dims(each, 1) for each in (logits, gate, alignment))
            return ops.squeeze(self.mixture(*one, memory["copy_ids"]), 1)
        prediction = self.mixture(logits, gate, alignment, memory["copy_ids"])
        return self.penalty(prediction, alignment, memory["target_ids"]) if self.penalty else prediction
