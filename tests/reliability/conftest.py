"""What the tests of this room share: a disk of one mebibyte, to be filled."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs.

    Attributes:
        place: where it is mounted.
        mounted: false where none may be; the place is then a directory like any other.
    """

    def __init__(self, place: Path, mounted: bool) -> None:
        self.place = place
        self.mounted = mounted

    def fill(self, left: int = 0) -> None:
        """Leaves so many bytes."""
        (self.place / "filling").unlink(missing_ok=True)
        (self.place / "filling").write_bytes(bytes(shutil.disk_usage(self.place).free - left))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of its own, where this may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield SmallDisk(place, mounted)
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def full_disk(small_disk: SmallDisk) -> SmallDisk:
    """The same, for tests that make no sense without it."""
    if not small_disk.mounted:  # that takes root, which CI has and a developer's account may not
        pytest.skip("no tmpfs may be mounted here")
    return small_disk
