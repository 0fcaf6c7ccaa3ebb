"""Pictures of errors: how many by length of the source and by position of the target, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kerass2s.analysis import Outcome, by_length, confusions, errors_by_position
from kerass2s.errors import UserError
from kerass2s.plots.canvas import COLOUR_MAP, LINES, Place, finish, in_style, name_axes, new_figure
from kerass2s.significance import confidence_intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kerass2s.text import SentencePieceTokenizer

KINDS = {"substituted": ("another token", ""), "missing": ("left out", "///"), "extra": ("put in before it", "...")}
CONFUSED = 14
POSITION_SHARE = 0.01
NOTHING = "(none)"


@in_style
def save_errors(path: Place, models: Mapping[str, Sequence[Outcome]], tokenizer: SentencePieceTokenizer) -> Place:
    """Draws errors by length of the source and by position of the target, and below them the confusions of each model.

    A whisker is the 95 % interval that the draw of the pairs leaves open. A row of a confusion map is a token of the
    targets, a column what stood there instead; the number says how often, the colour in which share of its places.
    What was right is left out, and so are the tokens that seldom went wrong.

    Args:
        path: Where the picture goes; its ending picks the format.
        models: What each model made of the same pairs, by name; one or several.
        tokenizer: Of the sources, which a length is counted in.

    Raises:
        UserError: There is nothing to draw, or the file cannot be written.
    """
    if not models or not all(models.values()):
        raise UserError("A plot of errors needs at least one pair. Received: none")
    figure = new_figure(max(10.5, 5.5 * len(models)), 9.5)
    above, below = figure.subfigures(2, 1, height_ratios=[4, 5.5])
    lengths, positions = above.subplots(1, 2)
    _by_length(lengths, models, tokenizer)
    _by_position(positions, models)
    for axis, (name, found) in zip(np.ravel(below.subplots(1, len(models))), models.items(), strict=True):
        axis.set_title("what is taken for what" + (f": {name}" if len(models) > 1 else ""))
        _confusion_map(axis, confusions(found))
    return finish(figure, path)


def _by_length(axis: Axes, models: Mapping[str, Sequence[Outcome]], tokenizer: SentencePieceTokenizer) -> None:
    groups = by_length([outcome.pair for outcome in next(iter(models.values()))], tokenizer)
    for number, ((name, found), (colour, dash, marker)) in enumerate(zip(models.items(), LINES, strict=False)):
        intervals = []
        for group in groups:
            part = [found[place] for place in group.places]
            texts, pairs = [outcome.text for outcome in part], [outcome.pair for outcome in part]
            intervals.append(confidence_intervals(texts, pairs, figures=["word_error_rate"])["word_error_rate"])
        values = 100 * np.array(intervals)
        spread = np.abs(values[:, 1:] - values[:, :1]).T
        places = np.arange(len(groups)) + 0.12 * number
        style = {"color": colour, "linestyle": dash, "marker": marker, "capsize": 3, "label": name}
        axis.errorbar(places, values[:, 0], spread, **style)
    axis.set_xticks(range(len(groups)), labels=[f"{group.name}\n({len(group.places):,})" for group in groups])
    axis.set_xlabel("length of the source in tokens (and pairs)")
    axis.set_ylabel("wrong outputs, %")
    axis.set_ylim(bottom=0)
    axis.grid(axis="y")
    if len(models) > 1:
        axis.legend()


def _by_position(axis: Axes, models: Mapping[str, Sequence[Outcome]]) -> None:
    """Stacks the kinds of errors of one model; of several it draws the sums."""
    for (name, found), (line, dash, marker) in zip(models.items(), LINES, strict=False):
        measured = errors_by_position(found)
        shown = max(1, int((measured.counts >= POSITION_SHARE * measured.counts[0]).sum()))
        places, counts = range(1, shown + 1), measured.counts[:shown].clip(1)
        shares = {kind: 100 * getattr(measured, kind)[:shown] / counts for kind in KINDS}
        if len(models) > 1:
            axis.plot(places, sum(shares.values()), color=line, linestyle=dash, marker=marker, label=name)
            continue
        base = np.zeros(shown)
        for (kind, (title, hatch)), (colour, _, _) in zip(KINDS.items(), LINES, strict=False):
            style = {"color": colour} if not hatch else {"facecolor": "none", "edgecolor": colour, "hatch": hatch}
            axis.bar(places, shares[kind], bottom=base, width=0.75, label=title, **style)
            base = base + shares[kind]
    axis.set_xlabel("position in the target")
    axis.set_ylabel("errors for each hundred targets")
    axis.set_xlim(left=0.4)
    axis.set_ylim(bottom=0)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(axis="y")
    axis.legend()


def _confusion_map(axis: Axes, counts: Counter[tuple[str | None, str | None]]) -> None:
    wrong = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1]})
    if not wrong:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "nothing is wrong", ha="center")
        return
    tokens = _most_confused(wrong)
    times = np.array([[wrong[target, output] for output in tokens] for target in tokens], float)
    wanted = [sum(count for (target, _), count in counts.items() if target == each) for each in tokens]
    shares = np.ma.masked_where(times == 0, 100 * times / np.maximum(wanted, 1)[:, None])
    shares[[target is None for target in tokens]] = np.ma.masked  # what is put in has no places of its own
    names = [NOTHING if token is None else token for token in tokens]
    # A ceiling: one rare token that is always wrong would leave all others in the dark.
    top = float(np.quantile(shares.compressed(), 0.95)) if shares.count() else 1.0
    image = axis.imshow(shares, cmap=COLOUR_MAP, vmin=0, vmax=top, aspect="auto")
    name_axes(axis, names, names)
    axis.set_xlabel("output")
    axis.set_ylabel("target")
    for (row, column), count in np.ndenumerate(times):
        if count:
            light = shares[row, column] is not np.ma.masked and shares[row, column] > top / 2
            dark = shares[row, column] is not np.ma.masked
            colour = {"color": "black"} if light else {"color": "white"} if dark else {}
            axis.text(column, row, f"{count:.0f}", ha="center", va="center", size=8, **colour)
    axis.figure.colorbar(image, ax=axis, label="of its places, %", extend="max", shrink=0.8)


def _most_confused(wrong: Counter[tuple[str | None, str | None]]) -> list[str | None]:
    """The tokens that take part in the most errors, in the order of the alphabet, and last nothing at all."""
    part: Counter[str] = Counter()
    for (target, output), count in wrong.items():
        part.update({token: count for token in (target, output) if token is not None})
    tokens = sorted(token for token, _ in part.most_common(CONFUSED))
    return [*tokens, None] if any(None in pair for pair in wrong) else tokens
