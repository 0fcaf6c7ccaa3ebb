"""bahdanau2015: bidirectional encoder, additive attention computed from the previous state, inside the recurrence.

Use it where the alignment matters, or where outputs are long compared with the model: the recurrence sees what it
attended to. It is a safe first choice for pronunciation, transliteration and short translation. Its recurrence runs
step by step in training, so it is slower to train than `luong2015` without input feeding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kerass2s.attention import AdditiveAttention
from kerass2s.codec import TextCodec
from kerass2s.decoders import AttentionalDecoder, MaxoutReadout, PreviousStateCell, Readout
from kerass2s.dropout import Dropping
from kerass2s.elements import Tokens
from kerass2s.encoders import RecurrentEncoder
from kerass2s.recurrence import RecurrentStack

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Dzmitry Bahdanau, Kyunghyun Cho and Yoshua Bengio (2015). Neural Machine Translation by Jointly Learning to "
    "Align and Translate. ICLR. arXiv:1409.0473"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores. `units` is U of one direction and of the decoder.

    s_0 = tanh(W_s h_1), h_1 of the backward reading, as in appendix A.2.2. The readout sees s_i where the appendix has
    s_{i-1}, and Keras' GRU applies the reset gate after the recurrent product, not before.

    No part of the paper, and off: `recurrent_dropout` and `variational_dropout` hold one mask a sequence (Gal and
    Ghahramani 2016); `tie_embeddings` predicts by the target's embedding (Press and Wolf 2017), whose `embedding_size`
    must then be `readout_units`.
    """

    cell: str = "gru"
    embedding_size: int = 64
    units: int = 128
    attention_units: int = 128
    readout_units: int = 64
    encoder_layers: int = 1
    dropout: float = 0.1
    recurrent_dropout: float = 0.0
    variational_dropout: bool = False
    tie_embeddings: bool = False


PRESETS = {
    "tiny": Config(embedding_size=8, units=12, attention_units=10, readout_units=6),
    "paper": Config(embedding_size=620, units=1000, attention_units=1000, readout_units=500, dropout=0.0),
}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, AttentionalDecoder]:
    """Build encoder and decoder."""
    sizes = {"cell": config.cell, "units": config.units}
    dropping = Dropping(config.dropout, config.recurrent_dropout, config.variational_dropout)
    encoder = RecurrentEncoder(
        Tokens(codec.source_size, config.embedding_size),
        **sizes,
        layers=config.encoder_layers,
        bidirectional=True,
        dropout=dropping,
        summary="first_backward",
    )
    target = Tokens(codec.target_size, config.embedding_size)
    return encoder, AttentionalDecoder(
        target,
        config.units,
        PreviousStateCell(
            RecurrentStack(**sizes, dropout=replace(dropping, rate=0.0)),
            AdditiveAttention(config.attention_units),
            2 * config.units,
        ),
        Readout(target.size, MaxoutReadout(config.readout_units), dropping),
        dropout=dropping,
        tie_embeddings=config.tie_embeddings,
    )
