"""listen_attend2016: a pyramidal listener over frames of features, and a speller that attends and writes text.

Use it for speech, sensor data, handwriting or any frames of features that end in text, where the source is many times
longer than the target: each layer of the pyramid halves the time that is attended to. Sources are float arrays [S, N];
normalise each feature to mean 0 and deviation 1 before training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from kerass2s.attention import DotAttention
from kerass2s.codec import VectorTextCodec
from kerass2s.decoders import AttentionalDecoder, DenseReadout, FeedingCell, Readout
from kerass2s.dropout import Dropping
from kerass2s.elements import OneHotTokens, Vectors
from kerass2s.encoders import PyramidalEncoder
from kerass2s.recurrence import RecurrentStack
from kerass2s.text import SentencePieceTokenizer

__all__ = ["CITATION", "PRESETS", "Config", "build", "codec"]

CITATION = (
    "William Chan, Navdeep Jaitly, Quoc V. Le and Oriol Vinyals (2016). Listen, Attend and Spell: A Neural Network "
    "for Large Vocabulary Conversational Speech Recognition. ICASSP. arXiv:1508.01211"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores. `units` is U of one direction of the listener.

    The paper states 40 log-mel features a frame, three pyramidal layers of 512 nodes (256 a direction) on a
    bidirectional LSTM, and a speller of two LSTMs of 512. It does not state the sizes of the networks phi, psi and of
    the readout; here they have the speller's width in "paper".

    No part of the paper, and off: `recurrent_dropout` and `variational_dropout` hold one mask a sequence (Gal and
    Ghahramani 2016).
    """

    source_size: int = 40
    units: int = 64
    pyramid_layers: int = 2
    speller_units: int = 128
    speller_layers: int = 1
    attention_units: int = 64
    readout_units: int = 64
    dropout: float = 0.1
    recurrent_dropout: float = 0.0
    variational_dropout: bool = False


PRESETS = {
    "tiny": Config(
        source_size=3, units=6, speller_units=12, speller_layers=2, attention_units=10, readout_units=8, dropout=0.0
    ),
    "paper": Config(
        units=256,
        pyramid_layers=3,
        speller_units=512,
        speller_layers=2,
        attention_units=512,
        readout_units=512,
        dropout=0.0,
    ),
}


@keras.saving.register_keras_serializable("kerass2s")
class ContentAttention(DotAttention):
    """Dot-product attention of two networks, e_{i,u} = <phi(s_i), psi(h_u)> (section 3.2, equations 9 to 11).

    Each has a hidden layer of tanh and a linear one; psi's has no bias, which the softmax would not see.
    """

    def __init__(self, units: int, name: str = "attention", **options: Any) -> None:
        super().__init__(units, name=name, **options)
        self.phi = [keras.layers.Dense(units, "tanh", name="phi_hidden"), keras.layers.Dense(units, name="phi")]
        self.psi = [
            keras.layers.Dense(units, "tanh", name="psi_hidden"),
            keras.layers.Dense(units, use_bias=False, name="psi"),
        ]

    def project(self, memory: Any) -> Any:
        """Make the keys psi(h), `memory [B, S, M] -> keys [B, S, units]`."""
        hidden, linear = self.psi
        return linear(hidden(memory))

    def score(self, query: Any, keys: Any) -> Any:
        """Score by phi(s), `query [B, T, U], keys [B, S, units] -> [B, T, S]`."""
        hidden, linear = self.phi
        return super().score(linear(hidden(query)), keys)


def codec(
    config: Config, source_tokenizer: SentencePieceTokenizer | None, target_tokenizer: SentencePieceTokenizer | None
) -> VectorTextCodec:
    """Make the codec, vectors to text; the sources need no tokenizer."""
    window = 2**config.pyramid_layers
    return VectorTextCodec("listen_attend2016", config.source_size, target_tokenizer, window)


def build(config: Config, codec: VectorTextCodec) -> tuple[PyramidalEncoder, AttentionalDecoder]:
    """Build listener and speller.

    The speller: s_i = RNN(s_{i-1}, y_{i-1}, c_{i-1}), c_i = AttentionContext(s_i, h) and a network of [s_i; c_i] that
    reads out the characters (section 3.2, equations 6 to 8). It begins with zeros, and y is one-hot.
    """
    dropping = Dropping(config.dropout, config.recurrent_dropout, config.variational_dropout)
    listener = PyramidalEncoder(
        Vectors(codec.source_size), units=config.units, layers=config.pyramid_layers, dropout=dropping
    )
    stack = RecurrentStack("lstm", config.speller_units, config.speller_layers, dropping)
    memory_size = 2 * config.units
    return listener, AttentionalDecoder(
        OneHotTokens(codec.target_size),
        memory_size,
        FeedingCell(stack, ContentAttention(config.attention_units), memory_size),
        Readout(codec.target_size, DenseReadout(config.readout_units), dropping),
        bridge="zero",
    )
