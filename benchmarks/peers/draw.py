"""Draws what the comparisons found: how many times as fast we are as PyTorch, case by case, with quartiles.

python benchmarks/peers/draw.py               # docs/*_against_pytorch.json to docs/images/against_pytorch.png
"""

from __future__ import annotations

import json
import sys
from typing import Any

from schedule import ROOT

from kerass2s.plots.canvas import INK, LINES, finish, in_style, new_figure

PICTURE = ROOT / "docs" / "images" / "against_pytorch.png"
PANELS = {
    "training": ("fused_is_faster", "a training step, compile(fused=True)"),
    "decoding": ("onnx_is_faster", "decoding, the ONNX file"),
}

SIDES = ("PyTorch", "PyTorch, jemalloc", "Joey NMT")


@in_style
def draw(found: dict[str, dict[str, Any]]) -> None:
    """Draws one panel for each comparison, a line for each case, a marker for each side that is not ours."""
    figure = new_figure(12, 1 + 0.4 * max(map(len, found.values())))
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axis, (name, runs) in zip(axes, found.items(), strict=True):
        key, title = PANELS[name]
        for side, (colour, _, marker) in zip(SIDES, LINES, strict=False):
            cases = [
                (place, run["sides"][side][key]) for place, run in enumerate(runs.values()) if side in run["sides"]
            ]
            if cases:
                places, ratios = zip(*cases, strict=True)
                middle = [each["ratio"] for each in ratios]
                spread = [
                    [each["ratio"] - each["low"] for each in ratios],
                    [each["high"] - each["ratio"] for each in ratios],
                ]
                axis.errorbar(middle, places, xerr=spread, fmt=marker, color=colour, label=side)
        axis.axvline(1, color=INK, linewidth=1)
        axis.set_yticks(range(len(runs)), labels=list(runs))
        axis.invert_yaxis()
        axis.set(title=title, xlabel="times as fast", xlim=(0, None))
    axes[-1].legend(loc="lower right")
    finish(figure, PICTURE)


def main() -> int:
    """Reads and draws."""
    files = {name: ROOT / "docs" / f"{name}_against_pytorch.json" for name in PANELS}
    draw({name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.exists()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
