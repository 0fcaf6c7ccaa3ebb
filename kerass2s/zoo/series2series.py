"""series2series: a recurrent encoder and decoder of real-valued vectors, such as a series and how it goes on.

Use it to continue a series, or to turn one real-valued sequence into another: `generate` runs free for any horizon, in
the live model and in the exports. Choose the loss in `compile` (squared error by default, absolute or Huber where there
are outliers). Scale each feature to mean 0 and deviation 1 first, and compare with the last value and with a seasonal
mean: a network that does not beat those is not worth its keep.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.codec import SeriesCodec
from kerass2s.decoders import RecurrentDecoder
from kerass2s.dropout import Dropping
from kerass2s.elements import Vectors
from kerass2s.encoders import RecurrentEncoder
from kerass2s.text import SentencePieceTokenizer

__all__ = ["CITATION", "PRESETS", "Config", "build", "codec"]

CITATION = (
    "The encoder and decoder of Ilya Sutskever, Oriol Vinyals and Quoc V. Le (2014), Sequence to Sequence Learning "
    "with Neural Networks, NeurIPS, arXiv:1409.3215, over real-valued vectors, fed back as Alex Graves (2013), "
    "Generating Sequences With Recurrent Neural Networks, arXiv:1308.0850, does it. No paper of its own; see Ian "
    "Goodfellow, Yoshua Bengio and Aaron Courville (2016), Deep Learning, MIT Press, section 10.4"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores.

    `first` is what the decoder is fed before its first output: "last", the first `target_size` features of the last
    observed vector, or "zeros". The preset "paper" has the four layers of 1000 cells of Sutskever et al. (2014).

    Off by default: `recurrent_dropout` and `variational_dropout` hold one mask a sequence (Gal and Ghahramani 2016).
    """

    source_size: int = 1
    target_size: int = 1
    first: str = "last"
    cell: str = "lstm"
    units: int = 64
    layers: int = 1
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    variational_dropout: bool = False


PRESETS = {
    "tiny": Config(source_size=3, target_size=2, units=10, layers=2),
    "paper": Config(units=1000, layers=4),
}


def codec(
    config: Config, source_tokenizer: SentencePieceTokenizer | None, target_tokenizer: SentencePieceTokenizer | None
) -> SeriesCodec:
    """Make the codec, vectors to vectors; there is nothing to tokenise."""
    return SeriesCodec(config.source_size, config.target_size, config.first)


def build(config: Config, codec: SeriesCodec) -> tuple[RecurrentEncoder, RecurrentDecoder]:
    """Build encoder and decoder; the final states of the one are the first of the other."""
    dropping = Dropping(config.dropout, config.recurrent_dropout, config.variational_dropout)
    sizes = {"cell": config.cell, "units": config.units, "layers": config.layers, "dropout": dropping}
    encoder = RecurrentEncoder(Vectors(codec.source_size), **sizes, summary="state")
    summary_size = encoder.output["summary"].shape[-1]
    return encoder, RecurrentDecoder(Vectors(codec.target_size), summary_size, **sizes, bridge="pass")
