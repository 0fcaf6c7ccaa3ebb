"""Decoders: one set of layers, run over a whole target (training) or one position at a time (search)."""

from kerass2s.decoders.attentional import AttentionalDecoder
from kerass2s.decoders.base import Decoder
from kerass2s.decoders.recurrent import PostAttentionDecoder, RecurrentDecoder

__all__ = ["AttentionalDecoder", "Decoder", "PostAttentionDecoder", "RecurrentDecoder"]
