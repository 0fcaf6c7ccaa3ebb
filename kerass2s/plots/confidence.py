"""Pictures of confidence: how often outputs are right over how sure they are, and risk over coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kerass2s.errors import UserError
from kerass2s.plots.canvas import LINES, Place, finish, in_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kerass2s.confidence import RiskCoverage


@in_style
def save_risk_coverage(path: Place, curves: Mapping[str, RiskCoverage]) -> Place:
    """Draws the share of wrong outputs among those that are kept, over the share that is kept.

    Args:
        path: Where the picture goes; its ending picks the format.
        curves: One or several by name, such as two models on the same pairs.

    Raises:
        UserError: There is nothing to draw, or the file cannot be written.
    """
    if not curves:
        raise UserError("A risk-coverage plot needs at least one curve. Received: none")
    figure = new_figure(6.0, 4.0)
    _risk_axis(figure.subplots(), curves)
    return finish(figure, path)


@in_style
def save_calibration(
    path: Place, confidences: Mapping[str, np.ndarray], correct: Sequence[bool], curve: RiskCoverage
) -> Place:
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
    figure = new_figure(10.0, 4.2)
    axis, risk = figure.subplots(1, 2)
    _reliability_axis(axis, confidences, correct)
    _risk_axis(risk, {"by confidence": curve})
    return finish(figure, path)


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
    axis.grid()
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
    axis.grid()
    axis.legend()
