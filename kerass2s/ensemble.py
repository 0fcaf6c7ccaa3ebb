"""Ensembles: several models with one vocabulary whose predictions are averaged, searched and exported as one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import tensorflow as tf

from kerass2s.codec import Codec
from kerass2s.context import choose
from kerass2s.decoders.base import Start
from kerass2s.decoding import StepOutput
from kerass2s.errors import ConfigError
from kerass2s.inference import GraphCache, Inference
from kerass2s.seq2seq import Seq2Seq

__all__ = ["ENSEMBLE", "Ensemble", "EnsembleConfig", "codec_owner"]

ENSEMBLE = "ensemble"
"""What stands for the name of an architecture in presets and exports."""


@dataclass(frozen=True)
class EnsembleConfig:
    """What an export says of an ensemble: how it averages, and each member's `architecture` and `config`."""

    average: str
    members: tuple[dict[str, Any], ...]


def codec_owner(architecture: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the architecture and config that a model's codec is made from: those of an ensemble's first member."""
    first = config["members"][0] if architecture == ENSEMBLE else {"architecture": architecture, "config": config}
    return first["architecture"], first["config"]


class Ensemble(Inference):
    """Models of any architectures that read and write alike, averaged at each step of one search.

    With the members' distributions p_i(y_t | y_1 … y_{t-1}, x), i = 1 … n, the ensemble's is

    - "log_probability": their geometric mean, prod_i p_i^{1/n}, divided by its sum over the vocabulary, so that it is
      a distribution and the score of an output is its log-probability. What one member thinks impossible is so.
    - "probability": their arithmetic mean, sum_i p_i / n, as in Sutskever, Vinyals and Le 2014, arXiv:1409.3215. What
      one member is sure of has at least 1/n.

    It generates, scores and exports as a `Seq2Seq` does, and a student can learn from it (`distill`); it is not
    trained: its members are, each by itself. Alignments are the mean of the members' where all have one.

    Args:
        models: one or more; they share a source vocabulary, a target vocabulary and a kind of codec.
        average: "log_probability" or "probability".

    Raises:
        ConfigError: there are no models, one is no `Seq2Seq`, they read or write differently, or they predict vectors.
    """

    def __init__(self, models: Sequence[Seq2Seq], average: str = "log_probability") -> None:
        mean = choose("average", average, AVERAGES)
        _check_alike(models)
        self.members = tuple(models)
        self.average = average
        self.codec = self.members[0].codec
        self.encoder = _Encoders([model.encoder for model in self.members])
        self.decoder = _Decoders([model.decoder for model in self.members], mean)
        self.architecture = ENSEMBLE
        self.config = EnsembleConfig(
            average,
            tuple({"architecture": model.architecture, "config": asdict(model.config)} for model in self.members),
        )
        self._graphs = GraphCache()

    def networks(self) -> list[keras.Model]:
        """Return the members."""
        return list(self.members)

    def rewired_encoder(self, rewire: Callable[[keras.Model], keras.Model]) -> _Encoders:
        """Return the encoders in another wiring, for an exporter."""
        return _Encoders([rewire(model.encoder) for model in self.members])

    @classmethod
    def from_presets(cls, presets: Sequence[Any], average: str = "log_probability") -> Ensemble:
        """Load models from their presets' names or directories.

        Raises:
            PresetError: one of them is not there, or damaged.
            ConfigError: they do not make an ensemble.
        """
        from kerass2s.presets import load_single  # stands above this room

        return cls([load_single(preset) for preset in presets], average)


# === What reads and writes alike ===


def _check_alike(models: Sequence[Any]) -> None:
    wrong = [type(model).__name__ for model in models if not isinstance(model, Seq2Seq)]
    if wrong or not models:
        raise ConfigError(f"An ensemble is made of one or more Seq2Seq models. Received: {', '.join(wrong) or 'none'}")
    first = models[0]
    first.codec.need_tokens("an ensemble")
    expected = _ends(first.codec)
    for number, model in enumerate(models[1:], start=2):
        found = _ends(model.codec)
        differ = [name for name in expected if found.get(name) != expected[name]]
        if differ:
            raise ConfigError(
                f"Models of an ensemble must read and write alike: the {' and the '.join(differ)} of model {number} "
                f"differ from the first's. Received: {first.architecture} and {model.architecture}"
            )


def _ends(codec: Codec) -> dict[str, Any]:
    """Return all that two models must share, by its name for people."""
    return {
        "codec": type(codec),
        **{f"{side} vocabulary": tokenizer.model_proto for side, tokenizer in codec.tokenizers().items()},
        "source size": codec.source_size,
        "source window": codec.window,
    }


# === Averages ===


def _mean_log_probability(log_probs: list[tf.Tensor]) -> tf.Tensor:
    """Average log-probabilities, each [..., V]; the sum of the exponentials is below 1, and the search makes it 1."""
    return tf.add_n(log_probs) / len(log_probs)


def _log_mean_probability(log_probs: list[tf.Tensor]) -> tf.Tensor:
    """Average probabilities, given and returned as logarithms [..., V]."""
    stacked = tf.stack(log_probs)
    most = tf.reduce_max(stacked, axis=0)
    return most + tf.math.log(tf.reduce_mean(tf.exp(stacked - most), axis=0))


AVERAGES = {"log_probability": _mean_log_probability, "probability": _log_mean_probability}


def _named(parts: Sequence[Any]) -> dict[str, Any]:
    """Give each member's part its key."""
    return {f"member_{number}": part for number, part in enumerate(parts)}


class _Encoders:
    """The members' encoders as one: the same source to each, a context of each."""

    def __init__(self, encoders: Sequence[keras.Model]) -> None:
        self._encoders = _named(encoders)

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {name: encoder(inputs) for name, encoder in self._encoders.items()}


class _Decoders:
    """The members' decoders as one: the same tokens to each, the mean of their predictions, a state of each.

    State and memory are dicts of the members' own dicts.
    """

    def __init__(self, decoders: Sequence[Any], mean: Callable[[list[tf.Tensor]], tf.Tensor]) -> None:
        self._decoders = _named(decoders)
        self._mean = mean
        self.target_name = decoders[0].target_name
        self.aligned = all(decoder.aligned for decoder in decoders)

    def begin(self, contexts: dict[str, Any]) -> Start:
        """Make each member's first state of its context."""
        starts = {name: decoder.begin(contexts[name]) for name, decoder in self._decoders.items()}
        return Start(*({name: getattr(start, part) for name, start in starts.items()} for part in ("state", "memory")))

    def sequence(self, target: Any, start: Start) -> Any:
        """Run teacher forced, `target [B, T]` (shifted right) `-> logits [B, T, V]`."""
        return self._averaged(
            decoder.sequence(target, Start(start.state[name], start.memory[name]))
            for name, decoder in self._decoders.items()
        )

    def step(self, target: Any, state: dict[str, Any], memory: dict[str, Any]) -> StepOutput:
        """Run one position, `target [N] -> logits [N, V], next states, mean alignment [N, S] if all have one`."""
        made = {name: decoder.step(target, state[name], memory[name]) for name, decoder in self._decoders.items()}
        return StepOutput(
            self._averaged(output.prediction for output in made.values()),
            {name: output.state for name, output in made.items()},
            tf.add_n([output.alignment for output in made.values()]) / len(made) if self.aligned else None,
        )

    def _averaged(self, predictions: Any) -> tf.Tensor:
        return self._mean([tf.nn.log_softmax(tf.cast(each, tf.float32), axis=-1) for each in predictions])
