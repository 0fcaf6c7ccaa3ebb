"""Readers of pairs: TSV files, parallel files and plain sources, with errors that name the file and the line."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kerass2s.errors import DataError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHOWN = 60
LONGEST_LINE = 1 << 22
"""Bytes: a line that is longer is refused before all of it is read."""


class Pair(NamedTuple):
    """A source, its target, and other targets that are as good."""

    source: str
    target: str
    alternatives: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """Every accepted target, the one to train on first."""
        return (self.target, *self.alternatives)


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """Reads a TSV file (`.gz` too): `source<TAB>target[<TAB>other accepted targets]`, a pair a line.

    Raises:
        DataError: if the file is missing, empty, binary, not UTF-8 or a broken gzip file, or a line has no tab, an
            empty side or more than `LONGEST_LINE` bytes; the message names the file and the line.
    """
    return [_pair(path, number, line) for number, line in _some_lines(path)]


def read_parallel(source_path: str | os.PathLike[str], target_path: str | os.PathLike[str]) -> list[Pair]:
    """Reads two files (`.gz` too) whose lines belong together; a tab is a character like any other.

    Raises:
        DataError: as `read_pairs`, or if one file has more lines than the other.
    """
    pairs = []
    for source, target in itertools.zip_longest(_some_lines(source_path), _some_lines(target_path)):
        if source is None or target is None:
            raise _ragged(source_path, target_path, len(pairs), source_ended=source is None)
        pairs.append(Pair(_side(source_path, *source, "line"), _side(target_path, *target, "line")))
    return pairs


def read_sources(path: str | os.PathLike[str]) -> list[str]:
    """Reads the first column of a file (`.gz` too), or of standard input for `-`: what `predict` is asked about.

    An empty line is an empty source: there are as many sources as lines, in their order. Nothing but the tab splits
    a line, and nothing but a line feed (with a carriage return before it, if any) ends one.

    Raises:
        DataError: if the file is missing, empty, binary, not UTF-8 or a broken gzip file, or a line has more than
            `LONGEST_LINE` bytes.
    """
    return list(stream_sources(path))


def stream_sources(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yields what `read_sources` returns, each line when it is asked for: the file may be of any length.

    Raises:
        DataError: as `read_sources`, when the reading comes to the line.
    """
    return (line.partition("\t")[0] for _, line in _some_lines(path))


def count_lines(path: str | os.PathLike[str]) -> int | None:
    """Counts the lines of a file (`.gz` too) and checks each; None for what can be read but once, such as a pipe.

    Raises:
        DataError: as `read_sources`, but an empty file has 0 lines.
    """
    if os.fspath(path) == "-" or (Path(path).exists() and not Path(path).is_file()):
        return None
    return sum(1 for _ in _lines(path))


# === Lines ===


def _some_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """The numbered lines of a file, at least one."""
    number = 0
    for number, line in _lines(path):
        yield number, line
    if number == 0:
        raise _error(path, 1, "the file is empty", "0 lines")


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
                if len(line) > LONGEST_LINE:
                    raise _error(path, number, f"a line has at most {LONGEST_LINE:,} bytes", line[:_SHOWN])
                yield number, _decoded(path, number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _error(path, number + 1, "broken gzip file", str(error)) from error
    except OSError as error:
        raise _error(path, number + 1, "cannot read the file", error.strerror or str(error)) from error


def _open(path: str | os.PathLike[str]) -> contextlib.AbstractContextManager[BinaryIO]:
    if os.fspath(path) == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    return gzip.open(path, "rb") if Path(path).suffix == ".gz" else open(path, "rb")


def _decoded(path: str | os.PathLike[str], number: int, line: bytes) -> str:
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if b"\0" in line:
        raise _error(path, number, "a null character: this is not a text file", line[:_SHOWN])
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        around = line[max(error.start - 10, 0) : error.start + 10]
        raise _error(path, number, f"not UTF-8 at byte {error.start + 1} of the line", around) from error


# === Columns ===


def _pair(path: str | os.PathLike[str], number: int, line: str) -> Pair:
    source, *targets = line.split("\t")
    if not targets:
        raise _error(path, number, "no tab between source and target", line)
    names = ("source", "target", *["other target"] * (len(targets) - 1))
    for name, text in zip(names, (source, *targets), strict=True):
        _side(path, number, text, name, line)
    return Pair(source, targets[0], tuple(targets[1:]))


def _side(path: str | os.PathLike[str], number: int, text: str, name: str, line: str | None = None) -> str:
    if not text.strip():
        raise _error(path, number, f"the {name} is empty", text if line is None else line)
    return text


# === Errors ===


def _ragged(
    source_path: str | os.PathLike[str], target_path: str | os.PathLike[str], lines: int, *, source_ended: bool
) -> DataError:
    short, long = (source_path, target_path) if source_ended else (target_path, source_path)
    return _error(short, lines + 1, f"the file ends here, but {long} has more lines", f"{lines} lines")


def _error(path: str | os.PathLike[str], number: int, what: str, received: object) -> DataError:
    name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
    shown = received if isinstance(received, bytes) else str(received)
    shown = repr(shown[:_SHOWN]) + ("…" if len(shown) > _SHOWN else "")
    return DataError(f"{name}:{number}: {what}. Received: {shown}")
