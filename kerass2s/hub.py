"""Presets on the Hugging Face Hub, by its own client: `hf://OWNER/NAME[@REVISION]`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kerass2s
from kerass2s.downloads import cache
from kerass2s.errors import PresetError

__all__ = ["is_handle", "pull", "push"]

SCHEME = "hf://"
HANDLE = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
# Of a training run's directory, what is for going on with it alone; and what is not the preset.
LEFT_HERE = ["backup/*", ".*", "*/.*"]
PRESET_FILES = ["config.json", "*.weights.h5", "*.spm", "confidence.json", "member_*/*"]
CARD = """---
library_name: kerass2s
pipeline_tag: text2text-generation
tags: [keras, seq2seq, {architecture}]
---

# {name}

A `{architecture}` of [kerass2s](https://github.com/kerass2s/kerass2s):

    kerass2s predict hf://{repository} -
"""


def is_handle(name: Any) -> bool:
    """Tells a handle from a preset's name or path."""
    return str(name).startswith(SCHEME)


def pull(handle: str) -> Path:
    """Downloads what a preset consists of, files that are here already left out, and returns its directory.

    Raises:
        PresetError: it is no handle, there is none, it cannot be reached, or `huggingface_hub` is not installed.
    """
    repository, revision = _parse(handle)
    patterns = [*PRESET_FILES, *(f"preset/{name}" for name in PRESET_FILES)]
    api = _api(_client())
    # The client's own cache is full of links that lead out of a snapshot, which a preset must not have.
    place = cache("hub") / repository / (revision or "main").replace("/", "-")
    with _refusals(handle):
        return Path(api.snapshot_download(repository, revision=revision, allow_patterns=patterns, local_dir=place))


def push(directory: Path, handle: str, architecture: str, *, private: bool, message: str) -> str:
    """Uploads a directory as one commit, and returns the address of its page.

    Raises:
        PresetError: see `pull`; or nobody is logged in who may write there.
    """
    repository, revision = _parse(handle)
    client = _client()
    api = _api(client)
    with _refusals(handle):
        page = api.create_repo(repository, private=private, exist_ok=True)
        operations = [client.CommitOperationAdd(name, directory / name) for name in _files(client, directory)]
        if not (directory / "README.md").is_file():
            operations.append(_card(client, repository, architecture))
        api.create_commit(repository, operations, commit_message=message, revision=revision)
    return str(page)


def _files(client: Any, directory: Path) -> list[str]:
    """Names what of a directory is to be uploaded."""
    every = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return list(client.utils.filter_repo_objects(every, ignore_patterns=LEFT_HERE))


def _card(client: Any, repository: str, architecture: str) -> Any:
    name = repository.rpartition("/")[2]
    text = CARD.format(architecture=architecture, name=name, repository=repository)
    return client.CommitOperationAdd("README.md", text.encode())


def _parse(handle: str) -> tuple[str, str | None]:
    found = HANDLE.fullmatch(str(handle))
    if found is None:
        raise PresetError(f"A handle is hf://OWNER/NAME or hf://OWNER/NAME@REVISION. Received: {str(handle)!r}")
    return found[1], found[2]


def _client() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise PresetError(f"hf:// needs: pip install 'kerass2s[hub]'. Received: {error}") from error


def _api(client: Any) -> Any:
    return client.HfApi(library_name="kerass2s", library_version=kerass2s.__version__)


@contextmanager
def _refusals(handle: str) -> Iterator[None]:
    """Makes one line of whatever the client raises: it has errors of its own, and those of its HTTP library."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PresetError(f"{handle}: the hub cannot be used so. Received: {reason[:300]}") from error
