"""pointer_generator2017: attention that may also copy its source token, so that unknown words come through.

Use it where parts of the source come through unchanged: names, numbers, codes, rare words, summaries. Tokens that
neither vocabulary has can still be copied, in the live model and in every export. `coverage` (with its loss) keeps long
outputs from repeating themselves. Source and target are spelled in the same script and with the same kind of tokenizer,
or there is nothing to copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kerass2s.attention import AdditiveAttention
from kerass2s.codec import CopyCodec
from kerass2s.decoders import AttentionalDecoder, PointerCell, PointerReadout
from kerass2s.dropout import Dropping
from kerass2s.elements import OpenTokens
from kerass2s.encoders import PointingEncoder
from kerass2s.recurrence import RecurrentStack
from kerass2s.text import SentencePieceTokenizer

__all__ = ["CITATION", "PRESETS", "Config", "build", "codec"]

CITATION = (
    "Abigail See, Peter J. Liu and Christopher D. Manning (2017). Get To The Point: Summarization with "
    "Pointer-Generator Networks. ACL. arXiv:1704.04368"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores. `units` is U of one direction and of the decoder.

    With `coverage` the attention sees what it has attended to, and is trained not to repeat it by `coverage_weight`.

    No part of the paper, and off: `recurrent_dropout` and `variational_dropout` hold one mask a sequence (Gal and
    Ghahramani 2016); `tie_embeddings` predicts by the target's embedding (Press and Wolf 2017), whose `embedding_size`
    must then be `units`.
    """

    embedding_size: int = 64
    units: int = 128
    attention_units: int = 128
    coverage: bool = False
    coverage_weight: float = 1.0
    dropout: float = 0.1
    recurrent_dropout: float = 0.0
    variational_dropout: bool = False
    tie_embeddings: bool = False


# The paper uses one embedding on both sides, this has one on each. Its coverage came in at the end of training.
PRESETS = {
    "tiny": Config(embedding_size=8, units=12, attention_units=10),
    "paper": Config(embedding_size=128, units=256, attention_units=512, coverage=True, dropout=0.0),
}


def codec(
    config: Config, source_tokenizer: SentencePieceTokenizer | None, target_tokenizer: SentencePieceTokenizer | None
) -> CopyCodec:
    """Make the codec that gives unknown source tokens ids of their own."""
    return CopyCodec("pointer_generator2017", source_tokenizer, target_tokenizer)


def build(config: Config, codec: CopyCodec) -> tuple[PointingEncoder, AttentionalDecoder]:
    """Build encoder and decoder."""
    dropping = Dropping(config.dropout, config.recurrent_dropout, config.variational_dropout)
    encoder = PointingEncoder(
        OpenTokens(codec.source_size, config.embedding_size),
        codec.copy_table(),
        codec.target_size,
        units=config.units,
        dropout=dropping,
    )
    cell = PointerCell(
        RecurrentStack("lstm", config.units, dropout=replace(dropping, rate=0.0)),
        AdditiveAttention(config.attention_units),
        2 * config.units,
        input_size=config.embedding_size,
        coverage=config.coverage,
    )
    readout = PointerReadout(
        codec.target_size,
        config.units,
        dropout=dropping,
        coverage=config.coverage_weight if config.coverage else None,
    )
    return encoder, AttentionalDecoder(
        OpenTokens(codec.target_size, config.embedding_size),
        2 * config.units,
        cell,
        readout,
        dropout=dropping,
        bridge="pass",
        tie_embeddings=config.tie_embeddings,
    )
