"""Decoders: one set of layers, run over a whole target (training) or one position at a time (search)."""

from kerass2s.decoders.attentional import AttentionalDecoder, AttentiveCell, FeedingCell, PreviousStateCell
from kerass2s.decoders.base import Decoder, DenseReadout, MaxoutReadout, Readout
from kerass2s.decoders.convolutional import ConvolutionalDecoder
from kerass2s.decoders.monotonic import HardAttentionDecoder
from kerass2s.decoders.pointer import PointerCell, PointerReadout
from kerass2s.decoders.recurrent import PostAttentionDecoder, RecurrentDecoder
from kerass2s.decoders.transformer import TransformerDecoder

__all__ = [
    "AttentionalDecoder",
    "AttentiveCell",
    "ConvolutionalDecoder",
    "Decoder",
    "DenseReadout",
    "FeedingCell",
    "HardAttentionDecoder",
    "MaxoutReadout",
    "PointerCell",
    "PointerReadout",
    "PostAttentionDecoder",
    "PreviousStateCell",
    "Readout",
    "RecurrentDecoder",
    "TransformerDecoder",
]
