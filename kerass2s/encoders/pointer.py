"""The encoder of a model that can point: a bidirectional LSTM, and for each source token where its copy would stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerass2s.dropout import Dropping
from kerass2s.elements import OpenTokens
from kerass2s.encoders.recurrent import RecurrentEncoder

__all__ = ["CopyIds", "PointingEncoder", "first_alike"]


@keras.saving.register_keras_serializable("kerass2s")
class CopyIds(keras.layers.Layer):
    """The output that a copy of each source token would be, in a target vocabulary that grows by the source.

    With V target tokens and V' source tokens, a source id below V' whose piece the target has gives the target's id
    of it; anything else gives V + the first position in the row with the same id. With the table {4: 9} for source
    ids, V' = 6 and V = 10 the row `[5, 4, 7, 5, 7, 3, 0]`, where 7 is a token that the source does not know, gives
    `[10, 9, 12, 10, 12, 3, 0]`: the end and the padding are their own.

    Args:
        table: the target's id of each of the V' source tokens, or -1.
        target_size: V.
    """

    def __init__(self, table: Sequence[int], target_size: int, name: str = "copy_ids", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.table = list(table)
        self.target_size = target_size

    def call(self, source_ids: Any) -> Any:
        """Look copies up, `source_ids [B, S] -> copy_ids int32 [B, S]`."""
        table = ops.convert_to_tensor([*self.table, -1], "int32")  # the last is of all that the source does not know
        copies = ops.take(table, ops.minimum(source_ids, len(self.table)))
        return ops.where(copies >= 0, copies, first_alike(source_ids, self.target_size))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "table": self.table, "target_size": self.target_size}


def first_alike(ids: Any, origin: int = 0) -> Any:
    """Return the first position that holds what each position holds: `[[7, 5, 7]] -> [[0, 1, 0]]`, int32 [B, S].

    Positions count from `origin`. It is not added to what comes out, since OpenVINO 2026.4 adds wrongly to the minimum
    of whole numbers.
    """
    positions = ops.cumsum(ops.ones_like(ids), axis=1) + (origin - 1)
    alike = ops.equal(ops.expand_dims(ids, 1), ops.expand_dims(ids, 2))
    return ops.min(ops.where(alike, ops.expand_dims(positions, 1), ops.expand_dims(positions, 2)), axis=2)


class PointingEncoder(keras.Model):
    """A bidirectional LSTM whose two last states are reduced to one, with `copy_ids int32 [B, S]` beside the memory.

    The summary [h; c] [B, 2U] is relu(W_h [h_forward; h_backward]) and relu(W_c [c_forward; c_backward]), as in the
    code of See, Liu and Manning 2017.

    Args:
        elements: the source's tokens; ids of V' and more are tokens that its tokenizer does not know, equal where
            they are.
        table: see `CopyIds`.
        target_size: V of the target.
        units: U of one direction.
        dropout: rate on the input of the LSTM, in training only; or a `Dropping`.
    """

    def __init__(
        self,
        elements: OpenTokens,
        table: Sequence[int],
        target_size: int,
        *,
        units: int,
        dropout: float | Dropping = 0.0,
    ) -> None:
        # === Layers ===
        reader = RecurrentEncoder(
            elements, cell="lstm", units=units, bidirectional=True, dropout=dropout, summary="state"
        )
        reduce_h = keras.layers.Dense(units, activation="relu", name="reduce_h")
        reduce_c = keras.layers.Dense(units, activation="relu", name="reduce_c")
        copy_ids = CopyIds(table, target_size)

        # === Functional Model ===
        forward_h, forward_c, backward_h, backward_c = ops.split(reader.output["summary"], 4, axis=-1)
        hidden = reduce_h(ops.concatenate([forward_h, backward_h], -1))
        carry = reduce_c(ops.concatenate([forward_c, backward_c], -1))
        super().__init__(
            inputs=reader.input,
            outputs={
                **reader.output,
                "summary": ops.concatenate([hidden, carry], -1),
                "copy_ids": copy_ids(reader.input[elements.source_name]),
            },
            name="encoder",
        )
