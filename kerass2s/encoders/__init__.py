"""Encoders: from source ids to memory, mask and summary."""

from kerass2s.encoders.convolutional import ConvolutionalEncoder
from kerass2s.encoders.pointer import PointingEncoder
from kerass2s.encoders.pyramidal import PyramidalEncoder
from kerass2s.encoders.recurrent import RecurrentEncoder
from kerass2s.encoders.transformer import TransformerEncoder

__all__ = ["ConvolutionalEncoder", "PointingEncoder", "PyramidalEncoder", "RecurrentEncoder", "TransformerEncoder"]
