"""One preset, the same strings: in a fresh process, with other threads, in other company, saved and loaded again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from kerass2s.decoding import BeamSearch
from kerass2s.presets import load_preset
from kerass2s.seq2seq import Seq2Seq

SEARCH = BeamSearch(4)
PROGRAM = """
import json, sys
from kerass2s.decoding import BeamSearch
from kerass2s.presets import load_preset
print(json.dumps(load_preset(sys.argv[1]).generate(json.loads(sys.argv[2]), BeamSearch(4))))
"""


@pytest.fixture(scope="module")
def live(pronouncer: Path) -> Seq2Seq:
    return load_preset(pronouncer)


@pytest.fixture(scope="module")
def asked(words: list[str]) -> list[str]:
    return words[::10]


@pytest.fixture(scope="module")
def expected(live: Seq2Seq, asked: list[str]) -> list[str]:
    return live.generate(asked, SEARCH)


def test_other_batches_and_other_company_change_nothing(live: Seq2Seq, asked: list[str], expected: list[str]) -> None:
    for batch_size in (1, 7):
        assert live.generate(asked, SEARCH, batch_size=batch_size) == expected
    assert live.generate(asked[::-1], SEARCH, batch_size=3) == expected[::-1]
    company = [*asked, "", "x" * 200, *asked[:5]]
    assert live.generate(company, SEARCH)[: len(asked)] == expected


def test_a_fresh_process_with_other_threads_answers_alike(
    pronouncer: Path, asked: list[str], expected: list[str]
) -> None:
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    command = [sys.executable, "-c", PROGRAM, str(pronouncer), json.dumps(asked)]
    environment = {**os.environ, **dict.fromkeys(names, "4")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == expected


def test_eager_and_graph_answer_alike(live: Seq2Seq, asked: list[str], expected: list[str]) -> None:
    # Step by step and without a graph it takes its time: a few words.
    few = asked[:2]
    tf.config.run_functions_eagerly(True)
    try:
        assert live.generate(few, SEARCH) == expected[:2]
    finally:
        tf.config.run_functions_eagerly(False)


def test_saved_and_loaded_ten_times_over_it_is_the_same(
    live: Seq2Seq, asked: list[str], expected: list[str], tmp_path: Path
) -> None:
    model = live
    for turn in range(10):
        model.save_to_preset(tmp_path / str(turn))
        model = load_preset(tmp_path / str(turn))
        model.save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras")
    first, last = (json.loads((tmp_path / name / "config.json").read_text("utf-8")) for name in ("0", "9"))
    assert first["files"] == last["files"]
    assert model.generate(asked, SEARCH) == expected
