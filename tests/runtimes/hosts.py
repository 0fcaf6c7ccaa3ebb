"""How the tests start a host: a program that answers each line of its input with an export."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
STRANGE = ["", " ", "Ｐｈｏｎｅｍｅ", "ﬁnance", "naïve", "☃☃", "two words", "▁", "\u00a0no-break\u00a0space", "日本"]


def ask(command: list[str], lines: list[str]) -> list[str]:
    """Returns what a host answers to lines."""
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split("\n")[:-1]
