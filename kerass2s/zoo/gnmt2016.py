"""gnmt2016: deep residual LSTMs; the bottom decoder layer asks the memory, and every layer is told the answer.

Use it for translation with much data and a deep stack: residual connections keep eight layers trainable, and since only
the bottom decoder layer asks the memory, the layers above add depth at little cost. With a few thousand pairs it is no
better than `luong2015`.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.attention import AdditiveAttention
from kerass2s.codec import TextCodec
from kerass2s.decoders import AttentionalDecoder, PreviousStateCell, Readout
from kerass2s.dropout import Dropping
from kerass2s.elements import Tokens
from kerass2s.encoders import RecurrentEncoder
from kerass2s.recurrence import RecurrentStack

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Yonghui Wu, Mike Schuster, Zhifeng Chen, Quoc V. Le, Mohammad Norouzi et al. (2016). Google's Neural Machine "
    "Translation System: Bridging the Gap between Human and Machine Translation. arXiv:1609.08144"
)

RESIDUAL = 2
"""Residual connections start at the third layer from the bottom, in encoder and decoder (section 3.1, figure 1)."""


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores. `layers` is the depth of the encoder and that of the decoder.

    The encoder's bottom layer reads both ways, U each (section 3.2). Equation 4 is an additive attention with one
    hidden layer, asked by the bottom decoder layer's previous output. The paper does not say what the decoder starts
    from: here it is zeros, so that all it knows of the source comes by attention.

    No part of the paper, and off: `recurrent_dropout` and `variational_dropout` hold one mask a sequence (Gal and
    Ghahramani 2016); `tie_embeddings` predicts by the target's embedding (Press and Wolf 2017), whose `embedding_size`
    must then be `units`.
    """

    embedding_size: int = 64
    units: int = 128
    attention_units: int = 128
    layers: int = 3
    dropout: float = 0.1
    recurrent_dropout: float = 0.0
    variational_dropout: bool = False
    tie_embeddings: bool = False


PRESETS = {
    "tiny": Config(embedding_size=8, units=12, attention_units=10),
    # 8 layers of 1024 nodes, 1024 in the attention's hidden layer, and the dropout for WMT English to French. The
    # paper does not give the width of its embeddings, which is taken to be that of its layers.
    "paper": Config(embedding_size=1024, units=1024, attention_units=1024, layers=8, dropout=0.2),
}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, AttentionalDecoder]:
    """Build encoder and decoder."""
    dropping = Dropping(config.dropout, config.recurrent_dropout, config.variational_dropout)
    sizes = {"cell": "lstm", "units": config.units, "dropout": dropping, "residual": RESIDUAL}
    encoder = RecurrentEncoder(
        Tokens(codec.source_size, config.embedding_size),
        **sizes,
        bidirectional=True,
        upper_layers=config.layers - 1,
    )
    summary_size, memory_size = (encoder.output[name].shape[-1] for name in ("summary", "memory"))
    target = Tokens(codec.target_size, config.embedding_size)
    return encoder, AttentionalDecoder(
        target,
        summary_size,
        PreviousStateCell(RecurrentStack(**sizes), AdditiveAttention(config.attention_units), memory_size),
        Readout(target.size, dropout=dropping),
        upper=RecurrentStack(**sizes, layers=config.layers - 1, below=1) if config.layers > 1 else None,
        bridge="zero",
        tie_embeddings=config.tie_embeddings,
    )
