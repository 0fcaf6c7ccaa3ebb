"""Several devices and several processes train as one does, and a worker that was killed comes back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kerass2s.errors import ConfigError
from kerass2s.training.distribution import Workers, strategy_named

WORKER = Path(__file__).with_name("workers.py")


def free_addresses(count: int) -> list[str]:
    """Finds ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def start(phase: str, out: Path, number: int, addresses: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), phase, str(out), str(number), *addresses]
    threads = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")
    return subprocess.Popen(
        command, env={**os.environ, **threads}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def run(phase: str, out: Path, statuses: list[int]) -> None:
    """Runs the processes of a phase together, which must end with these statuses."""
    addresses = free_addresses(len(statuses)) if len(statuses) > 1 else []
    processes = [start(phase, out, number, addresses) for number in range(len(statuses))]
    try:
        said = [process.communicate(timeout=300)[1][-3000:] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == statuses, "\n".join(said)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory with what each run ended with."""
    out = tmp_path_factory.mktemp("workers")
    run("alone", out, [0])
    run("first", out, [0, -signal.SIGKILL])
    run("again", out, [0, 0])
    return out


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file.items())


def test_two_devices_and_two_processes_train_as_one(runs: Path) -> None:
    one = read(runs / "one.npz")
    assert one["loss"][1] < one["loss"][0]
    for name in ("mirrored", "whole_0", "whole_1"):
        other = read(runs / f"{name}.npz")
        assert other.keys() == {key for key in one if name != "mirrored" or not key.startswith("val_")}
        for key, value in other.items():
            # Sums over rows are taken in another order.
            np.testing.assert_allclose(value, one[key], rtol=2e-6, atol=1e-6, err_msg=f"{name}, {key}")


def test_a_killed_worker_comes_back_and_ends_as_if_it_had_never_gone(runs: Path) -> None:
    whole = read(runs / "whole_0.npz")
    for name in ("whole_1", "again_0", "again_1"):
        other = read(runs / f"{name}.npz")
        assert all(np.array_equal(other[key], whole[key]) for key in whole if key.startswith("state")), name
        assert other["loss"][-1] == whole["loss"][-1], name
    assert not (runs / "never.npz").exists()


def test_what_would_not_equal_one_device_is_refused(runs: Path) -> None:
    said = json.loads((runs / "refused.json").read_text(encoding="utf-8"))
    assert 'reduction="mean_with_sample_weight"' in said["loss"]
    assert said["feeding"].endswith("Received: MinimumRisk")
    assert said["accumulation"].endswith("Received: gradient_accumulation_steps=2")
    assert said["arrays"].endswith("Received: dict")


def test_workers_with_other_data_do_not_begin(runs: Path) -> None:
    said = [(runs / f"differ_{number}.txt").read_text(encoding="utf-8") for number in (0, 1)]
    assert said[0] == said[1]
    assert said[0].startswith("The first batch must be the same on all workers. Received: [")


# === By name ===


def test_a_strategy_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert strategy_named(None) is tf.distribute.get_strategy()
    with pytest.raises(ConfigError, match=r"Did you mean `mirrored`\? Received: 'miror'"):
        strategy_named("miror")
    cluster = {"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 1}}
    for text in ("", "{", "[]", json.dumps(cluster)):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(ConfigError, match="TF_CONFIG, with the addresses of all workers"):
            strategy_named("multi-worker")


def test_one_process_is_the_chief_and_agrees_with_itself() -> None:
    workers = Workers(tf.distribute.get_strategy())
    assert workers.chief
    assert workers.gather(5) == [5]
    workers.need_same("nothing", 1)


def test_the_other_worker_says_in_one_line_that_it_was_left(runs: Path) -> None:
    said = (runs / "said.txt").read_text(encoding="utf-8")
    assert "Another worker is gone. Start all workers again" in said
    assert "Received: " in said
    assert "\n" not in said
