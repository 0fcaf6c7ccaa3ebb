"""Tiny models of every architecture, and one whole exported directory, made once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import keras
import pytest

from kerass2s import zoo
from kerass2s.decoding import BeamSearch
from kerass2s.export import export_onnx, export_saved_model, write_manifest
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import SentencePieceTokenizer

Make = Callable[[str], Seq2Seq]

# How many times the weights a model is given. Where no normalisation stands between layers, or attention in every one,
# three times would make large differences of the last digit that two runtimes round differently.
LARGE = {"convs2s2017": 1, "transformer2017": 2}


@pytest.fixture(scope="session")
def tiny(source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer) -> Make:
    """Makes a tiny model of an architecture, the same one each time, with weights large enough to be sure of itself."""

    def make(name: str) -> Seq2Seq:
        keras.utils.set_random_seed(7)
        tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
        model = zoo.build(name, **tokenizers, preset="tiny")
        for weight in model.trainable_weights:
            weight.assign(LARGE.get(name, 3) * weight)
        return model

    return make


@pytest.fixture(scope="session")
def live(tiny: Make) -> Seq2Seq:
    """The model that `exported` was made from."""
    return tiny("luong2015")


@pytest.fixture(scope="session")
def search() -> BeamSearch:
    """The search that `exported` holds."""
    return BeamSearch(width=2, max_length=6)


@pytest.fixture(scope="session")
def exported(live: Seq2Seq, search: BeamSearch, once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A directory NAME/ with preset/, saved_model/1, model.onnx and manifest.json; tests leave it as it is."""

    def fill(directory: Path) -> None:
        live.save_to_preset(directory / "preset")
        export_saved_model(live, directory / "saved_model" / "1", search)
        export_onnx(live, directory / "model.onnx", search)
        write_manifest(directory)

    return once("exported", fill)


@pytest.fixture(scope="session")
def pretend_gpu() -> Callable[[], AbstractContextManager[None]]:
    """Lets Keras think, for a while, that there is a GPU: its layers then trace cuDNN's operator wherever they may."""

    @contextmanager
    def pretend() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules["keras.src.backend.tensorflow.rnn"], "_is_gpu_available", lambda: True)
            yield

    return pretend
