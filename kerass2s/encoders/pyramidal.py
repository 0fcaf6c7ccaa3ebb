"""The pyramidal encoder: bidirectional LSTMs, each above the first over pairs of the steps of the one below."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerass2s.context import SUMMARIES
from kerass2s.dropout import Dropping
from kerass2s.elements import Elements
from kerass2s.fused import LSTM

__all__ = ["JoinPairs", "PyramidalEncoder"]


@keras.saving.register_keras_serializable("kerass2s")
class JoinPairs(keras.layers.Layer):
    """Puts every two consecutive steps side by side: `[a b c] -> [[a; b] [c; 0]]`.

    A pair is real if its first step is, so a row of n real steps becomes one of ceil(n / 2).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def compute_mask(self, *inputs: Any, previous_mask: Any = None) -> tuple[None, None]:
        """Return none: the layer below hands on an implicit mask, which is too long by now; the tensor is the mask."""
        return None, None

    def call(self, steps: Any, mask: Any) -> tuple[Any, Any]:
        """Join, `steps [B, S, D], mask [B, S] -> pairs [B, ceil(S / 2), 2D], mask [B, ceil(S / 2)]`."""
        real = ops.cast(ops.expand_dims(mask, -1), steps.dtype)
        steps = steps * real
        # One more step of zeros, so that the last of an odd number has a partner; of an even one it is left over.
        following = ops.pad(steps, ((0, 0), (0, 1), (0, 0)))[:, 1::2]
        return ops.concatenate([steps[:, ::2], following], axis=-1), mask[:, ::2]


class PyramidalEncoder(keras.Model):
    """Reads a source of S steps into a `memory [B, M, 2U]` of M = ceil(S / 2^layers) positions.

    The bottom layer is a bidirectional LSTM over the source; each of the `layers` above it is one over pairs of what is
    below, h_i^j = pBLSTM(h_{i-1}^j, [h_{2i}^{j-1}, h_{2i+1}^{j-1}]) (Chan, Jaitly, Le and Vinyals 2016, section 3.1,
    equation 5). Padding is masked on every layer: it changes nothing. `summary [B, 2U]` is the last encoding.

    Args:
        elements: what the source is made of: `Vectors`, `Tokens` or `OneHotTokens`.
        units: U of one direction.
        layers: how many layers halve the time.
        dropout: rate on the input of each layer, in training only; or a `Dropping`.
    """

    def __init__(self, elements: Elements, *, units: int, layers: int, dropout: float | Dropping = 0.0) -> None:
        # === Layers ===
        embedding = elements.embedding("source")
        dropping = Dropping.of(dropout)
        options = {"return_sequences": True, "recurrent_dropout": dropping.recurrent}
        stack = [
            keras.layers.Bidirectional(LSTM(units, **options, name=f"lstm_{i}"), name=f"bidirectional_{i}")
            for i in range(layers + 1)
        ]
        dropouts = [dropping.reader(f"dropout_{i}") for i in range(layers + 1)]

        # === Functional Model ===
        inputs, source, mask = elements.source()
        encodings = embedding(source)
        for i, layer in enumerate(stack):
            if i > 0:
                encodings, mask = JoinPairs(name=f"pairs_{i}")(encodings, mask)
            encodings = layer(dropouts[i](encodings), mask=mask)
        # Masked positions hold a copy of their neighbour; zeros there make every later sum right by itself.
        memory = encodings * ops.expand_dims(ops.cast(mask, encodings.dtype), -1)
        super().__init__(
            inputs=inputs,
            outputs={"memory": memory, "memory_mask": mask, "summary": SUMMARIES["last"](name="summary")(memory, mask)},
            name="encoder",
        )
