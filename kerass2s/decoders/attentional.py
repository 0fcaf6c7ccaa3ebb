"""The decoder whose recurrence sees its attention: cells that attend, and one decoder that runs any of them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.attention import Attention
from kerass2s.context import BRIDGES, ZeroBridge, choose
from kerass2s.decoders.base import Decoder, Readout, named_inputs
from kerass2s.dropout import SEED, Dropping, drop
from kerass2s.elements import Elements, OpenTokens
from kerass2s.recurrence import RecurrentStack

__all__ = ["AttentionalDecoder", "AttentiveCell", "FeedingCell", "PreviousStateCell"]


class AttentiveCell(keras.layers.Layer):
    """One step of a recurrence that attends. Subclasses say in `attend` who asks the memory, and when.

    A subclass with a state of its own adds it to `own_sizes` and `first`, and changes it in `attend` or `read`.
    Keras' RNN takes no constants, so keys, memory and mask ride in its state behind the cell's own, unchanged, and the
    seed of the stack's masks where it holds any; that one stands among the own states that `attend` is given.

    Attributes:
        own_sizes: the cell's state tensors [B, width] by name, the stack's first; None for a width of S.
        hidden_size: U of what `attend` gives as hidden.
        memory_size: M.

    Args:
        stack: the recurrent layers; their cells are used, one step at a time.
        attention: what `read` asks; its query is a hidden state of the stack.
        memory_size: M of the encoder's memory.
    """

    def __init__(
        self, stack: RecurrentStack, attention: Attention, memory_size: int, name: str = "attentive_cell"
    ) -> None:
        super().__init__(name=name)
        self.stack = stack
        # The stack is no layer; its parts are kept here too, so that Keras finds their weights.
        self.cells = [layer.cell for layer in stack.layers]
        self.dropouts = stack.dropouts
        self.attention = attention
        self.memory_size = memory_size
        self.hidden_size = stack.units
        self.own_sizes: dict[str, int | None] = dict(stack.sizes)
        self.noise = [SEED] if stack.dropping.held else []

    @property
    def state_size(self) -> list[int | None]:
        """The widths of the RNN's state: the cell's own, then keys, memory, mask and, if any, the seed."""
        return [*self.own_sizes.values(), None, None, None, *(None for _ in self.noise)]

    def build(self, *shapes: Any) -> None:
        """Do nothing: the step graph, made first, builds every part of the cell."""
        self.built = True

    def first(self, summary: Any, memory_mask: Any) -> dict[str, Any]:
        """Make the first value of the states beyond the stack's, from `summary [B, M'], memory_mask [B, S]`; none."""
        return {}

    def read(
        self, hidden: Any, own: dict[str, Any], keys: Any, memory: Any, memory_mask: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Ask the memory, `hidden [B, U] -> context [B, M], alignment [B, S]`, and those own states that this changes.

        A cell that remembers what it has read (a coverage) overrides this.
        """
        context, alignment = self.attention(ops.expand_dims(hidden, 1), keys, memory, memory_mask)
        return ops.squeeze(context, 1), ops.squeeze(alignment, 1), {}

    def attend(
        self, inputs: Any, own: dict[str, Any], keys: Any, memory: Any, memory_mask: Any
    ) -> tuple[Any, Any, dict[str, Any], Any]:
        """Step, `inputs [B, N], own states -> hidden [B, U], context [B, M], next own states, alignment [B, S]`."""
        raise TypeError(f"An AttentiveCell must say how it attends. Received: {type(self).__name__}")

    def call(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """Step as Keras' RNN asks for it, `inputs [B, N] -> [hidden; context; alignment] [B, U + M + S], states`."""
        own, (keys, memory, mask) = self._own(states)
        hidden, context, own, alignment = self.attend(inputs, own, keys, memory, ops.cast(mask, "bool"))
        output = ops.concatenate([hidden, context, ops.cast(alignment, hidden.dtype)], -1)
        seed = states[len(states) - len(self.noise) :]
        return output, [*(own[name] for name in self.own_sizes), keys, memory, mask, *seed]

    def _own(self, states: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        count = len(self.own_sizes)
        own, remembered, seed = states[:count], states[count : count + 3], states[count + 3 :]
        return dict(zip([*self.own_sizes, *self.noise], [*own, *seed], strict=True)), remembered


class PreviousStateCell(AttentiveCell):
    """The previous state asks: c_t = attention(d_{t-1}), d_t = stack([y_{t-1}; c_t]).

    Bahdanau, Cho and Bengio 2015, section 3.1 and appendix A.2.2; the query is the top layer's h.
    """

    def attend(
        self, inputs: Any, own: dict[str, Any], keys: Any, memory: Any, memory_mask: Any
    ) -> tuple[Any, Any, dict[str, Any], Any]:
        """Step, `inputs [B, N], own states -> d_t [B, U], c_t [B, M], next own states, alignment [B, S]`."""
        context, alignment, changed = self.read(own[self.stack.top], own, keys, memory, memory_mask)
        hidden, following = self.stack.step(ops.concatenate([inputs, context], -1), own)
        return hidden, context, {**own, **following, **changed}, alignment


class FeedingCell(AttentiveCell):
    """The new state asks, and the next step is fed what was read.

        h_t = stack([y_{t-1}; f_{t-1}]),  c_t = attention(h_t),  f_t = feed([c_t; h_t])

    With a feed layer tanh(W_c [c_t; h_t]) f_t is the attentional vector and this is input feeding (Luong, Pham and
    Manning 2015, equation 5 and section 3.3). Without one f_t is c_t itself (Chan et al. 2016, See et al. 2017).
    f_0 is zero.

    Args:
        stack: the recurrent layers.
        attention: an Attention whose query is h_t.
        memory_size: M of the encoder's memory.
        feed: makes f_t, which is then also the cell's hidden; None for f_t = c_t and a hidden of h_t.
    """

    def __init__(
        self,
        stack: RecurrentStack,
        attention: Attention,
        memory_size: int,
        feed: keras.layers.Dense | None = None,
        name: str = "attentive_cell",
    ) -> None:
        super().__init__(stack, attention, memory_size, name=name)
        self.feed = feed
        self.hidden_size = feed.units if feed else stack.units
        self.own_sizes["feed"] = feed.units if feed else memory_size

    def first(self, summary: Any, memory_mask: Any) -> dict[str, Any]:
        """Make f_0 = 0, [B, width of the feed]."""
        return ZeroBridge({"feed": self.own_sizes["feed"]}, name="first_feed")(summary)

    def attend(
        self, inputs: Any, own: dict[str, Any], keys: Any, memory: Any, memory_mask: Any
    ) -> tuple[Any, Any, dict[str, Any], Any]:
        """Step, `inputs [B, N], own states -> f_t or h_t [B, U], c_t [B, M], next own states, alignment [B, S]`."""
        hidden, following = self.stack.step(ops.concatenate([inputs, own["feed"]], -1), own)
        context, alignment, changed = self.read(hidden, own, keys, memory, memory_mask)
        fed = context
        if self.feed:
            fed = hidden = self.feed(ops.concatenate([context, hidden], -1))
        return hidden, context, {**own, **following, **changed, "feed": fed}, alignment


class _Recurrence(keras.layers.RNN):
    """Runs an AttentiveCell over time, `[B, T, N] -> hidden [B, T, U], context [B, T, M], alignment [B, T, S]`."""

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Return the three shapes; Keras' own wants a fixed width, and S is not fixed."""
        along = tuple(sequences_shape[:2])
        return (*along, self.cell.hidden_size), (*along, self.cell.memory_size), (*along, None)

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        """Run the cell over `sequences` from `initial_state`, and take its outputs apart."""
        outputs = super().call(sequences, initial_state, mask, training)
        begin, end = self.cell.hidden_size, self.cell.hidden_size + self.cell.memory_size
        return outputs[:, :, :begin], outputs[:, :, begin:end], outputs[:, :, end:]


class _AttentiveStep(keras.layers.Layer):
    """Runs an AttentiveCell once, `inputs [B, N], states -> hidden [B, U], context [B, M], own states, alignment`."""

    def __init__(self, cell: AttentiveCell, name: str = "attentive_step") -> None:
        super().__init__(name=name)
        self.cell = cell

    def build(self, *shapes: Any) -> None:
        """Do nothing: the parts of the cell are built when they are first called."""
        self.built = True

    def call(self, inputs: Any, states: list[Any]) -> tuple[Any, Any, dict[str, Any], Any]:
        """Step and keep the parts apart."""
        own, remembered = self.cell._own(states)
        hidden, context, own, alignment = self.cell.attend(inputs, own, *remembered)
        return hidden, context, {name: own[name] for name in self.cell.own_sizes}, alignment


class AttentionalDecoder(Decoder):
    """A decoder with attention inside its recurrence: what was read is part of what the recurrence sees.

    Args:
        elements: what the target is made of: `Tokens`, `OneHotTokens`, `OpenTokens` or `Vectors`.
        summary_size: M' of the encoder's summary.
        cell: one step of the recurrence, attention included.
        readout: what makes the prediction of hidden, context, embedding and alignment.
        upper: more layers above the cell, fed its hidden and, each of them, the context; None for none.
        dropout: rate on the embedding, in training only, or a `Dropping`; stack and readout have their own.
        bridge: "pass", "dense" or "zero", for the states of the cell's stack and of `upper`.
        tie_embeddings: predict by the target's embedding, which must be as wide as the readout's features.

    Raises:
        ConfigError: an unknown bridge, or nothing to tie.
    """

    def __init__(
        self,
        elements: Elements,
        summary_size: int,
        cell: AttentiveCell,
        readout: Readout,
        *,
        upper: RecurrentStack | None = None,
        dropout: float | Dropping = 0.0,
        bridge: str = "dense",
        tie_embeddings: bool = False,
    ) -> None:
        # === Layers ===
        embedding = elements.embedding("target")
        dropping = Dropping.of(dropout)
        dropped = dropping.layer("embedding_dropout")
        if tie_embeddings:
            readout.tie(embedding)
        attentive_step = _AttentiveStep(cell)
        recurrence = _Recurrence(cell, return_sequences=True, name="recurrence")
        above = upper.sizes if upper else {}
        to_state = choose("bridge", bridge, BRIDGES)({**cell.stack.sizes, **above})

        # === Functional Models ===
        summary = keras.Input((summary_size,), name="summary")
        memory = keras.Input((None, cell.memory_size), name="memory")
        mask = keras.Input((None,), dtype="bool", name="memory_mask")
        further = readout.inputs()
        keys = cell.attention.project(memory)
        keys_input = keras.Input(keys.shape[1:], name="memory_keys")
        users = [dropping, cell.stack.dropping, readout.dropping, *([upper.dropping] if upper else [])]
        noise = next((user.inputs() for user in users if user.held), {})
        remembered = {"memory_keys": keys_input, "memory": memory, "memory_mask": mask, **further, **noise}
        state = named_inputs({**cell.own_sizes, **above})
        known = {**state, **noise}
        first = [*(state[name] for name in cell.own_sizes), keys_input, memory, mask, *(noise[s] for s in cell.noise)]

        # The step comes first: it builds the cell's weights, which a loop must find made.
        one = elements.target()
        embedded = drop(dropped, embedding(one), noise)
        hidden, context, following, alignment = attentive_step(embedded, first)
        if upper:
            hidden, more = upper.step(hidden, known, context)
            following = {**following, **more}
        stepped = readout(hidden, context, embedded, alignment, {**remembered, elements.target_name: one})

        target = elements.target(None)
        along = drop(dropped, embedding(target), noise)
        hidden, context, alignments = recurrence(along, initial_state=first)
        if upper:
            hidden = upper.sequence(hidden, known, context)
        made = readout(hidden, context, along, alignments, {**remembered, elements.target_name: target})
        super().__init__(
            start=(
                {"summary": summary, "memory": memory, "memory_mask": mask, **further},
                {
                    **to_state(summary),
                    **cell.first(summary, mask),
                    "memory_keys": keys,
                    "memory": memory,
                    "memory_mask": mask,
                    **further,
                },
            ),
            sequence=({elements.target_name: target, **state, **remembered}, made),
            step=(
                {elements.target_name: one, **state, **remembered},
                {"prediction": stepped, **following, "alignment": alignment},
            ),
            target_name=elements.target_name,
            state_names=list(state),
            extra_layers=[to_state],
            mixable=not isinstance(elements, OpenTokens),
        )
