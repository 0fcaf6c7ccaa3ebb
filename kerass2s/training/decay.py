"""Decays: with what probability the true previous output is fed, by training step (Bengio et al. 2015)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import keras
from keras import ops

from kerass2s.errors import ConfigError

__all__ = ["ConstantDecay", "Decay", "ExponentialDecay", "InverseSigmoidDecay", "LinearDecay"]


class Decay:
    """Base of the decays: ε_i in [0, 1], the probability that a token is the true one at training step i, from 0 on.

    Section 2.4 of "Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks", arXiv:1506.03099, has
    three of them. With `LinearDecay(c=0.001)` one token of four is the model's own at step 250, and each from step
    1000 on.
    """

    def __call__(self, step: Any) -> Any:
        """Return ε of a step, `int [] -> float32 []`."""
        raise TypeError(f"A Decay must say what ε is at a step. Received: {type(self).__name__}")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make one again from `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable("kerass2s")
@dataclass(frozen=True)
class ConstantDecay(Decay):
    """ε_i = p: no decay, the same mixture from the first step to the last.

    Attributes:
        p: the probability, in [0, 1].

    Raises:
        ConfigError: p out of range.
    """

    p: float

    def __post_init__(self) -> None:
        """Check the fields."""
        if not 0 <= self.p <= 1:
            raise ConfigError(f"p of ConstantDecay must be in [0, 1]. Received: {self.p!r}")

    def __call__(self, step: Any) -> Any:
        """Return ε of a step, `int [] -> float32 []`."""
        return ops.convert_to_tensor(self.p, "float32")


@keras.saving.register_keras_serializable("kerass2s")
@dataclass(frozen=True)
class LinearDecay(Decay):
    """ε_i = max(ε, k - c i): k at the start, then lower by the same c at each step, down to ε.

    Attributes:
        c: the slope, above 0.
        k: the offset, in (0, 1].
        epsilon: ε, the least that is given of the truth, in [0, 1).

    Raises:
        ConfigError: a value out of range.
    """

    c: float
    k: float = 1.0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.c <= 0:
            raise ConfigError(f"c of LinearDecay must be above 0. Received: {self.c!r}")
        if not 0 < self.k <= 1:
            raise ConfigError(f"k of LinearDecay must be in (0, 1]. Received: {self.k!r}")
        if not 0 <= self.epsilon < 1:
            raise ConfigError(f"epsilon of LinearDecay must be in [0, 1). Received: {self.epsilon!r}")

    def __call__(self, step: Any) -> Any:
        """Return ε of a step, `int [] -> float32 []`."""
        return ops.maximum(self.epsilon, self.k - self.c * ops.cast(step, "float32"))


@keras.saving.register_keras_serializable("kerass2s")
@dataclass(frozen=True)
class ExponentialDecay(Decay):
    """ε_i = k^i: it halves every ln 2 / -ln k steps.

    Attributes:
        k: the base, in (0, 1).

    Raises:
        ConfigError: k out of range.
    """

    k: float

    def __post_init__(self) -> None:
        """Check the fields."""
        if not 0 < self.k < 1:
            raise ConfigError(f"k of ExponentialDecay must be in (0, 1). Received: {self.k!r}")

    def __call__(self, step: Any) -> Any:
        """Return ε of a step, `int [] -> float32 []`."""
        return ops.power(ops.convert_to_tensor(self.k, "float32"), ops.cast(step, "float32"))


@keras.saving.register_keras_serializable("kerass2s")
@dataclass(frozen=True)
class InverseSigmoidDecay(Decay):
    """ε_i = k / (k + exp(i / k)): near 1 at first, one half at step k ln k, then soon near 0.

    Attributes:
        k: how slow it is, at least 1; 2000 gives one half at step 15200.

    Raises:
        ConfigError: k out of range.
    """

    k: float

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.k < 1:
            raise ConfigError(f"k of InverseSigmoidDecay must be at least 1. Received: {self.k!r}")

    def __call__(self, step: Any) -> Any:
        """Return ε of a step, `int [] -> float32 []`."""
        return self.k / (self.k + ops.exp(ops.cast(step, "float32") / self.k))
