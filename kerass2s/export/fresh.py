"""A fresh process that answers for exports as their users' programs would: it imports no kerass2s; see `replay.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from kerass2s.errors import ExportError

Arrays = dict[str, np.ndarray]

REPLAY = Path(__file__).with_name("replay.py")


class Answer(NamedTuple):
    """An export's answer to one batch: the outputs of each signature, and seconds of further calls of the first one."""

    outputs: dict[str, Arrays]
    seconds: np.ndarray


class FreshProcess:
    """A process to replay exports in, one after the other; to be used in a `with`, which ends it.

    It starts when it is first asked, and again should an export end it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._directory = tempfile.TemporaryDirectory()
        self._log = Path(self._directory.name, "log")

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self._end()
        self._directory.cleanup()

    def replay(self, path: Path, asked: Sequence[dict[str, Arrays]], repeats: int = 0) -> list[Answer]:
        """Asks an export.

        Args:
            path: the export.
            asked: the inputs of each signature, for each batch.
            repeats: how often the first signature is asked again, to see how long it takes.

        Returns:
            The answers to each batch; texts are arrays of str.

        Raises:
            ExportError: it does not run there; the message ends with the last line of the process.
        """
        probes, answers = (Path(self._directory.name, name) for name in ("probes.npz", "answers.npz"))
        np.savez(probes, **_flat(asked))
        error = self._ask([str(path.resolve()), str(probes), str(answers), repeats])
        if error is not None:
            raise ExportError(f"{path}: does not run in a fresh process. Received: {error}")
        with np.load(answers) as file:
            return _unflat(dict(file.items()), asked)

    def _ask(self, request: list[Any]) -> str | None:
        """Returns what went wrong."""
        if self._process is None:
            with self._log.open("w") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", str(REPLAY)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                )
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line:
            return json.loads(line).get("error")
        status = self._end()
        return (self._log.read_text("utf-8", errors="replace").strip().splitlines() or [f"exit status {status}"])[-1]

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.stdin.close()
        process.stdout.close()
        return process.wait()


def _flat(asked: Sequence[dict[str, Arrays]]) -> Arrays:
    return {
        f"{number}.{signature}.{name}": _storable(value)
        for number, questions in enumerate(asked)
        for signature, inputs in questions.items()
        for name, value in inputs.items()
    }


def _unflat(file: Arrays, asked: Sequence[dict[str, Arrays]]) -> list[Answer]:
    answers = []
    for number, questions in enumerate(asked):
        outputs: dict[str, Arrays] = {signature: {} for signature in questions}
        answers.append(Answer(outputs, file[f"{number}.{next(iter(questions))}"]))
    for key, value in file.items():
        number, signature, *name = key.split(".")
        if name:
            text = value.dtype.kind == "U"
            answers[int(number)].outputs[signature][name[0]] = (
                np.array(json.loads(str(value)), object) if text else value
            )
    return answers


def _storable(value: np.ndarray) -> np.ndarray:
    """Strings as one string, a JSON list of them: NumPy's own arrays of text lose null characters at the end."""
    return np.array(json.dumps([text.decode("utf-8") for text in value])) if value.dtype == object else value
