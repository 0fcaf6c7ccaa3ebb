"""cho2014: GRU encoder and decoder; the context is fed to every step and to a maxout readout.

Use it as the step between `sutskever2014` and attention: the context is still one vector, but the decoder sees it at
every step, so it need not remember it. Good for short sequences and for small models, and where a score of a given pair
is wanted (the paper scored phrase pairs with it).
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
    "Kyunghyun Cho, Bart van Merriënboer, Caglar Gulcehre, Dzmitry Bahdanau, Fethi Bougares, Holger Schwenk and "
    "Yoshua Bengio (2014). Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine "
    "Translation. EMNLP. arXiv:1406.1078"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores.

    The context c is h_N itself, without the layer tanh(V h_N) of the paper's appendix. The decoder's candidate takes
    C c outside the reset gate, and Keras' GRU applies that gate after the recurrent product, not before.

    No part of the paper, and off: `recurrent_dropout` and `variational_dropout` hold one mask a sequence (Gal and
    Ghahramani 2016); `tie_embeddings` predicts by the target's embedding (Press and Wolf 2017), whose `embedding_size`
    must then be `readout_units`.
    """

    embedding_size: int = 64
    units: int = 128
    readout_units: int = 64
    dropout: float = 0.1
    recurrent_dropout: float = 0.0
    variational_dropout: bool = False
    tie_embeddings: bool = False


PRESETS = {
    "tiny": Config(embedding_size=8, units=12, readout_units=6),
    "paper": Config(embedding_size=100, units=1000, readout_units=500, dropout=0.0),
}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, RecurrentDecoder]:
    """Build encoder and decoder."""
    dropping = Dropping(config.dropout, config.recurrent_dropout, config.variational_dropout)
    sizes = {"cell": "gru", "units": config.units, "dropout": dropping}
    encoder = RecurrentEncoder(Tokens(codec.source_size, config.embedding_size), **sizes, summary="last")
    return encoder, RecurrentDecoder(
        Tokens(codec.target_size, config.embedding_size),
        config.units,
        **sizes,
        bridge="dense",
        readout_units=config.readout_units,
        tie_embeddings=config.tie_embeddings,
    )
