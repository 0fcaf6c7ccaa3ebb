"""The readers: what they read, and the one clear line with file and line number for what they refuse."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerass2s.data import Pair, count_lines, read_pairs, read_parallel, read_sources, stream_sources
from kerass2s.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes bytes to a file of this name, compressed if the name says so."""

    def write_file(content: bytes, name: str = "pairs.tsv") -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write_file


# === What is read ===


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.tsv.gz"])
def test_pairs(write: Write, name: str) -> None:
    path = write("cat\tK AE T\nréad\tR EH D\tR IY D\r\n dog \tD AO G".encode(), name)
    expected = [Pair("cat", "K AE T"), Pair("réad", "R EH D", ("R IY D",)), Pair(" dog ", "D AO G")]
    assert read_pairs(path) == read_pairs(str(path)) == expected
    assert expected[1].targets == ("R EH D", "R IY D")


def test_a_byte_order_mark_is_dropped(write: Write) -> None:
    assert read_pairs(write(b"\xef\xbb\xbfa\tb\n")) == [Pair("a", "b")]


def test_parallel_files_keep_their_tabs(write: Write) -> None:
    sources, targets = write(b"a\tb\nc\n", "source.txt.gz"), write(b"x\ny\tz\r\n", "target.txt")
    assert read_parallel(sources, targets) == [Pair("a\tb", "x"), Pair("c", "y\tz")]


def test_sources_keep_empty_lines_and_every_space_that_is_not_a_line_feed(write: Write) -> None:
    lines = [
        "",
        "a\u00a0b\u202fc\u2028d\u2029e\u0085f\x0b\x0cg\x1c",
        "\u00a0",
        "",
        " x ",
        "y\r",
        "\ttarget",
        "z\tt\tu",
        "",
    ]
    path = write("".join(f"{line}\n" for line in lines).encode())
    assert read_sources(path) == [*lines[:5], "y", "", "z", ""]


def test_only_one_carriage_return_is_dropped(write: Write) -> None:
    assert read_sources(write(b"a\r\r\nb\rc\n\r\n")) == ["a\r", "b\rc", ""]


def test_the_last_line_needs_no_line_feed(write: Write) -> None:
    assert read_sources(write(b"a\n\nb")) == ["a", "", "b"]
    assert read_sources(write(b"\n")) == [""]


def test_sources_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("é\n\nb\n".encode())))
    assert read_sources("-") == ["é", "", "b"]


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\t\0"), max_size=20)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(LINE, min_size=1))
def test_any_lines_come_back_in_number_and_order(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    lines[0] = lines[0].removeprefix("\ufeff")
    path = tmp_path_factory.mktemp("lines") / "sources.txt"
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    assert read_sources(path) == lines


# === What is refused ===


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: the file is empty. Received: '0 lines'"),
        (b"a\tb\nno tab\n", ":2: no tab between source and target. Received: 'no tab'"),
        (b"a\tb\n\nc\td\n", ":2: no tab between source and target. Received: ''"),
        (b"a\tb\n\tc\n", r":2: the source is empty. Received: '\tc'"),
        (b"a\tb\nc\t \n", r":2: the target is empty. Received: 'c\t '"),
        (b"a\tb\nc\td\t\n", r":2: the other target is empty. Received: 'c\td\t'"),
        ("a\tb\n\u00a0\tc".encode(), r":2: the source is empty. Received: '\xa0\tc'"),
        (b"a\tb\ncaf\xe9\td\n", r":2: not UTF-8 at byte 4 of the line. Received: b'caf\xe9\td'"),
        ("a\tb\n".encode("utf-16"), ":1: a null character: this is not a text file. Received: "),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", r":1: not UTF-8 at byte 1 of the line. Received: b'\x89PNG'"),
        (b"a\tb\n\x7fELF\0\0", r":2: a null character: this is not a text file. Received: b'\x7fELF\x00\x00'"),
    ],
)
@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.tsv.gz"])
def test_a_bad_line_is_named(write: Write, name: str, content: bytes, message: str) -> None:
    path = write(content, name)
    with pytest.raises(DataError) as refused:
        read_pairs(path)
    assert str(refused.value).startswith(f"{path}{message}")
    assert "\n" not in str(refused.value)


def test_a_long_line_is_not_shown_whole(write: Write) -> None:
    with pytest.raises(DataError, match="Received: 'x{60}'…$"):
        read_pairs(write(b"x" * 10_000))


@pytest.mark.parametrize("name", ["none.tsv", "none.tsv.gz"])
@pytest.mark.parametrize("read", [read_pairs, read_sources, lambda path: read_parallel(path, path)])
def test_a_missing_file_is_refused(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=f"{name}:1: cannot read the file. Received: 'No such file or directory'"):
        read(tmp_path / name)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the file. Received: 'Is a directory'"):
        read_pairs(tmp_path)


def test_a_truncated_gzip_file_is_refused_at_every_length(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"source {index}\ttarget {index * 7919}\n" for index in range(50)).encode())
    path = tmp_path / "pairs.tsv.gz"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"pairs.tsv.gz:\d+: broken gzip file. Received: "):
            read_pairs(path)


def test_a_damaged_gzip_file_and_a_false_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv.gz"
    for content in (b"a\tb\n", gzip.compress(b"a\tb\n" * 99)[:-8] + b"\0" * 8, gzip.compress(b"")[:10] + b"\xff" * 30):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"pairs.tsv.gz:\d+: broken gzip file. Received: "):
            read_pairs(path)


def test_sources_of_an_empty_or_binary_file_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match=":1: the file is empty"):
        read_sources(write(b""))
    with pytest.raises(DataError, match=":2: not UTF-8 at byte 2"):
        read_sources(write(b"a\nb\xff\n"))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (b"a\nb\nc\n", b"x\n", "target.txt:2: the file ends here, but {source} has more lines. Received: '1 lines'"),
        (b"a\n", b"x\ny\n", "source.txt:2: the file ends here, but {target} has more lines. Received: '1 lines'"),
        (b"a\n\n", b"x\ny\n", "source.txt:2: the line is empty. Received: ''"),
        (b"a\nb\n", b"x\n \n", "target.txt:2: the line is empty. Received: ' '"),
        (b"a\n", b"", "target.txt:1: the file is empty"),
        (b"", b"x\n", "source.txt:1: the file is empty"),
        (b"a\n", b"\xff\n", "target.txt:1: not UTF-8"),
    ],
)
def test_bad_parallel_files_are_refused(write: Write, source: bytes, target: bytes, message: str) -> None:
    sources, targets = write(source, "source.txt"), write(target, "target.txt")
    with pytest.raises(DataError) as refused:
        read_parallel(sources, targets)
    assert message.format(source=sources, target=targets) in str(refused.value)


def test_standard_input_is_named_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n\xff\n")))
    with pytest.raises(DataError, match="^standard input:2: not UTF-8"):
        read_sources("-")


# === Streams ===


def test_a_stream_reads_a_line_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(b"cat\tK AE T\n\nact" + b"\n\xff\n")
    lines = stream_sources(path)
    assert [next(lines), next(lines), next(lines)] == ["cat", "", "act"]
    with pytest.raises(DataError, match=r"words.txt:4: not UTF-8"):
        next(lines)
    with pytest.raises(DataError, match="words.txt:4"):
        count_lines(path)
    path.write_bytes(b"a\n\nb")
    assert count_lines(path) == 3 == len(list(stream_sources(path)))
    assert count_lines("-") is None
