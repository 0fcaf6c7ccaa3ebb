"""Files that anyone may have made: found inside their directory, read within limits, told by SHA-256, written whole."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from kerass2s.errors import DataError, UserError

__all__ = [
    "MEBIBYTE",
    "OUT_OF_ROOM",
    "SEAL",
    "digest",
    "inside",
    "need_room",
    "opened",
    "read_bytes",
    "read_json",
    "seal",
    "sealed",
    "sync_directory",
    "sync_file",
    "write_bytes",
    "write_json",
]

MEBIBYTE = 1 << 20
OUT_OF_ROOM = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
"""The numbers of a disk's errors that more room would mend."""
SEAL = "sha256"
"""The key of a JSON object that has the checksum of all the others."""

Refusal = type[UserError]


# === Places ===


def inside(directory: Path, name: str, refusal: Refusal = DataError) -> Path:
    """Returns the path of a file that a directory's own list names, which must lie inside that directory.

    Args:
        directory: where the list was found.
        name: as the list has it, with `/` between its parts.
        refusal: the kind of error.

    Raises:
        UserError: the name is absolute or has `..` in it, or a symbolic link leads out.
    """
    parts = PurePosixPath(name).parts
    strange = not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
    path = directory.joinpath(*parts) if not strange else directory
    if strange or not path.resolve().is_relative_to(directory.resolve()):
        raise refusal(f"{directory}: a file must lie inside its directory. Received: {name!r}")
    return path


# === Reading ===


def opened(path: Path, refusal: Refusal = DataError) -> BinaryIO:
    """Opens a plain file; what only looks like one, such as a pipe that never ends, is refused.

    Raises:
        UserError: there is no such file, it is no plain file, or it may not be read.
    """
    try:
        # Of a pipe without a writer, plain opening would wait for one.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refusal(f"{path}: this file cannot be read: {reason}. Received: {str(path)!r}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise refusal(f"{path}: this is no plain file. Received: {str(path)!r}")
    return os.fdopen(handle, "rb")


def read_bytes(path: Path, limit: int, refusal: Refusal = DataError) -> bytes:
    """Reads a file of at most `limit` bytes.

    Raises:
        UserError: as `opened`, or it has more bytes.
    """
    with opened(path, refusal) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(limit + 1) if size <= limit else b""
    if size > limit or len(content) > limit:
        raise refusal(f"{path}: a file of this kind has at most {limit:,} bytes. Received: {max(size, limit + 1):,}")
    return content


def read_json(path: Path, limit: int, refusal: Refusal = DataError) -> dict[str, Any]:
    """Reads a JSON object of at most `limit` bytes.

    Raises:
        UserError: as `read_bytes`, or it is no JSON, has one key twice, a number that JSON does not have, or too much
            inside one another.
    """
    content = read_bytes(path, limit, refusal)
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise refusal(f"{path}: cannot be read as JSON. Received: {error}") from error
    if not isinstance(found, dict):
        raise refusal(f"{path}: must be a JSON object. Received: {type(found).__name__}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object with one key twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is no number of JSON")


# === Checksums ===


def digest(path: Path, refusal: Refusal = DataError) -> str:
    """Returns the SHA-256 of a file, in hexadecimal; raises as `opened`."""
    with opened(path, refusal) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(content: dict[str, Any], beside: bytes = b"") -> dict[str, Any]:
    """Returns a JSON object with `sha256`, over all its other keys and what stands beside it."""
    content = {key: value for key, value in content.items() if key != SEAL}
    return {**content, SEAL: seal(content, beside)}


def seal(content: dict[str, Any], beside: bytes = b"") -> str:
    """Returns the SHA-256 of a JSON object, in whatever order its keys are, and of what stands beside it."""
    content = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode() + beside).hexdigest()


# === Writing ===


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that is either whole or as it was, whenever the machine stops.

    Raises:
        OSError: it cannot be written, as where the disk is full; there is then no part of it.
    """
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with made.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
    finally:
        made.unlink(missing_ok=True)
    sync_directory(path.parent)


def need_room(directory: Path, size: int) -> None:
    """Looks whether so many bytes can be written, before a library does that cannot bear it if they cannot.

    Raises:
        OSError: the disk has less room.
    """
    free = shutil.disk_usage(directory).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {size:,} bytes are needed, {free:,} are free")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON object as `write_bytes` does."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


def sync_file(path: Path) -> None:
    """Makes a file's content last, should the machine stop."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory last, as `fsync` does a file's content."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
