"""cho2014: GRU encoder and decoder; the context is fed to every step and to a maxout readout."""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.decoders import RecurrentDecoder
from kerass2s.encoders import RecurrentEncoder

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Kyunghyun Cho, Bart van Merriënboer, Caglar Gulcehre, Dzmitry Bahdanau, Fethi Bougares, Holger Schwenk and "
    "Yoshua Bengio (2014). Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine "
    "Translation. EMNLP. arXiv:1406.1078"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores."""

    embedding_size: int = 64
    units: int = 128
    readout_units: int = 64
    dropout: float = 0.1


PRESETS = {"paper": Config(embedding_size=100, units=1000, readout_units=500, dropout=0.0)}


def build(config: Config, source_vocabulary: int, target_vocabulary: int) -> tuple[RecurrentEncoder, RecurrentDecoder]:
    """Build encoder and decoder."""
    sizes = {"embedding_size": config.embedding_size, "cell": "gru", "units": config.units}
    encoder = RecurrentEncoder(source_vocabulary, **sizes, dropout=config.dropout, summary="last")
    return encoder, RecurrentDecoder(
        target_vocabulary,
        config.units,
        **sizes,
        dropout=config.dropout,
        bridge="dense",
        readout_units=config.readout_units,
    )
