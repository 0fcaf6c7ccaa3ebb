"""transformer2017: attention alone, between and within source and target; every position is trained at once.

Use it where there is much data, or long-range structure: it is the model that others are measured against, and all
positions are trained at once. With a few thousand pairs a recurrent model usually learns more quickly; keep the norm
before each block (`norm="pre"`) and the learning rate near 0.001, or warm it up over some hundred steps for
`norm="post"`. Searching keeps the keys and values of the past in a cache.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.codec import TextCodec
from kerass2s.decoders import TransformerDecoder
from kerass2s.elements import Tokens
from kerass2s.encoders import TransformerEncoder

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Ashish Vaswani, Noam Shazeer, Niki Parmar, Jakob Uszkoreit, Llion Jones, Aidan N. Gomez, Łukasz Kaiser and Illia "
    "Polosukhin (2017). Attention Is All You Need. NeurIPS. arXiv:1706.03762"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores. `layers` is the depth of the encoder and of the decoder.

    The paper normalises after each residual ("post"), which needs a warm-up of the learning rate; the default does so
    before ("pre"). The paper shares one table between source, target and output; source and target have their own
    vocabularies here, so `tie_embeddings` shares that of target and output.
    """

    units: int = 128
    heads: int = 4
    feed_forward_units: int = 256
    layers: int = 2
    dropout: float = 0.1
    norm: str = "pre"
    tie_embeddings: bool = True


PRESETS = {
    "tiny": Config(units=12, heads=3, feed_forward_units=16),
    "paper": Config(units=512, heads=8, feed_forward_units=2048, layers=6, norm="post"),
    "paper_big": Config(units=1024, heads=16, feed_forward_units=4096, layers=6, dropout=0.3, norm="post"),
}


def build(config: Config, codec: TextCodec) -> tuple[TransformerEncoder, TransformerDecoder]:
    """Build encoder and decoder."""
    sizes = {
        "units": config.units,
        "heads": config.heads,
        "feed_forward_units": config.feed_forward_units,
        "layers": config.layers,
        "dropout": config.dropout,
        "norm": config.norm,
    }
    return TransformerEncoder(Tokens(codec.source_size, config.units), **sizes), TransformerDecoder(
        Tokens(codec.target_size, config.units), config.units, **sizes, tie_embeddings=config.tie_embeddings
    )
