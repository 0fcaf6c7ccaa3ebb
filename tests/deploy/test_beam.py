"""The folder for Apache Beam, run by two processes of its own environment, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kerass2s.deploy.beam import REQUIREMENTS, write_beam
from kerass2s.errors import ConfigError, ExportError, UserError
from kerass2s.export import load_predictor, write_text_onnx
from kerass2s.export.describe import read_onnx

HERE = Path(__file__).parent
PYTHON = HERE.parent.parent / ".engines" / "beam" / "bin" / "python"


@pytest.fixture(scope="module")
def exported(pronouncer_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported directory with the pronouncer from text to text."""
    out = tmp_path_factory.mktemp("beam") / "exported"
    out.mkdir()
    write_text_onnx(read_onnx(pronouncer_exports / "model.onnx")[0], out / "model.text.onnx")
    return out


@pytest.fixture(scope="module")
def folder(exported: Path) -> Path:
    """The folder of that."""
    write_beam(exported, exported.parent / "job")
    return exported.parent / "job"


def start(folder: Path, corpus: str, out: Path) -> subprocess.Popen[str]:
    """Starts the pipeline with two processes."""
    assert PYTHON.exists(), "Apache Beam is not installed; run `make engines`"
    command = [str(PYTHON), "pipeline.py", "--input", corpus, "--output", str(out), "--part_bytes", "400"]
    two = ["--runner", "FnApiRunner", "--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
    # The runner starts its processes by the `python` that it finds.
    variables = {**os.environ, "PATH": f"{PYTHON.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *two], cwd=folder, env=variables, stderr=subprocess.PIPE, text=True)


def leaves(process: int) -> list[int]:
    """Returns the processes at the ends of what a process started."""
    children = [
        int(child)
        for threads in Path(f"/proc/{process}/task").glob("*/children")
        for child in threads.read_text().split()
    ]
    return [leaf for child in children for leaf in leaves(child)] or [process]


def test_a_corpus_is_answered_in_order_though_a_worker_is_killed(
    folder: Path, exported: Path, lexicon: list[tuple[str, str]], tmp_path: Path
) -> None:
    words = [word for word, _ in lexicon]
    lines = ["", *(f"{one}{other}" for one in words for other in words), *(f"{word}é" for word in words)] * 8
    (tmp_path / "b.txt").write_text("\n".join(lines[:100]), "utf-8")  # its last line has no end
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in lines[100:]), "utf-8")
    out, corpus = tmp_path / "answers", str(tmp_path / "[ab].txt")

    with start(folder, corpus, out) as cut:
        # There is no part before both workers are up, and the last one has just begun then.
        while not list(out.glob("part-*.txt")):
            assert cut.poll() is None, cut.stderr.read()[-2000:]
            time.sleep(0.05)
        os.kill(leaves(cut.pid)[-1], signal.SIGKILL)
        said = cut.communicate(timeout=100)[1]
    assert cut.returncode == 1
    assert "error: a worker is gone; the same command makes the parts that are missing" in said
    made = {path: path.stat().st_mtime_ns for path in out.glob("part-*.txt")}

    with start(folder, corpus, out) as again:
        said = again.communicate(timeout=200)[1]
    assert again.returncode == 0, said[-2000:]
    assert f"{len(list(out.glob('part-*.txt'))) - len(made)} parts to make" in said
    assert all(path.stat().st_mtime_ns == before for path, before in made.items())

    answers = "".join(path.read_text("utf-8") for path in sorted(out.glob("part-*.txt")))
    whole = load_predictor(exported / "model.text.onnx")
    expected = dict(zip(dict.fromkeys(lines), whole.generate(list(dict.fromkeys(lines))), strict=True))
    assert answers.splitlines() == [expected[line] for line in [*lines[100:], *lines[:100]]]

    with (tmp_path / "b.txt").open("a", encoding="utf-8") as file:
        file.write("more\n")
    with start(folder, corpus, out) as other:
        said = other.communicate(timeout=100)[1]
    assert other.returncode == 1
    assert "error: --output has answers of another model, corpus or --part_bytes. Received: " in said


def test_the_folder_says_what_it_asks_for(
    folder: Path, exported: Path, pronouncer_exports: Path, tmp_path: Path
) -> None:
    asked = (folder / "requirements.txt").read_text("utf-8").splitlines()
    locked = (HERE / "beam.lock").read_text("utf-8")
    assert asked == list(REQUIREMENTS) and all(f"\n{each} \\\n" in locked for each in asked)
    assert "search `beam:4" in (folder / "README.md").read_text("utf-8")
    assert (folder / "model.onnx").read_bytes() == (exported / "model.text.onnx").read_bytes()
    with pytest.raises(ConfigError, match="empty or a new directory"):
        write_beam(exported, folder)
    with pytest.raises(ExportError, match="text_onnx"):
        write_beam(pronouncer_exports / "model.onnx", tmp_path / "job")
    with pytest.raises(UserError, match="No such export"):
        write_beam(tmp_path / "nowhere", tmp_path / "job")
