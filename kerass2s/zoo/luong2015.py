"""luong2015: stacked LSTM, attention asked by the new state, global or local, with or without input feeding.

Use it as the first model to try on anything: by default attention stands after the recurrence, so that training runs
all positions at once, and it is the fastest recurrent model with attention here. `input_feeding` lets the decoder know
what it attended to, at the price of a step-by-step recurrence; `local_p` suits long sources that are read more or less
in order.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras

from kerass2s.attention import SCORES, LocalAttention
from kerass2s.codec import TextCodec
from kerass2s.context import choose
from kerass2s.decoders import AttentionalDecoder, Decoder, FeedingCell, PostAttentionDecoder, Readout
from kerass2s.dropout import Dropping
from kerass2s.elements import Tokens
from kerass2s.encoders import RecurrentEncoder
from kerass2s.recurrence import RecurrentStack

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Minh-Thang Luong, Hieu Pham and Christopher D. Manning (2015). Effective Approaches to Attention-based Neural "
    "Machine Translation. EMNLP. arXiv:1508.04025"
)


@dataclass(frozen=True)
class Config:
    """Sizes and choices; the default trains on 2 cores.

    `attention` is the score of equation 8: "dot", "general" or "concat". `alignment` is "global" (section 3.1) or
    "local_p" (section 3.2: a predicted position, `window` D to each side, equations 9 and 10). With `input_feeding`
    (section 3.3) the attentional vector of equation 5 is part of the next step's input; without it training runs all
    positions at once. `activation` of that vector is the paper's "tanh", or "linear", as where TensorFlow Addons'
    AttentionWrapper has an `attention_layer_size`. The encoder may read both ways and the layers may have residual
    connections, which the paper's do not. The paper's `bridge` passes the encoder's final states on, which needs two
    stacks of one shape.

    No part of the paper, and off: `recurrent_dropout` and `variational_dropout` hold one mask a sequence (Gal and
    Ghahramani 2016); `tie_embeddings` predicts by the target's embedding (Press and Wolf 2017), whose `embedding_size`
    must then be `units`.
    """

    cell: str = "lstm"
    embedding_size: int = 64
    units: int = 128
    encoder_layers: int = 1
    decoder_layers: int = 1
    bidirectional: bool = True
    reverse_source: bool = False
    residual: bool = False
    attention: str = "general"
    alignment: str = "global"
    window: int = 10
    input_feeding: bool = False
    activation: str = "tanh"
    bridge: str = "dense"
    dropout: float = 0.1
    recurrent_dropout: float = 0.0
    variational_dropout: bool = False
    tie_embeddings: bool = False


PRESETS = {
    "tiny": Config(embedding_size=8, units=12),
    # Section 4.1, and of table 1 the best single model: reversed source, dropout, local-p (general), input feeding.
    "paper": Config(
        embedding_size=1000,
        units=1000,
        encoder_layers=4,
        decoder_layers=4,
        bidirectional=False,
        reverse_source=True,
        alignment="local_p",
        input_feeding=True,
        bridge="pass",
        dropout=0.2,
    ),
}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, Decoder]:
    """Build encoder and decoder."""
    dropping = Dropping(config.dropout, config.recurrent_dropout, config.variational_dropout)
    sizes = {
        "cell": config.cell,
        "units": config.units,
        "dropout": dropping,
        "residual": int(config.residual),
    }
    encoder = RecurrentEncoder(
        Tokens(codec.source_size, config.embedding_size),
        **sizes,
        layers=config.encoder_layers,
        bidirectional=config.bidirectional,
        summary="state",
        reverse=config.reverse_source,
    )
    summary_size, memory_size = (encoder.output[name].shape[-1] for name in ("summary", "memory"))
    attention = choose("attention", config.attention, SCORES)(config.units)
    if choose("alignment", config.alignment, {"global": False, "local_p": True}):
        attention = LocalAttention(attention, config.units, config.window)
    activation = choose("activation", config.activation, {"tanh": "tanh", "linear": None})
    combine = keras.layers.Dense(config.units, activation, name="combine")
    target = Tokens(codec.target_size, config.embedding_size)
    ends = {"bridge": config.bridge, "tie_embeddings": config.tie_embeddings}
    if not config.input_feeding:
        return encoder, PostAttentionDecoder(
            target, summary_size, memory_size, attention, combine, **sizes, layers=config.decoder_layers, **ends
        )
    cell = FeedingCell(
        RecurrentStack(**sizes, layers=config.decoder_layers),
        attention,
        memory_size,
        feed=combine,
    )
    readout = Readout(target.size, dropout=dropping)
    return encoder, AttentionalDecoder(target, summary_size, cell, readout, **ends)
