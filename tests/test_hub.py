"""Presets on the Hugging Face Hub: the official client, talking to a small stand-in for the hub on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants

from kerass2s import hub
from kerass2s.errors import PresetError
from kerass2s.presets import load_preset, push_preset

REPOSITORY = "/me/g2p"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as pushing and pulling takes: files live in `server.files`."""

    protocol_version = "HTTP/1.1"

    def _answer(self, body: Any = b"", status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _missing(self, code: str) -> None:
        self._answer({"error": "nothing here"}, 404, X_Error_Code=code)

    def do_POST(self) -> None:
        """Makes the repository, reads the card, says how each file is to come, and takes a commit."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.path == "/api/repos/create":
            self._answer({"url": f"http://{self.headers['Host']}{REPOSITORY}", "name": "me/g2p", "id": "1"})
        elif self.path == "/api/validate-yaml":
            front = json.loads(body)["content"].split("---\n")[1]
            errors = [] if isinstance(yaml.safe_load(front), dict) else [{"message": "no front matter"}]
            self._answer({"errors": errors, "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            told = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]
            self._answer({"files": told})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer(
                {
                    "success": True,
                    "commitOid": COMMIT,
                    "commitUrl": f"http://{self.headers['Host']}{REPOSITORY}/commit/{COMMIT}",
                }
            )
        else:
            self._missing("RepoNotFound")

    def do_GET(self) -> None:
        """Lists the repository, or hands out a file."""
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        files, path = self.server.files, self.path.partition("?")[0]
        if path.startswith(f"/api/models{REPOSITORY}/tree/"):
            self._answer(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in files.items()
                ]
            )
        elif path.startswith(f"/api/models{REPOSITORY}"):
            self._answer({"id": "me/g2p", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
        elif path.startswith(f"{REPOSITORY}/resolve/"):
            content = files[path.split("/", 5)[5]]
            self._answer(content, X_Repo_Commit=COMMIT, ETag=f'"{hashlib.sha1(content).hexdigest()}"')
        else:
            self._missing("RepoNotFound")

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Keeps quiet."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The stand-in, which the client takes for the hub, with a cache of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.asked = {}, []
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    files = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setenv("KERASS2S_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.daemon_threads = False  # closing the server waits for what it still answers
    yield server
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def preset(pronouncer: Path, tmp_path: Path) -> Path:
    """A preset that a test may change, with what a run leaves beside it."""
    directory = Path(shutil.copytree(pronouncer, tmp_path / "preset_of_mine"))
    (directory / "backup").mkdir()
    (directory / "backup" / "state").write_text("large")
    (directory / "history.jsonl").write_text("{}\n")
    return directory


def test_what_was_pushed_is_pulled_and_says_the_same(served: Any, preset: Path):
    assert push_preset(preset, "hf://me/g2p").endswith(REPOSITORY)
    files = {"config.json", "model.weights.h5", "source.spm", "target.spm"}
    assert set(served.files) == {*files, "README.md", "history.jsonl"}, "but no backup"
    assert served.files["model.weights.h5"] == (preset / "model.weights.h5").read_bytes()
    card = served.files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: kerass2s\n")
    assert "kerass2s predict hf://me/g2p -" in card
    assert {token for path, token in served.asked if "/commit/" in path} == {"Bearer hf_of_the_test"}

    model = load_preset("hf://me/g2p")
    assert model.generate(["daylights"]) == load_preset(preset).generate(["daylights"])
    first = [path for path, _ in served.asked if "/resolve/" in path]
    assert not any("history" in path for path in first), "what is no part of the preset is not downloaded"
    assert hub.pull(f"hf://me/g2p@{COMMIT}").name == COMMIT, "another revision has a place of its own"
    served.asked.clear()
    hub.pull("hf://me/g2p")
    assert not [path for path, _ in served.asked if "/resolve/" in path], "what is here is not asked for again"


def test_a_card_and_exports_beside_a_preset_go_too(served: Any, preset: Path):
    release = preset.parent / "release"
    shutil.copytree(preset, release / "preset")
    (release / "README.md").write_text("---\nmine: true\n---\n")
    (release / "model.onnx").write_bytes(b"onnx")
    push_preset(release, "hf://me/g2p")
    assert served.files["README.md"].startswith(b"---\nmine")
    assert {"model.onnx", "preset/config.json"} <= set(served.files)
    assert (hub.pull("hf://me/g2p") / "preset" / "config.json").is_file()


def test_what_the_hub_refuses_is_one_line(served: Any, preset: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(PresetError, match=r"hf://OWNER/NAME.*Received: 'hf://g2p'"):
        load_preset("hf://g2p")
    with pytest.raises(PresetError, match="hf://nobody/nothing: the hub cannot be used so. Received: ") as refused:
        load_preset("hf://nobody/nothing")
    assert "\n" not in str(refused.value)
    (preset / "source.spm").write_bytes(b"damaged")
    with pytest.raises(PresetError, match="damaged"):
        push_preset(preset, "hf://me/g2p")
    assert served.files == {}
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(PresetError, match=r"pip install 'kerass2s\[hub\]'"):
        load_preset("hf://me/g2p")
