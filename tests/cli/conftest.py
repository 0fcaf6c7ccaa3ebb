"""A tiny trained preset and its two exports, made once, and a way to run commands in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from typer.testing import CliRunner, Result

from kerass2s import zoo
from kerass2s.cli import app
from kerass2s.decoding import GreedySearch

Run = Callable[..., Result]
SEARCH = GreedySearch(max_length=12)


@pytest.fixture
def run() -> Run:
    """Run `kerass2s ARGUMENTS` in this process."""
    runner = CliRunner()

    def invoke(*arguments: object, stdin: str | bytes | None = None) -> Result:
        return runner.invoke(app, [str(each) for each in arguments], input=stdin, catch_exceptions=False)

    return invoke


@pytest.fixture
def refuses(run: Run) -> Callable[..., str]:
    """Run a command that must be refused: one line on stderr, nothing on stdout, exit 2; return the line."""

    def check(*arguments: object, stdin: str | bytes | None = None) -> str:
        result = run(*arguments, stdin=stdin)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1, result.stderr
        assert result.stderr.startswith("error: ")
        return result.stderr

    return check


@pytest.fixture(scope="session")
def home(once, lexicon, source_tokenizer, target_tokenizer) -> Path:
    """A directory with `preset`, `saved_model`, `model.onnx` and `pairs.tsv` of a model that knows the lexicon."""

    def fill(home: Path) -> None:
        keras.utils.set_random_seed(1)
        tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
        model = zoo.build("luong2015", **tokenizers, units=24, embedding_size=12)
        model.compile(optimizer=keras.optimizers.Adam(0.02))
        model.fit(lexicon, epochs=60, verbose=0)
        model.save_to_preset(home / "preset")
        model.export(home / "saved_model", format="tf_saved_model", search=SEARCH)
        model.export(home / "model.onnx", format="onnx", search=SEARCH)
        (home / "pairs.tsv").write_text("".join(f"{word}\t{phones}\n" for word, phones in lexicon), encoding="utf-8")

    return once("cli", fill)
