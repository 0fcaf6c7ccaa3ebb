"""The report in a real browser: it says what was measured, fetches nothing, runs nothing, and fits a phone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kerass2s.analysis import outcomes
from kerass2s.data import Pair
from kerass2s.errors import DataError, UserError
from kerass2s.report import Run, check_report, write_report
from kerass2s.significance import compare_models, confidence_intervals
from kerass2s.text import SentencePieceTokenizer

HOSTILE = "<script>alert(1)</script><img src=https://example.org/x.png onerror=alert(2)>"


@pytest.fixture(scope="module")
def pairs(lexicon: list[tuple[str, str]]) -> list[Pair]:
    """Two hundred pairs, one of them with a source that would be dangerous were it not escaped."""
    many = [Pair(word, phones) for word, phones in lexicon * 17]
    return [*many[:199], Pair(HOSTILE, "K & T", ("K <b>",))]


def run_of(pairs: list[Pair], name: str, every: int) -> Run:
    """Make a run that is wrong in every so many-th pair: vowels become UH, and the surest of them lose their end."""
    texts = [pair.target for pair in pairs]
    for place in range(0, len(texts), every):
        texts[place] = texts[place].replace("AE", "UH").replace("IH", "UH").removesuffix(" K") + " Z" * (place == 0)
    texts[-1] = "K"
    return Run(name, "greedy", outcomes(texts, pairs, [-0.01 * (place + 1) for place in range(len(pairs))]))


@pytest.fixture(scope="module")
def runs(pairs: list[Pair]) -> list[Run]:
    """Two models, the first wrong in a third of the pairs, the second in a tenth."""
    return [run_of(pairs, "first", 3), run_of(pairs, "the & second", 10)]


def shown(path: Path) -> dict[str, Any]:
    """Open a report in headless Chromium and return what it shows."""
    assert (Path(__file__).parent.parent / "runtimes" / "node_modules").is_dir(), "run tests/runtimes/install.sh"
    command = ["node", str(Path(__file__).parent / "report.mjs"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def said(runs: list[Run], source_tokenizer: SentencePieceTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the page says of the two models."""
    directory = tmp_path_factory.mktemp("report") / "new" / "both"
    return shown(write_report(directory, runs, source_tokenizer, data="lexicon.tsv"))


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def test_it_says_what_was_measured(said: dict[str, Any], runs: list[Run], pairs: list[Pair]):
    intervals = [confidence_intervals(run.texts, pairs)["word_error_rate"] for run in runs]
    difference = compare_models(runs[0].texts, runs[1].texts, pairs)["word_error_rate"]
    row = said["figures"]["Word error rate"]
    assert row["values"] == [percent(each.value) for each in intervals]
    assert row["rest"][0].startswith(f"−{percent(-difference.value)}")
    assert row["rest"][1:] == [f"{difference.p_value:.3f}", "B is better"]
    # On an axis from 0 to 100 %, but for the two ends of the whisker, 1.5 pixels wide each.
    assert row["whiskers"] == pytest.approx([each.high - each.low for each in intervals], abs=0.01)
    assert said["title"] == "first and the & second: errors"


def test_its_groups_hold_every_pair(said: dict[str, Any], pairs: list[Pair]):
    sizes = {title: sum(count for _, count in groups) for title, groups in said["groups"].items()}
    assert list(sizes.values()) == [len(pairs)] * 3
    assert ["something unknown", 1] in said["groups"]["By characters that the model does not know"]
    assert said["unknown"].startswith("< r p > l e")
    assert said["columns"] == 4  # the longest is S T AE K
    assert any(row.startswith("AEUH") for row in said["confusions"])


def test_examples_are_aligned_edit_by_edit(said: dict[str, Any], runs: list[Run]):
    assert said["headings"][-4:] == [
        "Right with A, wrong with B",
        "Wrong with A, right with B",
        "Worst of A",
        "Worst of B",
    ]
    worst = max(outcome.errors for outcome in runs[0].outcomes)
    assert sum(f"A {worst} edits" in heading for heading in said["examples"]) >= 2, "in a list, and the worst of A"
    assert any(["AE", "UH", "≠"] in steps for steps in said["alignments"])
    signs = {step[2] for steps in said["alignments"] for step in steps}
    assert signs == {"", "≠", "−", "+"}


def test_it_is_one_file_that_fetches_nothing_and_runs_nothing(said: dict[str, Any]):
    assert said["requests"] == [said["address"]]
    assert said["complaints"] == []
    assert any(HOSTILE in heading for heading in said["examples"]), "what is hostile is text like any other"


def test_it_is_light_or_dark_and_fits_a_phone(said: dict[str, Any]):
    (light_ground, light_ink), (dark_ground, dark_ink) = said["scheme"]["light"], said["scheme"]["dark"]
    assert light_ground != dark_ground
    assert light_ink != dark_ink
    assert said["overflow"] <= 0


def test_a_report_of_one_model_and_no_errors_is_whole(
    pairs: list[Pair], source_tokenizer: SentencePieceTokenizer, tmp_path: Path
):
    perfect = Run("perfect", "greedy", outcomes([pair.target for pair in pairs[:3]], pairs[:3], [0.0] * 3))
    page = write_report(tmp_path, [perfect], source_tokenizer).read_text("utf-8")
    assert "0.0 %" in page
    assert "By characters that the model does not know" not in page
    nothing = Run("nothing", "greedy", outcomes([""], [Pair("", "K")], [float("-inf")]))
    assert "−inf" in write_report(tmp_path, [nothing], source_tokenizer).read_text("utf-8")


def test_what_cannot_be_reported_is_refused(
    runs: list[Run], source_tokenizer: SentencePieceTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shorter = Run("shorter", "greedy", runs[0].outcomes[:9])
    with pytest.raises(DataError, match="Received: 200 and 9"):
        write_report(tmp_path, [runs[0], shorter], source_tokenizer)
    with pytest.raises(DataError, match="Received: 3"):
        write_report(tmp_path, [*runs, shorter], source_tokenizer)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="Received: the file"):
        check_report(tmp_path / "file")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UserError, match=r"pip install 'kerass2s\[report\]'"):
        check_report(tmp_path)
