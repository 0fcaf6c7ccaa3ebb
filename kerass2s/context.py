"""What passes from encoder to decoder: summaries c = f_c({e}) of the encodings, and bridges from c to a first state."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.errors import ConfigError

__all__ = ["BRIDGES", "SUMMARIES", "DenseBridge", "PassBridge", "ZeroBridge", "choose"]

LOWEST = -1e9


def choose(kind: str, name: str, choices: dict[str, Any]) -> Any:
    """Look `name` up among `choices`; a name that is not there is a ConfigError that lists what is."""
    if name not in choices:
        raise ConfigError(f"{kind} must be one of {', '.join(choices)}. Received: {name!r}")
    return choices[name]


@keras.saving.register_keras_serializable("kerass2s")
class LastSummary(keras.layers.Layer):
    """The last real encoding, `memory [B, S, M], mask [B, S] -> [B, M]`; zeros where there is none."""

    def call(self, memory: Any, memory_mask: Any) -> Any:
        """Return the encoding at `length - 1`."""
        mask = ops.cast(memory_mask, memory.dtype)
        # The last real position is where the mask is 1 and its right neighbour is 0 (or the end).
        following = ops.pad(mask[:, 1:], ((0, 0), (0, 1)))
        return ops.sum(memory * ops.expand_dims(mask * (1 - following), -1), axis=1)


@keras.saving.register_keras_serializable("kerass2s")
class MeanSummary(keras.layers.Layer):
    """The mean of the real encodings, `memory [B, S, M], mask [B, S] -> [B, M]`."""

    def call(self, memory: Any, memory_mask: Any) -> Any:
        """Return the masked mean over S."""
        mask = ops.expand_dims(ops.cast(memory_mask, memory.dtype), -1)
        return ops.sum(memory * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1)


@keras.saving.register_keras_serializable("kerass2s")
class MaxSummary(keras.layers.Layer):
    """The largest value of each feature over the real encodings, `memory [B, S, M], mask [B, S] -> [B, M]`."""

    def call(self, memory: Any, memory_mask: Any) -> Any:
        """Return the masked maximum over S; zeros where there is no real encoding."""
        mask = ops.expand_dims(memory_mask, -1)
        highest = ops.max(ops.where(mask, memory, ops.cast(LOWEST, memory.dtype)), axis=1)
        return ops.where(ops.any(mask, axis=1), highest, ops.zeros_like(highest))


@keras.saving.register_keras_serializable("kerass2s")
class BothEndsSummary(LastSummary):
    """The first and the last real encoding side by side, `memory [B, S, M], mask [B, S] -> [B, 2M]`."""

    def call(self, memory: Any, memory_mask: Any) -> Any:
        """Return [e_1; e_length]."""
        first = memory[:, 0] * ops.cast(memory_mask[:, :1], memory.dtype)
        return ops.concatenate([first, super().call(memory, memory_mask)], axis=-1)


@keras.saving.register_keras_serializable("kerass2s")
class FirstBackwardSummary(keras.layers.Layer):
    """The backward half of the first encoding, `memory [B, S, M], mask [B, S] -> [B, M/2]`.

    Of a memory [forward; backward] that is the end of the backward reading (Bahdanau, Cho and Bengio 2015, A.2.2).
    """

    def call(self, memory: Any, memory_mask: Any) -> Any:
        """Return the second half of e_1."""
        return memory[:, 0, memory.shape[-1] // 2 :] * ops.cast(memory_mask[:, :1], memory.dtype)


SUMMARIES: dict[str, type[keras.layers.Layer]] = {
    "last": LastSummary,
    "mean": MeanSummary,
    "max": MaxSummary,
    "both_ends": BothEndsSummary,
    "first_backward": FirstBackwardSummary,
}
"""The summaries over encodings. An encoder also knows "state": the final states of all its layers, side by side."""


class Bridge(keras.layers.Layer):
    """Base of the bridges: from the summary [B, M'] to one tensor [B, size] for each named state of the decoder."""

    def __init__(self, sizes: dict[str, int], name: str = "bridge", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.sizes = dict(sizes)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "sizes": dict(self.sizes)}

    def _split(self, values: Any) -> dict[str, Any]:
        state, begin = {}, 0
        for name, size in self.sizes.items():
            state[name] = values[:, begin : begin + size]
            begin += size
        return state


@keras.saving.register_keras_serializable("kerass2s")
class PassBridge(Bridge):
    """Hands the summary over as it is, cut into the decoder's states in order (Sutskever, Vinyals and Le 2014)."""

    def build(self, summary_shape: tuple[int | None, ...]) -> None:
        """Refuse a summary of another size than the states have together."""
        if summary_shape[-1] != sum(self.sizes.values()):
            raise ConfigError(
                f"bridge 'pass' needs a summary of size {sum(self.sizes.values())} for the decoder's states "
                f"{dict(self.sizes)}; use bridge 'dense' where sizes differ. Received: {summary_shape[-1]}"
            )
        self.built = True

    def call(self, summary: Any) -> dict[str, Any]:
        """Cut `summary [B, sum(sizes)]` into the states."""
        return self._split(summary)


@keras.saving.register_keras_serializable("kerass2s")
class DenseBridge(Bridge):
    """A learned map, `tanh(W summary + b)`, cut into the decoder's states (Bahdanau, Cho and Bengio 2015, A.2.2)."""

    def __init__(self, sizes: dict[str, int], name: str = "bridge", **options: Any) -> None:
        super().__init__(sizes, name=name, **options)
        self.dense = keras.layers.Dense(sum(sizes.values()), activation="tanh", name="dense")

    def call(self, summary: Any) -> dict[str, Any]:
        """Map `summary [B, M']` to the states."""
        return self._split(self.dense(summary))


@keras.saving.register_keras_serializable("kerass2s")
class ZeroBridge(Bridge):
    """A first state of zeros: all the decoder knows of the source comes by attention or the context it is fed."""

    def call(self, summary: Any) -> dict[str, Any]:
        """Return zeros; `summary` gives the batch size only."""
        nothing = ops.zeros_like(summary[:, :1])
        return {name: ops.tile(nothing, (1, size)) for name, size in self.sizes.items()}


BRIDGES: dict[str, type[Bridge]] = {"pass": PassBridge, "dense": DenseBridge, "zero": ZeroBridge}
