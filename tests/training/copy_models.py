"""Tiny models that copy, and what they copy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerass2s import SentencePieceTokenizer, Seq2Seq, zoo

START = 2


def copies(preset: str = "tiny", name: str = "luong2015", **settings: Any) -> Seq2Seq:
    """An architecture without dropout, the same in every test, over a few letters."""
    tokenizer = SentencePieceTokenizer.train(["abcdefgh"], "char")
    keras.utils.set_random_seed(5)
    both = {"source_tokenizer": tokenizer, "target_tokenizer": tokenizer}
    if name != "keras_lstm_seq2seq":  # which has none
        settings["dropout"] = 0.0
    return zoo.build(name, **both, preset=preset, **settings)


def copy_task(rows: int, length: int = 4) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Sources of random tokens, the same as targets: inputs and labels."""
    ids = np.random.default_rng(3).integers(4, 12, (rows, length)).astype(np.int32)
    source = np.pad(ids, ((0, 0), (0, 1)), constant_values=3)
    return {"source_ids": source, "target_ids": np.pad(ids, ((0, 0), (1, 0)), constant_values=START)}, source
