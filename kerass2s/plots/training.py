"""Pictures of a training: curves, exposure bias, and where gradients reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kerass2s.errors import UserError
from kerass2s.plots.canvas import (
    COLOUR_MAP,
    LINES,
    MOST_TOKENS,
    Place,
    finish,
    in_style,
    matplotlib,
    name_axes,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kerass2s.training import Exposure, GradientNorms


MOST_MARKERS = 50


@in_style
def save_losses(
    path: Place,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str = "epoch",
    y_label: str = "loss per token",
) -> Place:
    """Draws named curves of (x, y) points, told apart by colour, dash and marker.

    Raises:
        UserError: There is nothing to draw, or the file cannot be written.
    """
    if not any(curves.values()):
        raise UserError("A loss plot needs at least one point. Received: none")
    figure = new_figure(6.0, 4.0)
    axis = figure.subplots()
    for (name, points), (colour, dash, marker) in zip(curves.items(), LINES * len(curves), strict=False):
        xs, ys = zip(*points, strict=True) if points else ((), ())
        marker = marker if len(points) <= MOST_MARKERS else None
        axis.plot(xs, ys, color=colour, linestyle=dash, marker=marker, markersize=4, label=name)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid()
    axis.legend()
    return finish(figure, path)


@in_style
def save_exposure(path: Place, measured: Sequence[Exposure]) -> Place:
    """Draws the exposure bias of a training: its last measurement by output position, and all of them by epoch.

    Args:
        path: Where the picture goes; its ending picks the format.
        measured: One for each epoch, as `ExposureBias.measured` has them. Positions that fewer than one target in a
            hundred reaches are left out: a share of so few says little.

    Raises:
        UserError: There is nothing to draw, or the file cannot be written.
    """
    if not measured:
        raise UserError("An exposure plot needs at least one measurement. Received: none")
    last = measured[-1]
    shown = int((last.counts * 100 >= last.counts[0]).sum())
    epochs = range(1, len(measured) + 1)
    figure = new_figure(10.0, 4.0)
    by_position, by_epoch = figure.subplots(1, 2, sharey=True)
    curves = {"free running": (last.free, [each.free_error for each in measured])}
    curves["teacher forced"] = (last.forced, [each.forced_error for each in measured])
    for (name, (shares, errors)), (colour, dash, marker) in zip(curves.items(), LINES, strict=False):
        style = {"color": colour, "linestyle": dash, "marker": marker, "markersize": 4, "label": name}
        by_position.plot(range(1, shown + 1), 100 * shares[:shown], **style)
        by_epoch.plot(epochs, 100 * np.array(errors), **style)
    by_position.fill_between(
        range(1, shown + 1), 100 * last.forced[:shown], 100 * last.free[:shown], color="0.5", alpha=0.2, label="gap"
    )
    by_epoch.fill_between(
        epochs, *(100 * np.array(errors) for _, errors in curves.values()), color="0.5", alpha=0.2, label="gap"
    )
    by_position.set_xlabel("output position")
    by_position.set_ylabel("wrong tokens, %")
    by_position.set_title(f"after epoch {len(measured)}")
    by_epoch.set_xlabel("epoch")
    by_epoch.set_title("all positions")
    for axis in (by_position, by_epoch):
        axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid()
        axis.legend()
    return finish(figure, path)


# Each kind of error: the key of its rate and of its accuracy in the logs, free running and teacher forced.
RATES = {"outputs": ("sequence_accuracy", "sequence_accuracy"), "tokens": ("token_error_rate", "token_accuracy")}


@in_style
def save_training(path: Place, history: Sequence[Mapping[str, float]]) -> Place:
    """Draws a training by epoch: the losses, and what was wrong on validation pairs, teacher forced and free running.

    A token is wrong, teacher forced, where it is not the likeliest after the true ones before it; free running it is an
    edit to the closest target.

    Args:
        path: Where the picture goes; its ending picks the format.
        history: What `fit` reported of each epoch, with `FreeRunningValidation` or without; the lines of a run's
            `history.jsonl`.

    Raises:
        UserError: There is nothing to draw, or the file cannot be written.
    """
    if not history:
        raise UserError("A plot of a training needs at least one epoch. Received: none")
    figure = new_figure(10.0, 4.0)
    losses, errors = figure.subplots(1, 2)
    for (key, name), line in zip({"loss": "training", "val_loss": "validation"}.items(), LINES, strict=False):
        _curve(losses, history, name, line, lambda entry, key=key: entry[key])
    for (what, (rate, accuracy)), dash, marker in zip(RATES.items(), ("-", ":"), ("o", "s"), strict=True):
        free, forced = LINES[0][0], LINES[1][0]
        _curve(
            errors, history, f"{what}, free running", (free, dash, marker), lambda entry, key=rate: _free(entry, key)
        )
        line = (forced, dash, marker)
        _curve(errors, history, f"{what}, teacher forced", line, lambda entry, key=accuracy: _forced(entry, key))
    losses.set_ylabel("loss per token")
    losses.set_ylim(bottom=0)
    errors.set_ylabel("wrong on validation pairs, %")
    errors.set_ylim(bottom=0)
    for axis in (losses, errors):
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid()
        if axis.lines:
            axis.legend()
    return finish(figure, path)


def _curve(
    axis: Axes,
    history: Sequence[Mapping[str, float]],
    name: str,
    line: tuple[str, str, str],
    value: Callable[[Mapping[str, float]], float],
) -> None:
    """Draws one value of each epoch, or nothing where it was not measured."""
    try:
        values = [value(entry) for entry in history]
    except KeyError:
        return
    colour, dash, marker = line
    epochs = [int(entry.get("epoch", place)) + 1 for place, entry in enumerate(history)]
    marker = marker if len(epochs) <= MOST_MARKERS else None
    axis.plot(epochs, values, color=colour, linestyle=dash, marker=marker, markersize=4, label=name)


def _free(entry: Mapping[str, float], key: str) -> float:
    rate = entry[f"val_free_{key}"]
    return 100 * (rate if key.endswith("error_rate") else 1 - rate)


def _forced(entry: Mapping[str, float], key: str) -> float:
    return 100 * (1 - entry[f"val_{key}"])


PLACES = {"source": "source token", "fed": "what was fed", "said": "prediction at step"}
NO_PATH = "0.75"


@in_style
def save_gradients(path: Place, measured: Mapping[str, GradientNorms]) -> Place:
    """Draws how strongly each output position's loss acts on the source, on what was fed and on what was said.

    A column of heat maps for each measurement, all on one logarithmic scale; light grey is an exact zero, where no path
    leads. A row of a heat map is the loss of one position, named by its label.

    Args:
        path: Where the picture goes; its ending picks the format.
        measured: A title and the gradients of one pair, as `gradient_norms` gives them.

    Raises:
        UserError: There is nothing to draw, or the file cannot be written.
    """
    if not measured:
        raise UserError("A gradient plot needs at least one measurement. Received: none")
    maps = [getattr(each, place) for each in measured.values() for place in PLACES]
    largest = max((norms.max(initial=0.0) for norms in maps), default=0.0) or 1.0
    scale = matplotlib("colors").LogNorm(largest / 10_000, largest, clip=True)
    labels = max(len(each.target_tokens) for each in measured.values())
    columns = max(len(each.source_tokens) for each in measured.values())
    size = (len(measured) * (1.0 + 0.38 * min(max(columns, labels), MOST_TOKENS)), 3 * (1.3 + 0.25 * labels))
    figure = new_figure(size[0] + 1.2, size[1])
    axes = figure.subplots(len(PLACES), len(measured), squeeze=False)
    for column, (title, each) in zip(axes.T, measured.items(), strict=True):
        names = {"source": each.source_tokens, "fed": each.fed_tokens, "said": _said(each)}
        column[0].set_title(title)
        for axis, (place, label) in zip(column, PLACES.items(), strict=True):
            norms = np.ma.masked_equal(getattr(each, place), 0.0)
            axis.imshow(norms, cmap=COLOUR_MAP, norm=scale, aspect="auto")
            axis.set_facecolor(NO_PATH)
            name_axes(axis, names[place], each.target_tokens)
            axis.set_xlabel(label)
    for axis in axes[:, 0]:
        axis.set_ylabel("loss of")
    figure.colorbar(
        matplotlib("cm").ScalarMappable(scale, COLOUR_MAP),
        ax=list(axes.ravel()),
        label="norm of the gradient; grey is exactly 0",
        shrink=0.6,
    )
    return finish(figure, path)


def _said(each: GradientNorms) -> list[str]:
    """Number the predictions: at each step the decoder says a distribution, and no one token."""
    return [str(t) for t in range(1, len(each.target_tokens) + 1)]
