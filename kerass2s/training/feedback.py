"""Feedbacks: what stands in for the true previous output, made of the model's prediction of it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kerass2s.context import choose
from kerass2s.decoding.search import log_probabilities
from kerass2s.errors import ConfigError

__all__ = ["MIXTURES", "TOKENS", "check_feedback"]


# === Tokens: a choice, without a gradient ===


def likeliest(prediction: tf.Tensor, dtype: tf.DType, seed: tf.Tensor | None = None) -> tf.Tensor:
    """Return the model's own choice, as greedy search makes it: `logits [B, V] -> ids [B]`, and values as they are."""
    if not dtype.is_integer:
        return tf.cast(prediction, dtype)
    return tf.argmax(log_probabilities(prediction), axis=1, output_type=dtype)


def drawn(prediction: tf.Tensor, dtype: tf.DType, seed: tf.Tensor) -> tf.Tensor:
    """Draw a token from the model's distribution, `logits [B, V] -> ids [B]`; PAD and START are never drawn.

    Raises:
        ConfigError: the decoder predicts values, not a distribution.
    """
    if not dtype.is_integer:
        raise ConfigError(
            "feedback 'sample' draws tokens; a decoder of vectors has its values fed back as they are by "
            f"feedback 'argmax'. Received: a target of {dtype.name}"
        )
    return tf.random.stateless_categorical(log_probabilities(prediction), 1, seed, dtype=dtype)[:, 0]


# === Mixtures: probabilities of tokens, with a gradient ===


def soft(prediction: tf.Tensor, temperature: float, seed: tf.Tensor) -> tf.Tensor:
    """Return the model's whole distribution, sharper where the temperature is below 1, `[B, V] -> [B, V]`."""
    return tf.nn.softmax(log_probabilities(prediction) / temperature)


def gumbel(prediction: tf.Tensor, temperature: float, seed: tf.Tensor) -> tf.Tensor:
    """Draw a relaxed token, softmax((log p + g) / temperature) with Gumbel noise g, `[B, V] -> [B, V]`."""
    uniform = tf.random.stateless_uniform(tf.shape(prediction), seed, minval=np.finfo(np.float32).tiny)
    return tf.nn.softmax((log_probabilities(prediction) - tf.math.log(-tf.math.log(uniform))) / temperature)


def straight_through(prediction: tf.Tensor, temperature: float, seed: tf.Tensor) -> tf.Tensor:
    """Draw a token as a one-hot vector that has the gradient of the relaxed one, `[B, V] -> [B, V]`."""
    relaxed = gumbel(prediction, temperature, seed)
    hard = tf.one_hot(tf.argmax(relaxed, axis=1), tf.shape(relaxed)[1])
    return hard + (relaxed - tf.stop_gradient(relaxed))


TOKENS = {"argmax": likeliest, "sample": drawn}
MIXTURES = {"soft": soft, "gumbel": gumbel, "straight_through": straight_through}
"""Fed as the mean of the tokens' embeddings, so that the loss of a position reaches the predictions before it."""


def check_feedback(feedback: str, temperature: float) -> None:
    """Raise ConfigError unless there is such a feedback, and it has a use for the temperature."""
    choose("feedback", feedback, TOKENS | MIXTURES)
    if temperature <= 0 or (temperature != 1 and feedback not in MIXTURES):
        raise ConfigError(
            f"temperature must be above 0, and is for feedback {', '.join(MIXTURES)}. "
            f"Received: {temperature!r} with {feedback!r}"
        )
