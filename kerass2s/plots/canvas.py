"""What all pictures share: they are drawn without a display, and read on light and on dark ground."""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ParamSpec, TypeVar

from kerass2s.errors import UserError
from kerass2s.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = str | os.PathLike[str] | BinaryIO
"""Where a picture goes: a file whose ending picks the format, or an open one that gets a PNG."""

Asked = ParamSpec("Asked")
Drawn = TypeVar("Drawn")

COLOUR_MAP = "cividis"
MOST_TOKENS = 60
LONGEST_LABEL = 24
SHORT_LABEL = 3
LONER = 6
"""How long one name may be, such as that of the end, when all others are short."""
# Okabe and Ito's colours that stand out from white and from black alike, each with a dash and a marker of its own.
LINES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"), ("#CC79A7", ":", "D"))
INK = "#7b7b7b"
"""A grey that is four times as dark as white and four times as light as an editor's black: the ground is left open."""
STYLE = {
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "axes.titlesize": "medium",
}
SCRIPTS = ("Noto Sans", "Noto Sans CJK JP", "Arial Unicode MS", "Hiragino Sans", "Yu Gothic", "Segoe UI", "Noto Emoji")
"""Fonts for what matplotlib's own has no glyphs for, where they are installed."""


def check_picture(path: Place) -> None:
    """Refuses, before any work is done, what could not be drawn in the end.

    Raises:
        UserError: The name has not the ending of a picture, or matplotlib is not installed.
    """
    endings = matplotlib("backends.backend_agg").FigureCanvasAgg.get_supported_filetypes()
    if not hasattr(path, "write") and Path(path).suffix[1:].lower() not in endings:
        raise UserError(f"The name of a plot ends in one of .{', .'.join(sorted(endings))}. Received: {path}")


def matplotlib(part: str = "") -> Any:
    """Imports matplotlib or a part of it, or says how it is installed."""
    try:
        return importlib.import_module(f"matplotlib.{part}".rstrip("."))
    except ImportError as error:
        raise UserError(f"Plots need: pip install 'kerass2s[plots]'. Received: {error}") from error


def in_style(draw: Callable[Asked, Drawn]) -> Callable[Asked, Drawn]:
    """Runs a function that draws with this room's style, and leaves the user's settings as they are."""

    @wraps(draw)
    def styled(*args: Asked.args, **options: Asked.kwargs) -> Drawn:
        with matplotlib().rc_context({**STYLE, "font.family": _fonts()}):
            return draw(*args, **options)

    return styled


@cache
def _fonts() -> list[str]:
    installed = set(matplotlib("font_manager").get_font_names())
    return ["DejaVu Sans", *(name for name in SCRIPTS if name in installed)]


def new_figure(width: float, height: float) -> Figure:
    """Makes a figure of so many inches that no window shows."""
    figure = matplotlib("figure").Figure(figsize=(width, height), layout="constrained")
    matplotlib("backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def name_axes(axis: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Labels a heat map with tokens; columns whose names are long are read from below."""
    columns, rows = list(map(plain, columns)), list(map(plain, rows))
    upright = sum(len(name) > SHORT_LABEL for name in columns) <= 1 and max(map(len, columns), default=0) <= LONER
    axis.set_xticks(
        range(len(columns)), labels=columns, size=_font_size(len(columns)), rotation="horizontal" if upright else 90
    )
    axis.set_yticks(range(len(rows)), labels=rows, size=_font_size(len(rows)))
    for spine in axis.spines.values():
        spine.set_visible(False)


def label_room(names: Sequence[str]) -> float:
    """Says how many inches the names of rows, or of columns read from below, take."""
    return 0.09 * min(LONGEST_LABEL, max(map(len, names), default=0))


def _font_size(tokens: int) -> float:
    """Shrinks the labels where there are more tokens than the plot grows for."""
    return 10.0 * min(1.0, MOST_TOKENS / max(tokens, 1))


def plain(token: str) -> str:
    """Keeps a dollar sign in a token from starting a formula, and a very long token from crowding out the rest."""
    short = token if len(token) <= LONGEST_LABEL else f"{token[: LONGEST_LABEL - 1]}…"
    return short.replace("$", r"\$")


def finish(figure: Figure, path: Place) -> Place:
    """Writes the picture and returns where it is, a name as a `Path`.

    Raises:
        UserError: It cannot be written there, or has no name of a picture.
    """
    check_picture(path)
    named = None if hasattr(path, "write") else Path(path)
    drawn = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(drawn, dpi=120, format=named.suffix[1:] if named else "png")
        if named:
            named.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(named, drawn.getvalue())
        else:
            path.write(drawn.getvalue())
    except (OSError, ValueError) as error:
        raise UserError(f"The plot cannot be written: {error}. Received: {path}") from error
    return named or path


def show(path: str | os.PathLike[str]) -> None:
    """Shows a picture in the cell of a notebook that asks for it; elsewhere it does nothing.

    Args:
        path: A picture file, such as one that a function of this room drew.
    """
    if "ipykernel" in sys.modules:
        from IPython.display import Image, display

        display(Image(os.fspath(path)))
