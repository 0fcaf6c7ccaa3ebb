"""luong2015: stacked LSTM, multiplicative ("general") attention after the recurrence, without input feeding."""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.attention import MultiplicativeAttention
from kerass2s.codec import TextCodec
from kerass2s.decoders import PostAttentionDecoder
from kerass2s.elements import Tokens
from kerass2s.encoders import RecurrentEncoder

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Minh-Thang Luong, Hieu Pham and Christopher D. Manning (2015). Effective Approaches to Attention-based Neural "
    "Machine Translation. EMNLP. arXiv:1508.04025"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores. The encoder may read both ways, which the paper's does not."""

    cell: str = "lstm"
    embedding_size: int = 64
    units: int = 128
    encoder_layers: int = 1
    decoder_layers: int = 1
    bidirectional: bool = True
    residual: bool = False
    dropout: float = 0.1


PRESETS = {
    "tiny": Config(embedding_size=8, units=12),
    "paper": Config(
        embedding_size=1000, units=1000, encoder_layers=4, decoder_layers=4, bidirectional=False, dropout=0.2
    ),
}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, PostAttentionDecoder]:
    """Build encoder and decoder."""
    sizes = {
        "cell": config.cell,
        "units": config.units,
        "dropout": config.dropout,
        "residual": config.residual,
    }
    encoder = RecurrentEncoder(
        Tokens(codec.source_size, config.embedding_size),
        **sizes,
        layers=config.encoder_layers,
        bidirectional=config.bidirectional,
        summary="state",
    )
    return encoder, PostAttentionDecoder(
        Tokens(codec.target_size, config.embedding_size),
        encoder.output["summary"].shape[-1],
        encoder.output["memory"].shape[-1],
        MultiplicativeAttention(config.units),
        **sizes,
        layers=config.decoder_layers,
        bridge="dense",
    )
