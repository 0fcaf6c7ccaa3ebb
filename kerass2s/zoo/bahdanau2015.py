"""bahdanau2015: bidirectional encoder, additive attention computed from the previous state, inside the recurrence."""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.attention import AdditiveAttention
from kerass2s.codec import TextCodec
from kerass2s.decoders import AttentionalDecoder
from kerass2s.elements import Tokens
from kerass2s.encoders import RecurrentEncoder

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Dzmitry Bahdanau, Kyunghyun Cho and Yoshua Bengio (2015). Neural Machine Translation by Jointly Learning to "
    "Align and Translate. ICLR. arXiv:1409.0473"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores. `units` is U of one direction and of the decoder."""

    cell: str = "gru"
    embedding_size: int = 64
    units: int = 128
    attention_units: int = 128
    readout_units: int = 64
    encoder_layers: int = 1
    dropout: float = 0.1


PRESETS = {
    "tiny": Config(embedding_size=8, units=12, attention_units=10, readout_units=6),
    "paper": Config(embedding_size=620, units=1000, attention_units=1000, readout_units=500, dropout=0.0),
}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, AttentionalDecoder]:
    """Build encoder and decoder."""
    sizes = {"cell": config.cell, "units": config.units}
    encoder = RecurrentEncoder(
        Tokens(codec.source_size, config.embedding_size),
        **sizes,
        layers=config.encoder_layers,
        bidirectional=True,
        dropout=config.dropout,
        summary="both_ends",
    )
    return encoder, AttentionalDecoder(
        Tokens(codec.target_size, config.embedding_size),
        4 * config.units,
        2 * config.units,
        AdditiveAttention(config.attention_units),
        **sizes,
        readout_units=config.readout_units,
        dropout=config.dropout,
    )
