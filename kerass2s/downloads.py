"""Downloads: resumed where they broke off, checked, and never under their name before they are whole."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from kerass2s.errors import DataError
from kerass2s.files import MEBIBYTE, OUT_OF_ROOM, digest, sync_directory

__all__ = ["cache", "download", "fetch"]

CACHE, MIRROR = "KERASS2S_DATA", "KERASS2S_MIRROR"
BLOCK = 1 << 16
WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


class _Again(Exception):
    """What another try may mend."""


def cache(name: str) -> Path:
    """Returns where what comes from elsewhere is kept: `$KERASS2S_DATA/NAME`, or `~/.cache/kerass2s/NAME`."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "kerass2s") / name


def fetch(name: str, folder: str, file: str, path: Path, right: str | Callable[[Path], None], *, largest: int) -> None:
    """Downloads a data set's file where there is none at `path`.

    Args:
        name: of the data set.
        folder: the address that its files are below; with a mirror it is `$KERASS2S_MIRROR/NAME/` instead.
        file: below that address.
        path: where it goes.
        right: what it must be, as in `download`.
        largest: the most bytes to take.

    Raises:
        DataError: it cannot be had, or is another file; the message says where to put it.
    """
    if path.is_file():
        return
    mirror = os.environ.get(MIRROR)
    try:
        download((f"{mirror.rstrip('/')}/{name}/" if mirror else folder) + file, path, right, largest=largest)
    except DataError as error:
        raise DataError(f"Cannot download {file}; put it at {path}. {error}") from error


def download(
    address: str,
    path: Path,
    right: str | Callable[[Path], None],
    *,
    largest: int = 4096 * MEBIBYTE,
    timeout: float = 30.0,
    minutes: float = 60.0,
    tries: int = 5,
    pause: float = 1.0,
) -> None:
    """Brings a file; it takes its name only when it is whole and has its checksum.

    What came before a connection broke, or before this process ended, is kept beside it and not asked for again. Two
    processes that want one file take turns, and the second finds it there.

    Args:
        address: `https://`, `http://`, or `file://` of a mirror on a disk; the checksum tells whether it is the file,
            whoever sent it.
        path: where it goes.
        right: its SHA-256, in hexadecimal; or, of a file whose content is known but not how it was packed, what reads a
            file and raises DataError unless it is the one that is meant.
        largest: the most bytes to take.
        timeout: seconds without a byte after which a try ends.
        minutes: after which it is given up, however slowly bytes come.
        tries: how often it is tried without a byte more than before.
        pause: seconds before the second try, twice as many before each further one.

    Raises:
        DataError: it cannot be had, is too large, or is another file; the message has the address.
        OSError: the path cannot be written.
    """
    if not address.startswith(("https://", "http://", "file://")):
        raise DataError(f"An address begins with https://, http:// or file://. Received: {address!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    check = functools.partial(_need_digest, sha256=right) if isinstance(right, str) else right
    mark = right if isinstance(right, str) else hashlib.sha256(address.encode()).hexdigest()
    part = path.with_name(f".{path.name}.{mark[:16]}.part")
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if _passes(path, check):
            part.unlink(missing_ok=True)
            return
        _fill(file, address, largest, timeout, time.monotonic() + 60 * minutes, tries, pause)
        os.fsync(file.fileno())
        try:
            check(part)
        except DataError as error:
            part.unlink()
            raise DataError(f"{address}: not the file that was meant. {error}") from error
        os.replace(part, path)
    sync_directory(path.parent)


def _need_digest(path: Path, sha256: str) -> None:
    found = digest(path)
    if found != sha256:
        raise DataError(f"Its SHA-256 should be {sha256}. Received: {found}")


def _passes(path: Path, check: Callable[[Path], None]) -> bool:
    if not path.is_file():
        return False
    try:
        check(path)
    except DataError:
        return False
    return True


def _fill(file: BinaryIO, address: str, largest: int, timeout: float, end: float, tries: int, pause: float) -> None:
    """Appends what is missing, in as many tries as it takes while each brings something."""
    failed = 0
    while True:
        before = file.tell()
        try:
            return _append(file, address, largest, timeout, end)
        except (OSError, http.client.HTTPException, _Again) as error:
            failed = failed + 1 if file.tell() <= before else 1
            if failed >= tries or time.monotonic() > end or _is_final(error):
                raise DataError(
                    f"{address}: cannot be downloaded. Received: {error or type(error).__name__}"
                ) from error
            time.sleep(pause * 2 ** (failed - 1))


def _is_final(error: Exception) -> bool:
    """Tells whether the server has said no, or the disk; any other trouble may pass."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in WORTH_ANOTHER_TRY
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, FileNotFoundError | str):
        return True  # of a mirror on a disk, or an address that is none
    return isinstance(error, OSError) and error.errno in OUT_OF_ROOM


def _append(file: BinaryIO, address: str, largest: int, timeout: float, end: float) -> None:
    """Asks for what comes after the bytes that are there, and appends it."""
    have = file.tell()
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        return  # nothing is missing; the checksum will tell
    with answer:
        if have and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            file.seek(0)  # the server sends all of it
            file.truncate()
        length = answer.headers.get("Content-Length")
        whole = None if length is None or not length.isdigit() else file.tell() + int(length)
        while block := answer.read(BLOCK):
            if file.tell() + len(block) > largest:
                raise DataError(f"{address}: more than {largest:,} bytes are not taken. Received: {whole or 'more'}")
            file.write(block)
            if time.monotonic() > end:
                raise _Again("it takes too long")
        file.flush()
        if whole is not None and file.tell() < whole:
            raise _Again(f"the connection broke off after {file.tell():,} of {whole:,} bytes")
