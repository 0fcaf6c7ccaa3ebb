"""Downloads from a server that drops connections, lies, or sends too much: whole and checked, or not there."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kerass2s import scan
from kerass2s.deploy.web import RUNTIME, unpack
from kerass2s.downloads import download
from kerass2s.errors import DataError, ExportError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK: dict[str, Any] = {"timeout": 2.0, "pause": 0.01}


class Server(ThreadingHTTPServer):
    """Sends CONTENT, but as `faults` say, one a request: bytes until it drops the connection, or a status."""

    def __init__(self) -> None:
        super().__init__(("localhost", 0), Handler)
        self.faults: list[int | str] = []
        self.ranges: list[str | None] = []
        self.content = CONTENT
        self.address = f"http://localhost:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """Answers as the next fault says."""
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, str) and fault.isdigit():
            self.send_error(int(fault))
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and fault != "all" else 0
        body = self.server.content[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header(
                "Content-Range", f"bytes {begin}-{len(self.server.content) - 1}/{len(self.server.content)}"
            )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "hang":
            threading.Event().wait(0.6)
        self.wfile.write(body[: fault if isinstance(fault, int) else None])

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server, for one test."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_dropped_connection_is_resumed_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.faults = [100_000, 50_000, 0, "503"]
    download(server.address, tmp_path / "file", SHA256, **QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=150000-"]
    assert names(tmp_path) == ["file"]
    download(server.address, tmp_path / "file", SHA256, **QUICK)  # it is there
    assert len(server.ranges) == 5


def test_a_run_that_gave_up_leaves_no_half_file_and_the_next_goes_on(server: Server, tmp_path: Path) -> None:
    server.faults = [1000, *[0] * 3]
    with pytest.raises(DataError, match=r"cannot be downloaded. Received: the connection broke off after 1,000 of"):
        download(server.address, tmp_path / "file", SHA256, tries=2, **QUICK)
    assert not (tmp_path / "file").exists()
    server.faults, server.ranges = ["all"], []  # and this server knows no ranges
    download(server.address, tmp_path / "file", SHA256, **QUICK)
    assert server.ranges == ["bytes=1000-"]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_another_file_is_refused_and_nothing_of_it_kept(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(DataError, match="not the file that was meant"):
        download(server.address, tmp_path / "file", SHA256, **QUICK)
    with pytest.raises(DataError, match="more than 1,000 bytes are not taken"):
        download(server.address, tmp_path / "file", SHA256, largest=1000, **QUICK)
    assert not (tmp_path / "file").exists()
    server.faults = ["404"]
    with pytest.raises(DataError, match="404"):
        download(server.address, tmp_path / "other", SHA256, **QUICK)
    with pytest.raises(DataError, match="An address begins with https://"):
        download("ftp://a.example/file", tmp_path / "file", SHA256)
    with pytest.raises(DataError, match="cannot be downloaded"):  # at once: what is not there will not come
        download("file:///nowhere/file", tmp_path / "file", SHA256, pause=1000)


def test_a_server_that_says_nothing_is_left(server: Server, tmp_path: Path) -> None:
    server.faults = ["hang"]
    with pytest.raises(DataError, match="timed out"):
        download(server.address, tmp_path / "file", SHA256, timeout=0.2, tries=1)


def test_two_at_once_fetch_it_once(server: Server, tmp_path: Path) -> None:
    asked = (server.address, tmp_path / "file", SHA256)
    threads = [threading.Thread(target=download, args=asked, kwargs=QUICK) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.ranges) == 1
    assert names(tmp_path) == ["file"]


def test_a_mirror_stands_for_the_authors_address(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERASS2S_MIRROR", f"http://localhost:{server.server_port}/mirror/")
    with pytest.raises(DataError, match=r"mirror/scan/simple_split/.*: not the file that was meant"):
        scan.load_split("simple", tmp_path)


# === Archives ===


def packed(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """An archive with files, and links where the content is a str."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def test_members_of_an_archive_stay_in_their_place(tmp_path: Path) -> None:
    whole = [(f"package/dist/{name}", b"x") for name in RUNTIME]
    unpack(packed(tmp_path / "a.tgz", *whole, ("../../evil", b"x"), ("/tmp/evil", b"x")), tmp_path / "a")
    assert names(tmp_path / "a") == sorted(RUNTIME)
    assert names(tmp_path) == ["a", "a.tgz"]
    for name, members in {"link": [(whole[0][0], "/etc/passwd"), *whole[1:]], "missing": whole[1:]}.items():
        with pytest.raises(ExportError, match="Received: "):
            unpack(packed(tmp_path / f"{name}.tgz", *members), tmp_path / name)
    (tmp_path / "cut.tgz").write_bytes((tmp_path / "a.tgz").read_bytes()[:60])
    with pytest.raises(ExportError, match="not the package"):
        unpack(tmp_path / "cut.tgz", tmp_path / "cut")
