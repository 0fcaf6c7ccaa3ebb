"""The page on search: every spec that it shows is one; `test_docs` runs its code."""

from __future__ import annotations

import re
from pathlib import Path

from kerass2s.decoding import parse_search

PAGE = (Path(__file__).parent.parent / "docs" / "search.md").read_text("utf-8")


def test_its_specs_are_read() -> None:
    specs = re.findall(r"`((?:greedy|beam|sample|mbr|rollout):[a-z0-9_=.,+]*)`", PAGE)
    filters = re.findall(r"^\| (`[a-z_]+(?:=[^|]*)?) \|", PAGE, re.MULTILINE)
    assert len(specs) > 10 and len(filters) > 6
    for spec in specs:
        parse_search(spec)
    for row in filters:
        for rule in re.findall(r"`([^`]*)`", row):
            if "=" in rule or rule == "no_unknown":
                assert parse_search(f"greedy:{rule}").filters
