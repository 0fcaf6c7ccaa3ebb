"""Decoders whose recurrence does not see the attention: none at all, or attention computed after the recurrence."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.attention import Attention
from kerass2s.context import BRIDGES, choose
from kerass2s.decoders.base import Decoder, MaxoutReadout, named_inputs, to_predictions
from kerass2s.dropout import Dropping, drop
from kerass2s.elements import Elements
from kerass2s.recurrence import RecurrentStack

__all__ = ["PostAttentionDecoder", "RecurrentDecoder"]


class RecurrentDecoder(Decoder):
    """A stack of LSTM or GRU layers, no attention: the context is the first state (Sutskever, Vinyals and Le 2014).

    With `readout_units` the context is also fed to every step and to a maxout readout of (d_t, y_{t-1}, c)
    (Cho et al. 2014).

    Args:
        elements: what the target is made of: `Tokens`, `OneHotTokens` or `Vectors`.
        summary_size: M' of the encoder's summary.
        cell: "lstm" or "gru".
        units: U.
        layers: depth of the stack.
        dropout: rate on the input of each layer and of the output layer, in training only; or a `Dropping`.
        residual: the first layer whose input is added to its output, counted from 0; 0 for none.
        bridge: "pass", "dense" or "zero".
        readout_units: width of the maxout readout; None for a readout of d_t alone, and no context at each step.
        tie_embeddings: predict by the target's embedding; it must be as wide as the readout (U without one).

    Raises:
        ConfigError: an unknown cell or bridge, or nothing to tie.
    """

    def __init__(
        self,
        elements: Elements,
        summary_size: int,
        *,
        cell: str,
        units: int,
        layers: int = 1,
        dropout: float | Dropping = 0.0,
        residual: int = 0,
        bridge: str = "pass",
        readout_units: int | None = None,
        tie_embeddings: bool = False,
    ) -> None:
        # === Layers ===
        embedding = elements.embedding("target")
        stack = RecurrentStack(cell, units, layers, dropout, residual)
        to_state = choose("bridge", bridge, BRIDGES)(stack.sizes)
        readout = MaxoutReadout(readout_units) if readout_units else None
        dropped = stack.dropping.layer("output_dropout")
        to_logits = to_predictions(elements.size, embedding if tie_embeddings else None)

        # === Functional Models ===
        summary = keras.Input((summary_size,), name="summary")
        context = keras.Input((summary_size,), name="context")
        state = named_inputs(stack.sizes)
        noise = stack.dropping.inputs()
        memory = {"context": context, **noise} if readout else noise
        known = {**state, **noise}
        target = elements.target(None)
        embedded = embedding(target)
        if readout:
            along = ops.expand_dims(context, 1) + ops.zeros_like(embedded[:, :, :1])  # c at every position, [B, T, M']
            hidden = stack.sequence(ops.concatenate([embedded, along], -1), known)
            hidden = readout(hidden, along, embedded)
        else:
            hidden = stack.sequence(embedded, known)
        logits = to_logits(drop(dropped, hidden, noise))

        one = elements.target()
        embedded = embedding(one)
        if readout:
            hidden, following = stack.step(ops.concatenate([embedded, context], -1), known)
            hidden = readout(hidden, context, embedded)
        else:
            hidden, following = stack.step(embedded, known)
        started = to_state(summary)
        super().__init__(
            start=({"summary": summary}, {**started, "context": summary} if readout else started),
            sequence=({elements.target_name: target, **state, **memory}, logits),
            step=(
                {elements.target_name: one, **state, **memory},
                {"prediction": to_logits(drop(dropped, hidden, noise)), **following},
            ),
            target_name=elements.target_name,
            state_names=list(stack.sizes),
            extra_layers=[to_state],
        )


class PostAttentionDecoder(Decoder):
    """Attention after the recurrence: d_t asks the memory, and combine([c_t; d_t]) is read out (Luong et al. 2015).

    The recurrence does not see the attention, so training runs all positions at once.

    Args:
        elements: what the target is made of: `Tokens`, `OneHotTokens` or `Vectors`.
        summary_size: M' of the encoder's summary.
        memory_size: M of the encoder's memory.
        attention: an Attention whose query is d_t.
        combine: makes what is read out, tanh(W [c_t; d_t]) in the paper's equation 5.
        cell: "lstm" or "gru".
        units: U.
        layers: depth of the stack.
        dropout: rate on the input of each layer and of the output layer, in training only; or a `Dropping`.
        residual: the first layer whose input is added to its output, counted from 0; 0 for none.
        bridge: "pass", "dense" or "zero".
        tie_embeddings: predict by the target's embedding, which must be as wide as what `combine` makes.

    Raises:
        ConfigError: an unknown cell or bridge, or nothing to tie.
    """

    def __init__(
        self,
        elements: Elements,
        summary_size: int,
        memory_size: int,
        attention: Attention,
        combine: keras.layers.Dense,
        *,
        cell: str,
        units: int,
        layers: int = 1,
        dropout: float | Dropping = 0.0,
        residual: int = 0,
        bridge: str = "dense",
        tie_embeddings: bool = False,
    ) -> None:
        # === Layers ===
        embedding = elements.embedding("target")
        stack = RecurrentStack(cell, units, layers, dropout, residual)
        to_state = choose("bridge", bridge, BRIDGES)(stack.sizes)
        dropped = stack.dropping.layer("output_dropout")
        to_logits = to_predictions(elements.size, embedding if tie_embeddings else None)

        # === Functional Models ===
        summary = keras.Input((summary_size,), name="summary")
        memory = keras.Input((None, memory_size), name="memory")
        mask = keras.Input((None,), dtype="bool", name="memory_mask")
        state = named_inputs(stack.sizes)
        keys = attention.project(memory)
        keys_input = keras.Input(keys.shape[1:], name="memory_keys")
        noise = stack.dropping.inputs()
        remembered = {"memory_keys": keys_input, "memory": memory, "memory_mask": mask, **noise}
        known = {**state, **noise}

        def read(hidden: Any) -> tuple[Any, Any]:
            context, alignment = attention(hidden, keys_input, memory, mask)
            return combine(ops.concatenate([context, hidden], -1)), alignment

        target = elements.target(None)
        hidden, _ = read(stack.sequence(embedding(target), known))
        logits = to_logits(drop(dropped, hidden, noise))

        one = elements.target()
        hidden, following = stack.step(embedding(one), known)
        hidden, alignment = read(ops.expand_dims(hidden, 1))
        stepped = {
            "prediction": to_logits(ops.squeeze(drop(dropped, hidden, noise), 1)),
            **following,
            "alignment": ops.squeeze(alignment, 1),
        }
        super().__init__(
            start=(
                {"summary": summary, "memory": memory, "memory_mask": mask},
                {**to_state(summary), "memory_keys": keys, "memory": memory, "memory_mask": mask},
            ),
            sequence=({elements.target_name: target, **state, **remembered}, logits),
            step=({elements.target_name: one, **state, **remembered}, stepped),
            target_name=elements.target_name,
            state_names=list(stack.sizes),
            extra_layers=[to_state],
        )
