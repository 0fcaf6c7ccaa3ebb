"""Callbacks: validation that runs free, because validation with the gold prefix hides exposure bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerass2s.data import Pair
from kerass2s.decoding import BeamSearch, GreedySearch
from kerass2s.evaluation import evaluate_texts

__all__ = ["FreeRunningValidation"]

REPORTED = ("sequence_accuracy", "token_error_rate", "bleu", "chrf")


class PairsCallback(keras.callbacks.Callback):
    """Base of the callbacks that decode development pairs.

    Args:
        pairs: the pairs.
        search: how to decode; None for `GreedySearch()`.
        batch_size: pairs decoded at once.
    """

    def __init__(
        self, pairs: Sequence[Pair], search: GreedySearch | BeamSearch | None = None, batch_size: int = 64
    ) -> None:
        super().__init__()
        self.pairs = [Pair(*pair) for pair in pairs]
        self.search = search or GreedySearch()
        self.batch_size = batch_size


class FreeRunningValidation(PairsCallback):
    """After each epoch, decodes `pairs` without the gold prefix and adds the figures to the epoch's logs.

    The keys are `val_free_sequence_accuracy`, `val_free_token_error_rate`, `val_free_bleu` and `val_free_chrf`, so
    that EarlyStopping and ModelCheckpoint can watch them; put this callback before those.

    Args:
        pairs: what to decode; a hit on any accepted target counts.
        search: how to decode.
        batch_size: sources decoded at once.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Decode and add the figures to `logs`."""
        hypotheses = self.model.generate([pair.source for pair in self.pairs], self.search, self.batch_size)
        figures = evaluate_texts(hypotheses, self.pairs)
        if logs is not None:
            logs.update({f"val_free_{name}": figures[name] for name in REPORTED})
