"""Exports under load, briefly: see benchmarks/load.py, and docs/reliability.md for minutes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "load.py"


def test_every_client_of_many_gets_the_answer_that_one_alone_gets(pronouncer_exports: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(pronouncer_exports), "--seconds", "2", "--clients", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["export"] for each in figures] == ["saved_model/1", "model.onnx"]
    for each in figures:
        assert each["requests"] > 10
        assert each["wrong"] == 0
        assert each["given_up"] > 0
        assert each["slow_requests"] > 0
        assert each["memory_at_the_end_mib"] < 1.1 * each["memory_after_a_third_mib"] + 20
