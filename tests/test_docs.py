"""The zoo's page says what the code says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from kerass2s import zoo

ROOT = Path(__file__).parent.parent


def test_the_page_of_the_zoo_is_what_the_code_draws() -> None:
    command = [sys.executable, str(ROOT / "docs" / "make_zoo.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, "run `python docs/make_zoo.py`" + done.stderr[-500:]


def test_every_text_architecture_has_its_figures() -> None:
    results = json.loads((ROOT / "docs" / "zoo_results.json").read_text("utf-8"))
    assert set(results) == set(zoo.names()) - {"listen_attend2016", "series2series"}
    assert all(set(tasks) == {"scan", "pronunciations"} for tasks in results.values())
