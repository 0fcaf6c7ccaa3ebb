"""Encoders: from source ids to memory, mask and summary."""

from kerass2s.encoders.recurrent import RecurrentEncoder

__all__ = ["RecurrentEncoder"]
