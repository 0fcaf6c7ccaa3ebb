"""Plots for reports: attention, gradients, losses, exposure bias and confidence, drawn without a display."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kerass2s.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kerass2s.codec import Codec
    from kerass2s.confidence import RiskCoverage
    from kerass2s.decoding import Hypothesis
    from kerass2s.training import Exposure, GradientNorms

COLOUR_MAP = "cividis"
MOST_TOKENS = 60
LINES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"), ("#CC79A7", ":", "D"))


class AttentionMap(NamedTuple):
    """What one prediction looked at: `weights` is [T, S], one row for each target token."""

    source_tokens: Sequence[str]
    target_tokens: Sequence[str]
    weights: np.ndarray


def check_picture(path: str | Path) -> None:
    """Refuses, before any work is done, what could not be drawn in the end.

    Raises:
        UserError: The name has not the ending of a picture, or matplotlib is not installed.
    """
    endings = _matplotlib("backends.backend_agg").FigureCanvasAgg.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in endings:
        raise UserError(f"The name of a plot ends in one of .{', .'.join(sorted(endings))}. Received: {path}")


def _matplotlib(part: str) -> Any:
    try:
        return importlib.import_module(f"matplotlib.{part}")
    except ImportError as error:
        raise UserError(f"Plots need: pip install 'kerass2s[plots]'. Received: {error}") from error


def save_attention(path: str | Path, maps: Sequence[AttentionMap], *, columns: int = 3) -> Path:
    """Draws one labelled heat map for each prediction into a picture file.

    Args:
        path: Where the picture goes; its ending picks the format.
        maps: The predictions; weights beyond the tokens (padding) are cut off. An empty prediction is named as such.
        columns: How many heat maps stand side by side.

    Raises:
        UserError: There is nothing to draw, the weights do not cover the tokens, or the file cannot be written.
    """
    if not maps:
        raise UserError("An attention plot needs at least one prediction. Received: none")
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    width = 1.2 + 0.3 * min(max(len(each.source_tokens) for each in maps), MOST_TOKENS)
    height = 1.2 + 0.3 * min(max(len(each.target_tokens) for each in maps), MOST_TOKENS)
    figure = _figure(columns * max(width, 3.0), rows * max(height, 2.5))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, each in zip(axes, maps, strict=False):
        _heat_map(axis, each)
    for axis in axes[len(maps) :]:
        axis.set_axis_off()
    figure.colorbar(
        _matplotlib("cm").ScalarMappable(_matplotlib("colors").Normalize(0.0, 1.0), COLOUR_MAP),
        ax=list(axes),
        label="attention weight",
        shrink=0.6,
    )
    return _save(figure, path)


def _heat_map(axis: Axes, each: AttentionMap) -> None:
    rows, columns = len(each.target_tokens), len(each.source_tokens)
    weights = np.asarray(each.weights)
    if weights.ndim != 2 or weights.shape[0] < rows or weights.shape[1] < columns:
        raise UserError(
            f"Attention weights must cover {rows} target and {columns} source tokens. Received: shape {weights.shape}"
        )
    if not rows:
        axis.set_axis_off()
        axis.text(0.5, 0.5, f"{''.join(map(_plain, each.source_tokens))}:\nnothing predicted", ha="center")
        return
    axis.imshow(weights[:rows, :columns], cmap=COLOUR_MAP, vmin=0.0, vmax=1.0, aspect="auto")
    _name_axes(axis, each.source_tokens, each.target_tokens)
    axis.set_xlabel("source")
    axis.set_ylabel("target")


def _name_axes(axis: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    axis.set_xticks(range(len(columns)), labels=map(_plain, columns), size=_font_size(len(columns)))
    axis.set_yticks(range(len(rows)), labels=map(_plain, rows), size=_font_size(len(rows)))


def _font_size(tokens: int) -> float:
    """Shrinks the labels where there are more tokens than the plot grows for."""
    return 10.0 * min(1.0, MOST_TOKENS / max(tokens, 1))


def attention_map(source: Any, hypothesis: Hypothesis, codec: Codec) -> AttentionMap:
    """Returns a hypothesis with its tokens named; the source ends with its end token.

    Raises:
        UserError: The model has no attention.
    """
    if hypothesis.alignment is None:
        raise UserError("This model has no attention to draw. Received: a hypothesis without an alignment")
    targets = [piece.removeprefix("▁") or "▁" for piece in codec.target_pieces(hypothesis.ids, source)]
    return AttentionMap(codec.source_pieces(source), targets, hypothesis.alignment)


def save_losses(
    path: str | Path,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str = "epoch",
    y_label: str = "loss per token",
) -> Path:
    """Draws named curves of (x, y) points, told apart by colour, dash and marker.

    Raises:
        UserError: There is nothing to draw, or the file cannot be written.
    """
    if not any(curves.values()):
        raise UserError("A loss plot needs at least one point. Received: none")
    figure = _figure(6.0, 4.0)
    axis = figure.subplots()
    for (name, points), (colour, dash, marker) in zip(curves.items(), LINES * len(curves), strict=False):
        xs, ys = zip(*points, strict=True) if points else ((), ())
        marker = marker if len(points) <= 50 else None
        axis.plot(xs, ys, color=colour, linestyle=dash, marker=marker, markersize=4, label=name)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(alpha=0.3)
    axis.legend()
    return _save(figure, path)


def save_exposure(path: str | Path, measured: Sequence[Exposure]) -> Path:
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
    figure = _figure(10.0, 4.0)
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
        axis.grid(alpha=0.3)
        axis.legend()
    return _save(figure, path)


def save_risk_coverage(path: str | Path, curves: Mapping[str, RiskCoverage]) -> Path:
    """Draws the share of wrong outputs among those that are kept, over the share that is kept.

    Args:
        path: Where the picture goes; its ending picks the format.
        curves: One or several by name, such as two models on the same pairs.

    Raises:
        UserError: There is nothing to draw, or the file cannot be written.
    """
    if not curves:
        raise UserError("A risk-coverage plot needs at least one curve. Received: none")
    figure = _figure(6.0, 4.0)
    _risk_axis(figure.subplots(), curves)
    return _save(figure, path)


def save_calibration(
    path: str | Path, confidences: Mapping[str, np.ndarray], correct: Sequence[bool], curve: RiskCoverage
) -> Path:
    """Draws a reliability diagram (how often outputs are right over how sure they are) beside risk over coverage.

    Args:
        path: Where the picture goes; its ending picks the format.
        confidences: [N] each, by name, such as before and after a calibration. A marker stands for the outputs of one
            bin of confidence and is the larger the more there are; on the diagonal confidence tells the truth.
        correct: [N], which outputs are right.
        curve: What `risk_coverage` found.

    Raises:
        UserError: The counts differ, or the file cannot be written.
    """
    figure = _figure(10.0, 4.2)
    axis, risk = figure.subplots(1, 2)
    _reliability_axis(axis, confidences, correct)
    _risk_axis(risk, {"by confidence": curve})
    return _save(figure, path)


def _reliability_axis(axis: Axes, confidences: Mapping[str, np.ndarray], correct: Sequence[bool]) -> None:
    from kerass2s.confidence import expected_calibration_error, reliability

    axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=0)
    for (name, values), (colour, dash, marker) in zip(confidences.items(), LINES, strict=False):
        means, shares, counts = reliability(values, correct, bins=10)
        some = counts > 0
        label = f"{name} (ECE {expected_calibration_error(values, correct):.3f})"
        axis.plot(means[some], shares[some], color=colour, linestyle=dash, linewidth=1)
        sizes = 15 + 165 * counts[some] / counts.max()
        axis.scatter(means[some], shares[some], sizes, color=colour, marker=marker, alpha=0.7, label=label)
    axis.set_xlabel("confidence")
    axis.set_ylabel("share that is right")
    axis.set_xlim(0, 1.03)
    axis.set_ylim(0, 1.03)
    axis.grid(alpha=0.3)
    for handle in axis.legend(loc="upper left").legend_handles:
        handle.set_sizes([30])


def _risk_axis(axis: Axes, curves: Mapping[str, RiskCoverage]) -> None:
    for (name, curve), (colour, dash, _) in zip(curves.items(), LINES * len(curves), strict=False):
        label = f"{name} (area {curve.area:.3f})"
        axis.plot(100 * curve.coverage, 100 * curve.risk, color=colour, linestyle=dash, label=label)
    axis.axhline(100 * curve.risk[-1], color="0.6", linewidth=1, zorder=0, label="none left out")
    axis.set_xlabel("coverage: outputs that are kept, %")
    axis.set_ylabel("risk: wrong among the kept, %")
    axis.set_xlim(0, 100)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend()


PLACES = {"source": "source token", "fed": "what was fed", "said": "prediction at step"}
NO_PATH = "0.88"


def save_gradients(path: str | Path, measured: Mapping[str, GradientNorms]) -> Path:
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
    scale = _matplotlib("colors").LogNorm(largest / 10_000, largest, clip=True)
    labels = max(len(each.target_tokens) for each in measured.values())
    columns = max(len(each.source_tokens) for each in measured.values())
    size = (len(measured) * (1.0 + 0.38 * min(max(columns, labels), MOST_TOKENS)), 3 * (1.3 + 0.25 * labels))
    figure = _figure(size[0] + 1.2, size[1])
    axes = figure.subplots(len(PLACES), len(measured), squeeze=False)
    for column, (title, each) in zip(axes.T, measured.items(), strict=True):
        names = {"source": each.source_tokens, "fed": each.fed_tokens, "said": _said(each)}
        column[0].set_title(title)
        for axis, (place, label) in zip(column, PLACES.items(), strict=True):
            norms = np.ma.masked_equal(getattr(each, place), 0.0)
            axis.imshow(norms, cmap=COLOUR_MAP, norm=scale, aspect="auto")
            axis.set_facecolor(NO_PATH)
            _name_axes(axis, names[place], each.target_tokens)
            axis.set_xlabel(label)
    for axis in axes[:, 0]:
        axis.set_ylabel("loss of")
    figure.colorbar(
        _matplotlib("cm").ScalarMappable(scale, COLOUR_MAP),
        ax=list(axes.ravel()),
        label="norm of the gradient; grey is exactly 0",
        shrink=0.6,
    )
    return _save(figure, path)


def _said(each: GradientNorms) -> list[str]:
    """Number the predictions: at each step the decoder says a distribution, and no one token."""
    return [str(t) for t in range(1, len(each.target_tokens) + 1)]


def _figure(width: float, height: float) -> Figure:
    figure = _matplotlib("figure").Figure(figsize=(width, height), layout="constrained")
    _matplotlib("backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def _plain(token: str) -> str:
    """Keeps a dollar sign in a token from starting a formula."""
    return token.replace("$", r"\$")


def _save(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    check_picture(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UserError(f"The plot cannot be written: {error}. Received: {path}") from error
    return path
