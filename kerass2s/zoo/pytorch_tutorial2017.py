"""pytorch_tutorial2017: PyTorch's translation tutorial, one GRU each, additive attention from the previous state.

Use it to follow PyTorch's tutorial in Keras: the same layers and the same number of weights, and its coin between the
true and the model's own previous token, which is the default feeding of this entry. For a model of your own start from
`bahdanau2015`, which differs in little and has more to set.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerass2s.attention import AdditiveAttention
from kerass2s.codec import TextCodec
from kerass2s.decoders import AttentionalDecoder, PreviousStateCell, Readout
from kerass2s.elements import Tokens
from kerass2s.encoders import RecurrentEncoder
from kerass2s.recurrence import RecurrentStack
from kerass2s.training import TeacherForcingRatio

__all__ = ["CITATION", "PRESETS", "Config", "build", "feeding"]

CITATION = (
    "Sean Robertson (2017). NLP From Scratch: Translation with a Sequence to Sequence Network and Attention. "
    "PyTorch Tutorials. https://docs.pytorch.org/tutorials/intermediate/seq2seq_translation_tutorial.html"
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default is the tutorial's. `units` is its `hidden_size`, of embeddings, GRUs and attention alike.

    Layers and weights are those of the tutorial's present edition, the redundant biases of its attention included. Its
    first edition had another attention, which gave each position of a source of at most ten tokens a weight of its
    own; the ratio of teacher forcing is the first edition's, while the present one always forces. The tutorial's
    batches are padded to one length that is read to its end, and its loss counts the padding; here it is masked.
    """

    units: int = 128
    dropout: float = 0.1
    teacher_forcing_ratio: float = 0.5


PRESETS = {"tiny": Config(units=12), "paper": Config()}


def build(config: Config, codec: TextCodec) -> tuple[RecurrentEncoder, AttentionalDecoder]:
    """Build encoder and decoder."""
    units = config.units
    encoder = RecurrentEncoder(
        Tokens(codec.source_size, units), cell="gru", units=units, dropout=config.dropout, summary="state"
    )
    target = Tokens(codec.target_size, units)
    return encoder, AttentionalDecoder(
        target,
        units,
        PreviousStateCell(RecurrentStack("gru", units), AdditiveAttention(units, biases=True), units),
        Readout(target.size),
        dropout=config.dropout,
        bridge="pass",
    )


def feeding(config: Config) -> TeacherForcingRatio:
    """Make what the decoder is fed in training: the truth for some of the sequences, its own outputs for the rest."""
    return TeacherForcingRatio(config.teacher_forcing_ratio)
