"""What the tests of runtimes share: the live model's answers, a C compiler's work, and a way to ask a host."""

from __future__ import annotations

import json
import shutil
import site
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import HERE, STRANGE

from kerass2s.decoding import BeamSearch
from kerass2s.presets import load_preset

Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def lines(words: list[str]) -> list[str]:
    """The five hundred words, and after them texts of other kinds."""
    return [*words, *STRANGE]


@pytest.fixture(scope="session")
def answers(pronouncer: Path, lines: list[str], once: Once) -> list[str]:
    """What the live pronouncer says to `lines`, with the search of `pronouncer_exports`."""

    def fill(directory: Path) -> None:
        found = load_preset(pronouncer).generate(lines, BeamSearch(4))
        (directory / "answers.json").write_text(json.dumps(found), "utf-8")

    return json.loads((once("pronouncer_answers", fill) / "answers.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def installed() -> None:
    """Fails where what `install.sh` brings is not there."""
    missing = [program for program in ("gcc", "node", "chromium") if shutil.which(program) is None]
    lock, copy = HERE / "package-lock.json", HERE / "node_modules" / ".installed"
    if not copy.is_file() or copy.read_bytes() != lock.read_bytes():
        missing.append("the packages of package-lock.json")
    assert missing == [], "run tests/runtimes/install.sh (`make test` does)"


@pytest.fixture(scope="session")
def savedmodel_host(installed: None, once: Once) -> list[str]:
    """The command that runs `savedmodel.c`, compiled against TensorFlow's wheel, but for the SavedModel."""
    packages = next(Path(each) for each in site.getsitepackages() if (Path(each) / "tensorflow").is_dir())
    library = packages / "tensorflow"

    def fill(directory: Path) -> None:
        links = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{library}"]
        options = ["-Wall", "-Wextra", "-Werror", "-isystem", f"{library}/include", f"-L{library}"]
        program = ["-o", str(directory / "savedmodel"), str(HERE / "savedmodel.c")]
        subprocess.run(["gcc", *program, *options, *links], check=True)

    return [
        str(once("savedmodel_host", fill) / "savedmodel"),
        str(packages / "tensorflow_text" / "python" / "ops" / "_sentencepiece_tokenizer.so"),
    ]
