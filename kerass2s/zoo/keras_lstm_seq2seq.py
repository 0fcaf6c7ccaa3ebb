"""keras_lstm_seq2seq: Keras' own character-level example, one LSTM starting another, characters as one-hot vectors.

Use it to take code or habits from the well-known Keras example along: its layers and its number of weights, with
padding masked, a search, and exports around them. It has no attention and no embedding; after it, try `luong2015` with
characters.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.codec import TextCodec
from kerass2s.decoders import RecurrentDecoder
from kerass2s.elements import OneHotTokens
from kerass2s.encoders import RecurrentEncoder

__all__ = ["CITATION", "PRESETS", "Config", "build"]

CITATION = (
    "François Chollet (2017). Character-level recurrent sequence-to-sequence model. Keras code examples. "
    "https://keras.io/examples/nlp/lstm_seq2seq/"
)


@dataclass(frozen=True)
class Config:
    """The example's one size; meant for tokenizers of characters.

    Layers and weights are the example's: LSTM, LSTM from its final (h, c), softmax layer. What differs is around them.
    The example pads both sides with the character " " and masks nothing, so that its encoder reads the padding and its
    loss counts it; here padding is masked. Its start and end are a tab and a line feed, of the target alone; here a
    source has its end too.
    """

    units: int = 256


PRESETS = {"tiny": Config(units=12), "paper": Config()}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, RecurrentDecoder]:
    """Build encoder and decoder."""
    sizes = {"cell": "lstm", "units": config.units}
    encoder = RecurrentEncoder(OneHotTokens(codec.source_size), **sizes, summary="state")
    return encoder, RecurrentDecoder(OneHotTokens(codec.target_size), 2 * config.units, **sizes, bridge="pass")
