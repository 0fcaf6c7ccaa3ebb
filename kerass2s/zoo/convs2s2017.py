"""convs2s2017: gated convolutions on both sides, and attention in every layer of the decoder.

Use it where training speed matters and dependencies are mostly local: all positions are trained at once, and the
receptive field grows by the kernel with each layer. It wants more layers and more data than a recurrent model, and a
smaller learning rate (0.001). Positions are learned up to `max_positions`; sources beyond it are read, but not well.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.codec import TextCodec
from kerass2s.decoders import ConvolutionalDecoder
from kerass2s.elements import Tokens
from kerass2s.encoders import ConvolutionalEncoder

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "Jonas Gehring, Michael Auli, David Grangier, Denis Yarats and Yann N. Dauphin (2017). Convolutional Sequence to "
    "Sequence Learning. ICML. arXiv:1705.03122"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores.

    "paper" is the model of WMT'16 English to Romanian, whose layers are all alike. Positions from `max_positions` on
    share one vector. The paper's weight normalisation is left out.
    """

    embedding_size: int = 128
    units: int = 128
    encoder_layers: int = 3
    decoder_layers: int = 3
    kernel_size: int = 3
    max_positions: int = 256
    dropout: float = 0.1


PRESETS = {
    "tiny": Config(embedding_size=8, units=12, encoder_layers=2, decoder_layers=2, max_positions=16),
    "paper": Config(
        embedding_size=512, units=512, encoder_layers=20, decoder_layers=20, max_positions=1024, dropout=0.2
    ),
}


def build(config: Config, codec: TextCodec) -> tuple[ConvolutionalEncoder, ConvolutionalDecoder]:
    """Build encoder and decoder."""
    sizes = {
        "units": config.units,
        "kernel_size": config.kernel_size,
        "max_positions": config.max_positions,
        "dropout": config.dropout,
    }
    encoder = ConvolutionalEncoder(
        Tokens(codec.source_size, config.embedding_size),
        **sizes,
        layers=config.encoder_layers,
        gradient_scale=1 / (2 * config.decoder_layers),  # every attention takes z twice: as key and in the value
    )
    return encoder, ConvolutionalDecoder(
        Tokens(codec.target_size, config.embedding_size),
        config.embedding_size,
        **sizes,
        layers=config.decoder_layers,
    )
