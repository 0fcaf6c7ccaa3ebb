"""The notebooks run from top to bottom, and each is the same, cell by cell, as its text."""

from __future__ import annotations

import io
import json
import runpy
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerass2s import zoo

ROOT = Path(__file__).parent.parent
TEXTS = sorted((ROOT / "notebooks").glob("*.py"))
LARGEST, LARGEST_TOGETHER = 400_000, 1_500_000
MAKER = runpy.run_path(str(ROOT / "docs" / "make_notebooks.py"))


def test_a_text_is_cut_into_cells() -> None:
    header, title = "# ---\n# a: header\n# ---\n\n", "# %% [markdown]\n# # Title\n#\n# Some `text`.\n\n"
    text = header + title + '# %%\na = 1\n\n\n# %%\n# b\nb = "# x"\n'
    cells = MAKER["cells_of"](text)
    assert cells == [("markdown", "# Title\n\nSome `text`."), ("code", "a = 1"), ("code", '# b\nb = "# x"')]
    assert MAKER["cells_in"](MAKER["blank"](cells)) == cells


def test_there_is_a_notebook_for_each_text_and_the_other_way_round() -> None:
    assert TEXTS
    assert [path.stem for path in TEXTS] == [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_a_notebook_is_its_text_cell_by_cell_ran_without_an_error_and_is_small(path: Path) -> None:
    notebook = path.with_suffix(".ipynb")
    found = json.loads(notebook.read_text("utf-8"))
    assert MAKER["cells_in"](found) == MAKER["cells_of"](path.read_text("utf-8")), "run `make notebooks`"
    outputs = [output["output_type"] for cell in found["cells"] for output in cell.get("outputs", [])]
    assert "display_data" in outputs
    assert "error" not in outputs
    assert notebook.stat().st_size < LARGEST


def test_the_notebooks_are_small_together() -> None:
    assert sum(path.with_suffix(".ipynb").stat().st_size for path in TEXTS) < LARGEST_TOGETHER


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_a_notebook_can_be_opened_in_colab(path: Path) -> None:
    (_, title), (_, installation) = MAKER["cells_of"](path.read_text("utf-8"))[:2]
    assert "colab.research.google.com/github/" in title
    assert f"/notebooks/{path.stem}.ipynb" in title
    assert '"pip", "install"' in installation


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On next to nothing: what it shows then means nothing, but its own assertions hold."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERASS2S_QUICK", "1")
    monkeypatch.setattr(zoo, "__path__", [*zoo.__path__])  # a notebook adds to it
    # In this process, which has TensorFlow already: to import it takes longer than most of the notebooks do so.
    runpy.run_path(str(path), run_name="__main__")
    assert list(tmp_path.glob("*.png"))


def test_a_picture_is_kept_with_few_colours_and_what_was_transparent_stays_so() -> None:
    shades = np.random.default_rng(0).integers(0, 255, (60, 60, 4), np.uint8)
    shades[:30, :, 3], shades[30:, :, 3] = 0, 255
    drawn = io.BytesIO()
    PIL.Image.fromarray(shades, "RGBA").save(drawn, "PNG")
    small = MAKER["few_colours"](drawn.getvalue())
    kept = PIL.Image.open(io.BytesIO(small)).convert("RGBA")
    assert len(small) < len(drawn.getvalue())
    assert len(kept.getcolors(10_000)) <= 128
    np.testing.assert_array_equal(np.asarray(kept)[:, :, 3], shades[:, :, 3])
