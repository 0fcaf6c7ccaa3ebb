"""The decoder with hard attention: one source position per output, unseen, and summed over exactly."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerass2s.context import ZeroBridge, choose
from kerass2s.decoders.base import Decoder, named_inputs
from kerass2s.decoding.search import IMPOSSIBLE
from kerass2s.dropout import Dropping, drop
from kerass2s.elements import Tokens
from kerass2s.recurrence import RecurrentStack

__all__ = ["TRANSITIONS", "HardAttentionDecoder"]


# === Layers ===


@keras.saving.register_keras_serializable("kerass2s")
class Emission(keras.layers.Layer):
    """log p(y_t | a_t = s, y_<t) = log softmax(W tanh(V [d_t; h_s])) for every s (Wu and Cotterell 2019, section 3).

    V is cut in two, so that its half of the memory is taken once for all t.

    Args:
        vocabulary_size: V.
        units: R, the width of the tanh.
    """

    def __init__(self, vocabulary_size: int, units: int, name: str = "emission", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.query_projection = keras.layers.Dense(units, name="query")
        self.key_projection = keras.layers.Dense(units, use_bias=False, name="emission_key")
        self.to_logits = keras.layers.Dense(vocabulary_size, dtype="float32", name="logits")

    def project(self, memory: Any) -> Any:
        """Make the keys, `memory [B, S, M] -> keys [B, S, R]`."""
        return self.key_projection(memory)

    def call(self, query: Any, keys: Any) -> Any:
        """Score every token at every position, `query [B, T, U], keys [B, S, R] -> [B, T, S, V]`."""
        hidden = ops.tanh(ops.expand_dims(self.query_projection(query), 2) + ops.expand_dims(keys, 1))
        return ops.log_softmax(self.to_logits(hidden), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "vocabulary_size": self.vocabulary_size, "units": self.units}


@keras.saving.register_keras_serializable("kerass2s")
class FreeTransitions(keras.layers.Layer):
    """log p(a_t | y_<t), whatever a_{t-1} was: softmax over s of d_t . W h_s (0th order, "0-HARD")."""

    def __init__(self, units: int, name: str = "transitions", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.units = units
        self.key_projection = keras.layers.Dense(units, use_bias=False, name="transition_key")

    def project(self, memory: Any) -> Any:
        """Make the keys, `memory [B, S, M] -> keys [B, S, U]`."""
        return self.key_projection(memory)

    def allowed(self, memory_mask: Any) -> Any:
        """Tell where each position may lead, `memory_mask [B, S] -> bool [B, 1, S or 1, S]`."""
        return memory_mask[:, None, None, :]

    def call(self, query: Any, keys: Any, memory_mask: Any) -> Any:
        """Make log p(a_t = column | a_{t-1} = row), `query [B, T, U], keys [B, S, U] -> [B, T, S or 1, S]`."""
        scores = ops.cast(ops.matmul(query, ops.transpose(keys, (0, 2, 1))), "float32")
        return ops.log_softmax(ops.where(self.allowed(memory_mask), scores[:, :, None, :], IMPOSSIBLE), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("kerass2s")
class MonotonicTransitions(FreeTransitions):
    """The same scores, shared out among the positions a_t >= a_{t-1} alone ("0-MONO")."""

    def allowed(self, memory_mask: Any) -> Any:
        """Tell where each position may lead, `memory_mask [B, S] -> bool [B, 1, S, S]`."""
        return ops.logical_and(super().allowed(memory_mask), _jumps(memory_mask) >= 0)


@keras.saving.register_keras_serializable("kerass2s")
class JumpTransitions(keras.layers.Layer):
    """log p(a_t | a_{t-1}, y_<t) by the jump a_t - a_{t-1} from 0 to J: softmax(U [d_t; h_{a_{t-1}}]) ("1-MONO").

    Args:
        longest: J.
    """

    def __init__(self, longest: int, name: str = "transitions", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.longest = longest
        self.query_projection = keras.layers.Dense(longest + 1, name="query")
        self.key_projection = keras.layers.Dense(longest + 1, use_bias=False, name="transition_key")

    def project(self, memory: Any) -> Any:
        """Make the keys, `memory [B, S, M] -> keys [B, S, J + 1]`."""
        return self.key_projection(memory)

    def call(self, query: Any, keys: Any, memory_mask: Any) -> Any:
        """Make log p(a_t = column | a_{t-1} = row), `query [B, T, U], keys [B, S, J + 1] -> [B, T, S, S]`."""
        by_jump = ops.expand_dims(self.query_projection(query), 2) + ops.expand_dims(keys, 1)
        by_jump, jumps, scores = ops.cast(by_jump, "float32"), _jumps(memory_mask), IMPOSSIBLE
        for jump in range(self.longest + 1):
            scores = ops.where(jumps == jump, by_jump[:, :, :, jump : jump + 1], scores)
        return ops.log_softmax(ops.where(memory_mask[:, None, None, :], scores, IMPOSSIBLE), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "longest": self.longest}


def _jumps(memory_mask: Any) -> Any:
    """Return column minus row, `[S, S]`."""
    positions = ops.arange(ops.shape(memory_mask)[1])
    return positions[None, :] - positions[:, None]


TRANSITIONS: dict[str, type[keras.layers.Layer]] = {
    "free": FreeTransitions,
    "monotonic": MonotonicTransitions,
    "jumps": JumpTransitions,
}
"""How the attended position may move from one output to the next."""


@keras.saving.register_keras_serializable("kerass2s")
class Marginal(keras.layers.Layer):
    """The forward recursion over the attended positions, in log space (Wu and Cotterell 2019, section 4).

    With `emission [B, T + 1, S, V]` from the previous output on, `transitions [B, T, S or 1, S]` and the outputs
    y_{t-1} as `target [B, T]`:

        p(a_{t-1} | y_<t)  is  p(a_{t-1} | y_<t-1) p(y_{t-1} | a_{t-1}, y_<t-1), normalised
        p(a_t | y_<t)      =   sum over a_{t-1} of  p(a_t | a_{t-1}, y_<t) p(a_{t-1} | y_<t)
        p(y_t | y_<t)      =   sum over a_t of  p(a_t | y_<t) p(y_t | a_t, y_<t)

    The product of the last line over t is the likelihood of the target, summed over all alignments.
    """

    def call(self, target: Any, emission: Any, transitions: Any, prior: Any) -> tuple[Any, Any]:
        """Run over all t from the last `prior [B, S] -> log p(y_t | y_<t) [B, T, V], priors [B, T, S]`."""
        evidence = self._evidence(target, emission)

        over_time = ops.transpose(evidence, (1, 0, 2)), ops.transpose(transitions, (1, 0, 2, 3))
        # Not `ops.scan`: Keras 3.15 cannot trace it over a length that it does not know.
        priors = tf.scan(lambda before, inputs: self._advance(before, *inputs), over_time, prior)
        priors = ops.transpose(priors, (1, 0, 2))
        return self._predict(priors, emission), priors

    def step(self, target: Any, emission: Any, transitions: Any, prior: Any) -> tuple[Any, Any]:
        """Do the same for T = 1 without a loop."""
        prior = self._advance(prior, self._evidence(target, emission)[:, 0], transitions[:, 0])
        return self._predict(prior[:, None], emission), prior[:, None]

    def _evidence(self, target: Any, emission: Any) -> Any:
        """Return log p(y_{t-1} | a_{t-1}, y_<t-1) of the outputs that were chosen, `[B, T, S]`."""
        chosen = ops.one_hot(target, emission.shape[-1])
        return ops.squeeze(ops.matmul(emission[:, :-1], ops.expand_dims(chosen, -1)), -1)

    def _advance(self, prior: Any, evidence: Any, transitions: Any) -> Any:
        posterior = ops.log_softmax(prior + evidence, axis=-1)
        return ops.logsumexp(posterior[:, :, None] + transitions, axis=1)

    def _predict(self, priors: Any, emission: Any) -> Any:
        return ops.logsumexp(ops.expand_dims(priors, -1) + emission[:, 1:], axis=2)


# === Decoder ===


class HardAttentionDecoder(Decoder):
    """Hard attention with its alignment summed over exactly: 0-HARD, 0-MONO and 1-MONO (Wu and Cotterell 2019).

    Each output comes from one source position a_t that nobody sees. The recurrence d_t sees the outputs alone, so the
    likelihood of a target is a product of p(y_t | y_<t), each a sum over positions (see `Marginal`). The prediction is
    log p(y_t | y_<t) [B, T, V], whose cross-entropy is the exact negative log-likelihood; the alignment is
    p(a_t | y_<t) [B, S]. a_0 is the first position.

    Every position spells every output: training holds B T S R floats of `Emission` and B T S V of its logits, and
    B T S S of monotonic transitions. That suits characters, not large vocabularies of long texts. A step holds
    2 N S (R + V): it scores the previous output again rather than carry [S, V] for each hypothesis.

    Args:
        elements: what the target is made of: `Tokens` or `OneHotTokens`.
        memory_size: M of the encoder's memory.
        cell: "lstm" or "gru".
        units: U.
        layers: depth of the stack.
        readout_units: R, the width of the tanh over [d_t; h_s].
        transitions: "free" (any position at any time), "monotonic" (never to the left) or "jumps" (likewise, by a
            predicted jump).
        longest_jump: J of "jumps".
        dropout: rate on the input of each layer and on d_t, in training only; or a `Dropping`.
    """

    def __init__(
        self,
        elements: Tokens,
        memory_size: int,
        *,
        cell: str,
        units: int,
        layers: int,
        readout_units: int,
        transitions: str,
        longest_jump: int,
        dropout: float | Dropping = 0.0,
    ) -> None:
        # === Layers ===
        embedding = elements.embedding("target")
        stack = RecurrentStack(cell, units, layers, dropout, residual=False)
        dropped = stack.dropping.layer("query_dropout")
        make = choose("transitions", transitions, TRANSITIONS)
        move = make(longest_jump if make is JumpTransitions else units)
        emit = Emission(elements.size, readout_units)
        marginal = Marginal(name="marginal")
        sizes = {**stack.sizes, "query": units}
        first_state = ZeroBridge(sizes)

        # === Functional Models ===
        memory = keras.Input((None, memory_size), name="memory")
        mask = keras.Input((None,), dtype="bool", name="memory_mask")
        state = {**named_inputs(sizes), "prior": keras.Input((None,), name="prior")}
        noise = stack.dropping.inputs()
        known = {**state, **noise}
        keys, emission_keys = move.project(memory), emit.project(memory)
        kept = {
            "transition_keys": keras.Input(keys.shape[1:], name="transition_keys"),
            "emission_keys": keras.Input(emission_keys.shape[1:], name="emission_keys"),
            "memory_mask": mask,
            **noise,
        }

        def read(queries: Any) -> tuple[Any, Any]:
            """Make emission [B, T + 1, S, V] and transitions [B, T, S or 1, S] of the last d and these [B, T, U]."""
            both = ops.concatenate([ops.expand_dims(state["query"], 1), queries], axis=1)
            return emit(both, kept["emission_keys"]), move(queries, kept["transition_keys"], mask)

        target = elements.target(None)
        queries = drop(dropped, stack.sequence(embedding(target), known), noise)
        log_probs, _ = marginal(target, *read(queries), state["prior"])

        one = elements.target()
        hidden, following = stack.step(embedding(one), known)
        query = drop(dropped, hidden, noise)
        stepped, prior = marginal.step(ops.expand_dims(one, 1), *read(ops.expand_dims(query, 1)), state["prior"])
        super().__init__(
            start=(
                {"memory": memory, "memory_mask": mask},
                {
                    **first_state(memory[:, 0]),
                    "prior": AtFirst(name="at_first")(mask),
                    "transition_keys": keys,
                    "emission_keys": emission_keys,
                    "memory_mask": mask,
                },
            ),
            sequence=({elements.target_name: target, **state, **kept}, log_probs),
            step=(
                {elements.target_name: one, **state, **kept},
                {
                    "prediction": stepped[:, 0],
                    **following,
                    "query": query,
                    "prior": prior[:, 0],
                    "alignment": ops.softmax(prior[:, 0], axis=-1),
                },
            ),
            target_name=elements.target_name,
            state_names=list(state),
            extra_layers=[],
            mixable=False,
        )


@keras.saving.register_keras_serializable("kerass2s")
class AtFirst(keras.layers.Layer):
    """log p(a_0): all at the first position, `memory_mask [B, S] -> [B, S]`."""

    def call(self, memory_mask: Any) -> Any:
        """Return 0 at the first position and a log-probability of nothing elsewhere."""
        first = ops.cumsum(ops.ones_like(memory_mask, dtype="int32"), axis=1) == 1
        return ops.where(first, 0.0, IMPOSSIBLE)
