"""The four ids that mean the same in every vocabulary, every export and every runtime."""

from __future__ import annotations

PAD_ID = 0
UNKNOWN_ID = 1
START_ID = 2
END_ID = 3

SPECIAL_IDS: dict[str, int] = {"pad": PAD_ID, "unknown": UNKNOWN_ID, "start": START_ID, "end": END_ID}
"""Name to id, in the order of the ids."""
