"""What every test shares: a quiet CPU, a few threads, a seed, tiny tokenizers over a tiny lexicon, a trained model."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

# Before tensorflow is imported, here and in the processes that tests start.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["KERAS_BACKEND"] = "tensorflow"
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_BUILD", "tests")  # importing OpenVINO sends statistics of its use, but not from a build

import hypothesis
import keras
import pytest
import tensorflow as tf
from filelock import FileLock

from kerass2s import cmudict
from kerass2s.decoding import BeamSearch
from kerass2s.export import export_onnx, export_saved_model, write_manifest
from kerass2s.export.fresh import FreshProcess
from kerass2s.presets import load_preset
from kerass2s.text import SentencePieceTokenizer

# Tracing makes millions of small objects that live long; looking for cycles among them took 6 % of the tests' time.
gc.freeze()
gc.set_threshold(10_000, 10, 10)

# A test traces many graphs and runs each a few times: making them faster took up to a quarter of its time.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# The same examples in every run, and no time limit on one: a first call traces a graph.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

LEXICON = [
    ("cat", "K AE T"),
    ("act", "AE K T"),
    ("tack", "T AE K"),
    ("sat", "S AE T"),
    ("sack", "S AE K"),
    ("stack", "S T AE K"),
    ("kit", "K IH T"),
    ("skit", "S K IH T"),
    ("it", "IH T"),
    ("sit", "S IH T"),
    ("tick", "T IH K"),
    ("stick", "S T IH K"),
]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same seed, so that its order and its worker do not matter."""
    keras.utils.set_random_seed(2014)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Operations run one by one: for a few batches a graph takes longer to trace than to do without."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def lexicon() -> list[tuple[str, str]]:
    """Twelve words and their phones: (letters, phones separated by spaces)."""
    return list(LEXICON)


@pytest.fixture(scope="session")
def source_tokenizer() -> SentencePieceTokenizer:
    """A character tokenizer over the lexicon's letters."""
    return SentencePieceTokenizer.train([source for source, _ in LEXICON], kind="char")


@pytest.fixture(scope="session")
def target_tokenizer() -> SentencePieceTokenizer:
    """A word tokenizer over the lexicon's phones."""
    return SentencePieceTokenizer.train([target for _, target in LEXICON], kind="word")


@pytest.fixture(scope="session")
def fresh() -> Iterator[FreshProcess]:
    """One process in which exports are reloaded: it takes seconds to start."""
    with FreshProcess() as process:
        yield process


@pytest.fixture(scope="session")
def pronouncer() -> Path:
    """A preset that was trained on real words: what `make quickstart` made on 2026-11-21, 35 % of dev words wrong."""
    return Path(__file__).parent / "trained" / "g2p_quickstart"


@pytest.fixture(scope="session")
def words() -> list[str]:
    """Five hundred real words that the pronouncer was not trained on, the first of the dev part by alphabet."""
    return sorted(pair.source for pair in cmudict.load_split()["dev"])[:500]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Makes a directory once in a run of the tests, whatever the number of workers; tests leave it as it is."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        directory, done = shared / "once" / name, shared / "once" / f"{name}.done"
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{directory}.lock"):
            if not done.exists():
                fill(directory)
                done.touch()
        return directory

    return make


@pytest.fixture(scope="session")
def pronouncer_exports(pronouncer: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The pronouncer exported with a beam of 4: a directory with preset/, saved_model/1, model.onnx, manifest.json."""

    def fill(directory: Path) -> None:
        shutil.copytree(pronouncer, directory / "preset")
        model, search = load_preset(pronouncer), BeamSearch(4)
        export_saved_model(model, directory / "saved_model" / "1", search)
        export_onnx(model, directory / "model.onnx", search)
        write_manifest(directory)

    return once("pronouncer_exports", fill)
