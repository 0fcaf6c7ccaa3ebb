"""Feedings: what the decoder is given as its previous output while it is trained."""

from __future__ import annotations

from typing import Any

import keras

from kerass2s.decoders import Decoder
from kerass2s.decoders.base import Start

__all__ = ["TeacherForcing"]


@keras.saving.register_keras_serializable("kerass2s")
class TeacherForcing:
    """Feeds the true previous output at every position (Williams and Zipser 1989).

    For the target `[7, 8, 9]` the decoder is fed `[start, 7, 8, 9]` and learns to say `[7, 8, 9, end]`; its hidden
    state carries on as it is.
    """

    def __call__(self, decoder: Decoder, target_ids: Any, start: Start) -> Any:
        """Return the training logits, `target_ids [B, T] -> [B, T, V]`."""
        return decoder.sequence(target_ids, start, training=True)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments: none."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TeacherForcing:
        """Make one again from `get_config`."""
        return cls(**config)
