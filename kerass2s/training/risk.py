"""Minimum risk training: the expected cost of whole outputs that the model samples, for fine-tuning by any metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import keras
import tensorflow as tf

from kerass2s.decoders import Decoder
from kerass2s.decoders.base import Start
from kerass2s.decoding import StepOutput
from kerass2s.decoding.checks import LONGEST, check_whole
from kerass2s.decoding.search import Tensors, search_loop, write
from kerass2s.errors import ConfigError
from kerass2s.text import END_ID, PAD_ID
from kerass2s.training.feedback import TOKENS
from kerass2s.training.feeding import SeededFeeding

__all__ = ["Cost", "MinimumRisk", "expected_cost", "mismatch", "token_error_rate"]

Cost = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""`cost(hypotheses [N, L], references [N, T]) -> float32 [N]`, of ids without START and END, PAD after them."""


# === Costs ===


@keras.saving.register_keras_serializable("kerass2s")
def token_error_rate(hypotheses: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
    """Return the edit distance by the length of the reference (1 for an empty one), `[N, L], [N, T] -> [N]`."""
    distances = tf.edit_distance(*(tf.sparse.from_dense(ids) for ids in (hypotheses, references)), normalize=False)
    lengths = tf.reduce_sum(tf.cast(references != PAD_ID, tf.float32), 1)
    return distances / tf.maximum(lengths, 1)


@keras.saving.register_keras_serializable("kerass2s")
def mismatch(hypotheses: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
    """Return 0 where the whole output is the reference and 1 elsewhere, `[N, L], [N, T] -> [N]`."""
    return tf.cast(token_error_rate(hypotheses, references) > 0, tf.float32)


# === Risk ===


def expected_cost(log_probs: tf.Tensor, costs: tf.Tensor, alpha: float) -> tf.Tensor:
    """Return the mean over the sources of sum_j Q_j cost_j, Q = softmax(α log p), `[B, n], [B, n] -> []`.

    The approximate risk of Shen et al. 2016, section 3, over the samples. Its gradient in log p_j is, over B,
    α Q_j (cost_j - sum_i Q_i cost_i): up for outputs that cost less than the others, down for those that cost more.
    """
    return tf.reduce_mean(tf.reduce_sum(tf.nn.softmax(alpha * log_probs) * tf.stop_gradient(costs), 1))


class _Sampled(NamedTuple):
    """Input ids [N], state, tokens so far with END [N, L], running bool [N], no alignments."""

    ids: tf.Tensor
    state: Tensors
    tokens: tf.Tensor
    running: tf.Tensor
    alignments: tuple[tf.Tensor, ...] = ()


@keras.saving.register_keras_serializable("kerass2s")
class MinimumRisk(SeededFeeding):
    """Minimises the expected cost of what the model itself says, token after token to its end (Shen et al. 2016).

    "Minimum Risk Training for Neural Machine Translation", arXiv:1512.02433. For each source n outputs are sampled, as
    `FreeRunning` would feed them but drawn; each has a cost against the true target, and the loss is their mean cost
    by Q, the model's distribution over the samples, sharpened by α. The cost needs no gradient: Q has it. The truth
    is never fed: it stands in the cost alone.

    For the target `[7, 8, 9, 5, 6]`, whose last token is the end, α = 1 and three samples:

        sample        log p   Q      token error rate
        7 8 9 5 end   -1.0    0.665  0
        7 4 9 end     -2.0    0.245  2 / 4
        7 8 end       -3.0    0.090  2 / 4                 risk = 0.167

    What is drawn twice counts twice. With a small α, as in the paper, Q is then nearly even, the risk is nearly the
    mean cost of what the model samples, and its gradient is α times that of REINFORCE with the mean cost as baseline.
    Fine-tune a trained model with it: a fresh one samples nothing that is worth more than the rest.

    `fit` shows the risk as `loss`; its other metrics are teacher forced, as is all that `evaluate` shows. Samples are
    drawn without dropout and cut at twice the longest target of the batch; their log-probabilities, in one pass over
    all positions, have it. A step holds the predictions of B n outputs.

    Args:
        metric: the cost, `token_error_rate`, `mismatch` or a function of your own; see `Cost`. Register one of your
            own with `keras.saving.register_keras_serializable` where the model is to be saved compiled.
        samples: n of each source, at least 2; the paper has 100.
        alpha: α, above 0; the paper's 0.005 by default.
        likelihood: by what the compiled loss is added (Wu et al. 2016, section 5, keep a little of it); 0 for the risk
            alone, as in the paper.
        seed: of the draws; None draws one from Python's random numbers, which `keras.utils.set_random_seed` seeds.

    Raises:
        ConfigError: an option out of range, or a metric that cannot be called.
    """

    def __init__(
        self,
        metric: Cost = token_error_rate,
        samples: int = 16,
        alpha: float = 0.005,
        likelihood: float = 0.0,
        seed: int | None = None,
    ) -> None:
        if not callable(metric):
            raise ConfigError(f"metric must be a function, such as token_error_rate. Received: {metric!r}")
        check_whole("samples", samples, LONGEST)
        if samples < 2:
            raise ConfigError(f"samples must be at least 2: a single one has nothing to beat. Received: {samples!r}")
        if alpha <= 0:
            raise ConfigError(f"alpha must be above 0. Received: {alpha!r}")
        if likelihood < 0:
            raise ConfigError(f"likelihood must be at least 0. Received: {likelihood!r}")
        super().__init__(seed)
        self.metric = metric
        self.samples = samples
        self.alpha = alpha
        self.likelihood = likelihood

    def __call__(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> Any:
        """Return teacher-forced predictions, `target [B, T] -> [B, T, V]`, for the metrics and the compiled loss."""
        return decoder.sequence(target, start, training=self.likelihood > 0)

    def objective(self, decoder: Decoder, target: Any, start: Start, step: Any = 0) -> tf.Tensor:
        """Return the risk, `target [B, T] -> []`.

        Raises:
            ConfigError: the decoder is one of vectors, which cannot be sampled.
        """
        target = tf.convert_to_tensor(target)
        if not target.dtype.is_integer:
            raise ConfigError(f"MinimumRisk samples tokens. Received: a target of {target.dtype.name}")
        each = Start(*(tf.nest.map_structure(self._each, part) for part in (start.state, start.memory)))
        true = self._each(target)
        tokens = self._sample(decoder, true, each, self.seed_of(step))

        said = tf.where(tokens == END_ID, PAD_ID, tokens)
        fed = tf.concat([true[:, :1], said[:, :-1]], 1)
        logits = tf.cast(decoder.sequence(fed, each, training=True), tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)
        log_probs = -tf.reduce_sum(tf.where(tokens == PAD_ID, 0.0, losses), 1)
        # A column of padding more, as a batch of empty targets has none at all.
        costs = self.metric(said, tf.pad(true[:, 1:], [[0, 0], [0, 1]], constant_values=PAD_ID))
        by_source = (tf.reshape(values, [-1, self.samples]) for values in (log_probs, costs))
        return expected_cost(*by_source, self.alpha)

    def _each(self, tensor: tf.Tensor) -> tf.Tensor:
        """Repeat a row for each of its samples, `[B, ...] -> [B n, ...]`."""
        return tf.repeat(tensor, self.samples, axis=0)

    def _sample(self, decoder: Decoder, true: tf.Tensor, start: Start, seed: tf.Tensor) -> tf.Tensor:
        """Draw an output for each row, `true [N, T] -> tokens [N, L]` with END, PAD after it."""

        def advance(t: tf.Tensor, carry: _Sampled, output: StepOutput) -> _Sampled:
            drawn = TOKENS["sample"](output.prediction, true.dtype, tf.random.fold_in(seed, t))
            drawn = tf.where(carry.running, drawn, PAD_ID)
            running = carry.running & (drawn != END_ID) & (t + 1 < longest)
            return _Sampled(
                tf.where(running, drawn, PAD_ID), output.state, write(carry.tokens, t, drawn, places), running
            )

        rows, longest = tf.shape(true)[0], 2 * tf.shape(true)[1]
        places = tf.range(longest)
        nothing = tf.fill([rows, longest], tf.cast(PAD_ID, true.dtype))
        first = _Sampled(true[:, 0], start.state, nothing, tf.fill([rows], True))
        tokens = search_loop(decoder.step, start.memory, first, advance).tokens
        return tokens[:, : tf.reduce_max(tf.reduce_sum(tf.cast(tokens != PAD_ID, tf.int32), 1))]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "metric": keras.saving.serialize_keras_object(self.metric),
            "samples": self.samples,
            "alpha": self.alpha,
            "likelihood": self.likelihood,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make one again from `get_config`."""
        return cls(**{**config, "metric": keras.saving.deserialize_keras_object(config["metric"])})
