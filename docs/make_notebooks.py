"""Makes each notebook of `notebooks/` from the text beside it, and runs it from top to bottom.

Run `make notebooks` after a change of a text; it takes some minutes for each. The text is plain Python in the percent
format that Jupytext, VS Code and PyCharm open as a notebook: reviews read it, CI runs it, and the .ipynb is it, cell by
cell, with the outputs. Pictures are kept with few colours, which makes small files; one that `docs/images` has is drawn
anew there. `--check` runs nothing and fails where a
notebook is not its text. To run takes `pip install nbclient ipykernel`.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
MARK = re.compile(r"^# %%(.*)\n", re.MULTILINE)
SECONDS = 900
COLOURS = 128


def cells_of(text: str) -> list[tuple[str, str]]:
    """Returns the kind and source of each cell; what stands before the first is the header and none."""
    _, *parts = MARK.split(text)
    cells = []
    for mark, source in zip(parts[::2], parts[1::2], strict=True):
        if mark.strip() == "[markdown]":
            cells.append(("markdown", re.sub(r"^# ?", "", source.strip(), flags=re.MULTILINE)))
        else:
            cells.append(("code", source.strip()))
    return cells


def cells_in(notebook: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns the same of a notebook."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def blank(cells: list[tuple[str, str]]) -> dict[str, Any]:
    """Returns a notebook of some cells without outputs."""
    made = []
    for index, (kind, source) in enumerate(cells):
        cell = {"id": f"cell-{index}", "cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
        made.append({**cell, "execution_count": None, "outputs": []} if kind == "code" else cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """Runs a notebook; returns it with its outputs, but for what was logged and when each cell ran."""
    import nbformat
    from nbclient import NotebookClient

    found = nbformat.reads(json.dumps(notebook), as_version=4)
    with tempfile.TemporaryDirectory() as place:
        where = {"metadata": {"path": place}}
        NotebookClient(found, timeout=SECONDS, kernel_name="python3", coalesce_streams=True, resources=where).execute()
        for picture in Path(place).glob("*.png"):
            if (IMAGES / picture.name).exists():
                (IMAGES / picture.name).write_bytes(few_colours(picture.read_bytes()))
    for cell in found.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [_small(output) for output in cell.outputs if output.get("name") != "stderr"]
    found.metadata = notebook["metadata"]
    return json.loads(nbformat.writes(found))


def few_colours(picture: bytes) -> bytes:
    """Returns a PNG with at most 128 colours, what is transparent in it left so."""
    import PIL.Image

    small = io.BytesIO()
    octree = PIL.Image.Quantize.FASTOCTREE  # the one that keeps transparency
    PIL.Image.open(io.BytesIO(picture)).convert("RGBA").quantize(COLOURS, octree).save(small, "PNG", optimize=True)
    return min(picture, small.getvalue(), key=len)


def _small(output: Any) -> Any:
    if "image/png" in output.get("data", {}):
        picture = base64.b64decode(output.data["image/png"])
        output.data = {"image/png": base64.b64encode(few_colours(picture)).decode("ascii")}
    return output


def main() -> int:
    """Makes or checks every notebook, or those whose names are given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of notebooks, without an ending; all without it")
    parser.add_argument("--check", action="store_true", help="run nothing, compare each notebook with its text")
    options = parser.parse_args()
    # A text's own switch for tests must not make what is shown.
    os.environ.pop("KERASS2S_QUICK", None)
    stale = []
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        if options.names and path.stem not in options.names:
            continue
        cells, notebook = cells_of(path.read_text("utf-8")), path.with_suffix(".ipynb")
        if options.check:
            same = notebook.exists() and cells_in(json.loads(notebook.read_text("utf-8"))) == cells
            stale += [] if same else [notebook.name]
            continue
        notebook.write_text(json.dumps(run(blank(cells)), indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(f"{notebook.name}: {notebook.stat().st_size // 1000} kB")
    for name in stale:
        print(f"{name} is not its text; run `make notebooks`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
