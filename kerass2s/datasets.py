"""Data by name: what a recipe can train on without a file of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerass2s.data import Pair

__all__ = ["NAMES", "load_split"]

NAMES = ("cmudict", "dates", "numbers", "scan_simple", "scan_length", "scan_addprim_jump")


def load_split(name: str) -> dict[str, list[Pair]]:
    """Returns the parts `train`, `dev` and `test` of the data of one of `NAMES`.

    Raises:
        DataError: the data, or the package that it comes in, is not there.
    """
    from kerass2s import cmudict, dates, numerals, scan  # they bring tensorflow, and the names alone are asked for more

    if name.startswith("scan_"):
        return scan.load_split(name.removeprefix("scan_"))
    return {"cmudict": cmudict, "dates": dates, "numbers": numerals}[name].load_split()
