"""hard_monotonic2019: hard attention to one source position per output, moving rightwards, marginalised exactly.

Use it where the target follows the source from left to right: inflection, transliteration, pronunciation,
normalisation, and where there are few pairs, since the order need not be learned. Every output looks at exactly one
source position, which the alignment shows. It cannot reorder: with `transitions="free"` it can, and then it has no
order to help it. Cost: an output distribution for each source position, [B, T, S, V], so keep vocabularies small.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.codec import TextCodec
from kerass2s.decoders import HardAttentionDecoder
from kerass2s.dropout import Dropping
from kerass2s.elements import Tokens
from kerass2s.encoders import RecurrentEncoder

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Shijie Wu and Ryan Cotterell (2019). Exact Hard Monotonic Attention for Character-Level Transduction. ACL. "
    "arXiv:1905.06319"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores. `units` is U of one direction and of the decoder.

    `transitions` is "free" (0-HARD), "monotonic" (0-MONO) or "jumps" (1-MONO, of at most `longest_jump`).

    No part of the paper, and off: `recurrent_dropout` and `variational_dropout` hold one mask a sequence (Gal and
    Ghahramani 2016).
    """

    cell: str = "lstm"
    embedding_size: int = 64
    units: int = 128
    readout_units: int = 128
    encoder_layers: int = 1
    decoder_layers: int = 1
    transitions: str = "monotonic"
    longest_jump: int = 5
    dropout: float = 0.1
    recurrent_dropout: float = 0.0
    variational_dropout: bool = False


# "paper" has the sizes of the authors' runs on grapheme-to-phoneme conversion (github.com/shijie-wu/neural-transducer,
# example/hard-monotonic-attention); their window of 11 relative positions is jumps up to 5 when none goes left.
PRESETS = {
    "tiny": Config(embedding_size=8, units=12, readout_units=10),
    "paper": Config(embedding_size=200, units=400, readout_units=1200, encoder_layers=2, dropout=0.4),
}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, HardAttentionDecoder]:
    """Build encoder and decoder."""
    dropping = Dropping(config.dropout, config.recurrent_dropout, config.variational_dropout)
    sizes = {"cell": config.cell, "units": config.units, "dropout": dropping}
    encoder = RecurrentEncoder(
        Tokens(codec.source_size, config.embedding_size), **sizes, layers=config.encoder_layers, bidirectional=True
    )
    return encoder, HardAttentionDecoder(
        Tokens(codec.target_size, config.embedding_size),
        encoder.output["memory"].shape[-1],
        **sizes,
        layers=config.decoder_layers,
        readout_units=config.readout_units,
        transitions=config.transitions,
        longest_jump=config.longest_jump,
    )
