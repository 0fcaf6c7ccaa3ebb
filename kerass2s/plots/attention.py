"""Heat maps of attention: a row for each target token, a column for each source token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kerass2s.errors import UserError
from kerass2s.plots.canvas import (
    COLOUR_MAP,
    MOST_TOKENS,
    Place,
    finish,
    in_style,
    label_room,
    matplotlib,
    name_axes,
    new_figure,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kerass2s.codec import Codec
    from kerass2s.decoding import Hypothesis


WIDEST = 40.0


class AttentionMap(NamedTuple):
    """What one prediction looked at: `weights` is [T, S], one row for each target token."""

    source_tokens: Sequence[str]
    target_tokens: Sequence[str]
    weights: np.ndarray


@in_style
def save_attention(path: Place, maps: Sequence[AttentionMap], *, columns: int = 3) -> Place:
    """Draws one labelled heat map for each prediction into a picture file.

    Args:
        path: Where the picture goes; its ending picks the format.
        maps: The predictions; weights beyond the tokens (padding) are cut off. An empty prediction is named as such.
        columns: How many heat maps stand side by side; fewer where they are wide.

    Raises:
        UserError: There is nothing to draw, the weights do not cover the tokens, or the file cannot be written.
    """
    if not maps:
        raise UserError("An attention plot needs at least one prediction. Received: none")
    width = max(3.0, max(_inches(each.source_tokens, each.target_tokens) for each in maps))
    height = max(2.5, max(_inches(each.target_tokens, each.source_tokens) for each in maps))
    columns = min(columns, len(maps), max(1, int(WIDEST / width)))
    rows = -(-len(maps) // columns)
    figure = new_figure(columns * width, rows * height)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, each in zip(axes, maps, strict=False):
        _heat_map(axis, each)
    for axis in axes[len(maps) :]:
        axis.set_axis_off()
    figure.colorbar(
        matplotlib("cm").ScalarMappable(matplotlib("colors").Normalize(0.0, 1.0), COLOUR_MAP),
        ax=list(axes),
        label="attention weight",
        shrink=0.6,
    )
    return finish(figure, path)


def _inches(along: Sequence[str], across: Sequence[str]) -> float:
    """How long a side with these tokens is, the labels of the other side included."""
    return 0.9 + 0.3 * min(len(along), MOST_TOKENS) + label_room(across)


def _heat_map(axis: Axes, each: AttentionMap) -> None:
    rows, columns = len(each.target_tokens), len(each.source_tokens)
    weights = np.asarray(each.weights)
    if weights.ndim != 2 or weights.shape[0] < rows or weights.shape[1] < columns:
        raise UserError(
            f"Attention weights must cover {rows} target and {columns} source tokens. Received: shape {weights.shape}"
        )
    if not rows:
        axis.set_axis_off()
        axis.text(0.5, 0.5, f"{''.join(map(plain, each.source_tokens))}:\nnothing predicted", ha="center")
        return
    axis.imshow(weights[:rows, :columns], cmap=COLOUR_MAP, vmin=0.0, vmax=1.0, aspect="auto")
    name_axes(axis, each.source_tokens, each.target_tokens)
    axis.set_xlabel("source")
    axis.set_ylabel("target")


def attention_map(source: Any, hypothesis: Hypothesis, codec: Codec) -> AttentionMap:
    """Returns a hypothesis with its tokens named; the source ends with its end token.

    Raises:
        UserError: The model has no attention.
    """
    if hypothesis.alignment is None:
        raise UserError("This model has no attention to draw. Received: a hypothesis without an alignment")
    targets = [piece.removeprefix("▁") or "▁" for piece in codec.target_pieces(hypothesis.ids, source)]
    return AttentionMap(codec.source_pieces(source), targets, hypothesis.alignment)
