"""sutskever2014: a deep LSTM whose final states start another one; the source is read from its end.

Use it to see what a fixed context can carry: the whole source must pass through the encoder's final states, so quality
falls with length. It is the simplest model of the zoo, trains at the full speed of the recurrent layers, and its
encoder gives one vector for a sentence. Reading the source from its end brings the first source tokens close to the
first target tokens; switch `reverse_source` off where the two sides do not run in the same direction.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.codec import TextCodec
from kerass2s.decoders import RecurrentDecoder
from kerass2s.dropout import Dropping
from kerass2s.elements import Tokens
from kerass2s.encoders import RecurrentEncoder

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Ilya Sutskever, Oriol Vinyals and Quoc V. Le (2014). Sequence to Sequence Learning with Neural Networks. "
    "NeurIPS. arXiv:1409.3215"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores.

    With the paper's vocabularies, 160,000 and 80,000 words, its preset has the 384 million weights of section 3.4.

    No part of the paper, and off: `recurrent_dropout` and `variational_dropout` hold one mask a sequence (Gal and
    Ghahramani 2016); `tie_embeddings` predicts by the target's embedding (Press and Wolf 2017), whose `embedding_size`
    must then be `units`.
    """

    embedding_size: int = 64
    units: int = 128
    layers: int = 2
    dropout: float = 0.1
    recurrent_dropout: float = 0.0
    variational_dropout: bool = False
    tie_embeddings: bool = False
    reverse_source: bool = True


PRESETS = {
    "tiny": Config(embedding_size=8, units=12),
    "paper": Config(embedding_size=1000, units=1000, layers=4, dropout=0.0),
}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, RecurrentDecoder]:
    """Build encoder and decoder."""
    dropping = Dropping(config.dropout, config.recurrent_dropout, config.variational_dropout)
    sizes = {"cell": "lstm", "units": config.units, "layers": config.layers, "dropout": dropping}
    encoder = RecurrentEncoder(
        Tokens(codec.source_size, config.embedding_size),
        **sizes,
        summary="state",
        reverse=config.reverse_source,
    )
    summary_size = encoder.output["summary"].shape[-1]
    return encoder, RecurrentDecoder(
        Tokens(codec.target_size, config.embedding_size),
        summary_size,
        **sizes,
        bridge="pass",
        tie_embeddings=config.tie_embeddings,
    )
