"""Text to ids and back: SentencePiece tokenizers that run in Python, in tf.data and in an exported graph."""

from __future__ import annotations

from kerass2s.text.special import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from kerass2s.text.tokenizer import KINDS, LARGEST_TOKENIZER, Sampling, SentencePieceTokenizer

__all__ = [
    "END_ID",
    "KINDS",
    "LARGEST_TOKENIZER",
    "PAD_ID",
    "START_ID",
    "UNKNOWN_ID",
    "Sampling",
    "SentencePieceTokenizer",
]
