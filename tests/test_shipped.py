"""The presets that are shipped: whole, within the size that they may have, and each export as good as its preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerass2s import bundled, datasets
from kerass2s.export import verify
from kerass2s.export.manifest import check_manifest
from kerass2s.release import shipped

ROOT = Path(__file__).parent.parent
LARGEST = 120e6


def test_all_of_them_are_within_their_size():
    files = [path for path in (ROOT / "exported").rglob("*") if path.is_file() and "demo" not in path.parts]
    assert 0 < sum(path.stat().st_size for path in files) <= LARGEST


@pytest.mark.parametrize("name", bundled.names())
def test_its_files_are_those_of_its_manifest_and_its_card_has_figures(name: str):
    assert check_manifest(ROOT / "exported" / name) == []
    card = next(each for each in shipped() if each.name == name)
    assert {"dev", "test"} == set(card.figures)
    metrics = datasets.about(card.data).metrics
    for part in card.figures.values():
        assert set(part) == set(metrics)


@pytest.mark.parametrize("name", bundled.names())
def test_its_exports_give_what_it_gives(name: str):
    report = verify(ROOT / "exported" / name)
    assert report.ok, str(report)
    assert len(report.checks) == 3
