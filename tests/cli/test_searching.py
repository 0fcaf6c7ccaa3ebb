"""`--search` and `--lexicon`: every strategy by name, the same draws and the same allowed outputs everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerass2s import zoo
from kerass2s.cli.searching import FILTERS, SEARCHES
from kerass2s.decoding import parse_search
from kerass2s.decoding import spec as specs

CONTRACT = "sample:temperature=0.8,top_k=40,top_p=0.9,seed=7"
THREE = CONTRACT.replace("sample:", "sample:3,") + ",max_length=12"
WORDS = "cat\n\nstack\nskit\ntack\nqqq\n"
EXPORTS = {"saved_model": "saved_model", "onnx": "model.onnx"}


@pytest.fixture(scope="session")
def allowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of five outputs."""
    file = tmp_path_factory.mktemp("lexicon") / "allowed.txt"
    file.write_text("K AE T\nT AE K\nS T AE K\nK IH T\nT\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def sampling(home: Path, allowed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports that draw three samples of what is allowed."""
    from typer.testing import CliRunner

    from kerass2s.cli import app

    directory = tmp_path_factory.mktemp("sampling")
    for format, name in EXPORTS.items():
        options = ["--format", format, "--search", THREE, "--lexicon", str(allowed)]
        made = CliRunner().invoke(app, ["export", str(home / "preset"), str(directory / name), *options])
        assert made.exit_code == 0, made.output
    return directory


# === Help ===


@pytest.mark.parametrize("command", ["predict", "evaluate", "export"])
def test_help_shows_every_strategy_and_filter(run, command: str) -> None:
    text = run(command, "--help").stdout
    assert all(f"  {spec} " in text for spec in SEARCHES)
    assert all(f"  greedy:{key} " in text for key in FILTERS)
    assert max(len(line) for line in text.splitlines() if not line.lstrip().startswith("kerass2s")) <= 120


def test_every_example_parses_and_nothing_is_left_out() -> None:
    for search in [*SEARCHES, *(f"greedy:{key}" for key in FILTERS)]:
        parse_search(search)
    assert {spec.partition(":")[0] for spec in SEARCHES} == set(specs.SEARCHES)
    assert {key.partition("=")[0] for key in FILTERS} == {*specs.FILTERS, "copy_unknown"} - {"lexicon"}
    shown = {key for spec in SEARCHES for key in spec.partition(":")[2].replace("=", ",").split(",")}
    for name in ("beam", "sample", "mbr"):
        own = {key for key in specs._keys(name) if key not in (*specs.FILTERS, "copy_unknown", "width", "samples")}
        assert own <= shown, f"show what else {name} takes"


# === Samples ===


def test_samples_and_a_lexicon_are_the_same_everywhere(run, home: Path, sampling: Path, allowed: Path) -> None:
    options = ["--n-best", 3, "--scores"]
    live = run("predict", home / "preset", *options, "--search", THREE, "--lexicon", allowed, stdin=WORDS)
    assert live.exit_code == 0, live.output
    rows = [line.split("\t") for line in live.stdout.splitlines()]
    assert {text for row in rows for text in row[::2]} <= set(allowed.read_text().splitlines())
    for name in EXPORTS.values():
        for lexicon in ([], ["--lexicon", allowed]):
            export = run("predict", sampling / name, *options, *lexicon, stdin=WORDS)
            found = [line.split("\t") for line in export.stdout.splitlines()]
            assert [row[::2] for row in found] == [row[::2] for row in rows]
            for row, other in zip(rows, found, strict=True):
                assert [float(x) for x in other[1::2]] == pytest.approx([float(x) for x in row[1::2]], abs=1e-4)


def test_an_export_takes_another_seed_and_keeps_its_lexicon(
    run, refuses, home: Path, sampling: Path, allowed: Path, tmp_path: Path
) -> None:
    hot = THREE.replace("seed=7", "seed=8").replace("temperature=0.8", "temperature=3")
    options = ["--n-best", 3, "--search"]
    live = run("predict", home / "preset", *options, hot, "--lexicon", allowed, stdin=WORDS).stdout
    assert live != run("predict", sampling / "model.onnx", "--n-best", 3, stdin=WORDS).stdout
    held = refuses("predict", sampling / "model.onnx", "--search", hot, stdin=WORDS)  # without the lexicon: another one
    lexicon = held.partition("lexicon=")[2].partition("'")[0]
    for name in EXPORTS.values():
        assert run("predict", sampling / name, *options, f"{hot},lexicon={lexicon}", stdin=WORDS).stdout == live
    other = tmp_path / "other.txt"
    other.write_text("K AE T\n", encoding="utf-8")
    for model, file in ((sampling, other), (home, allowed)):
        assert "export the preset" in refuses("predict", model / "model.onnx", "--lexicon", file, stdin=WORDS)


def test_fewer_samples_than_columns_are_refused_before_any_line(refuses, home: Path) -> None:
    told = refuses("predict", home / "preset", "--search", CONTRACT, "--n-best", 2, stdin="cat\n")
    assert "--search beam:2 or sample:2" in told


# === Lexicon ===


def test_evaluate_takes_a_lexicon(run, home: Path, tmp_path: Path, lexicon) -> None:
    only = tmp_path / "only.txt"
    only.write_text("K AE T\n", encoding="utf-8")
    report = run("evaluate", home / "preset", home / "pairs.tsv", "--search", "beam:3", "--lexicon", only).stdout
    assert f"sequence_accuracy  {round(1 / len(lexicon), 4)}" in report
    columns = run(
        "predict", home / "preset", "--search", "beam:2", "--lexicon", only, "--n-best", 2, "--scores", stdin="cat\n"
    ).stdout.split("\t")
    assert columns[0] == "K AE T" and float(columns[1]) < 0 and columns[2:] == ["", "-inf\n"]
    too_short = run("predict", home / "preset", "--search", "greedy:max_length=2", "--lexicon", only, stdin="cat\nit\n")
    assert too_short.stdout == "\n\n"  # an output of the lexicon is whole, or there is none


def test_a_bad_lexicon_names_file_and_line(refuses, home: Path, tmp_path: Path) -> None:
    preset = home / "preset"
    for content, what in {"K AE T\nK XX T\n": ":2: the target vocabulary", "K\n\n": ":2: the line is empty"}.items():
        (tmp_path / "bad.txt").write_text(content, encoding="utf-8")
        assert f"bad.txt{what}" in refuses("predict", preset, "--lexicon", tmp_path / "bad.txt", stdin="cat\n")
        arguments = ["export", preset, tmp_path / "a.onnx", "--format", "onnx", "--lexicon", tmp_path / "bad.txt"]
        assert f"bad.txt{what}" in refuses(*arguments)
    assert "missing.txt" in refuses("evaluate", preset, home / "pairs.tsv", "--lexicon", tmp_path / "missing.txt")


# === Minimum Bayes risk ===


def test_minimum_bayes_risk_is_for_live_models(run, refuses, home: Path, tmp_path: Path) -> None:
    mbr = "mbr:8,temperature=0.8,seed=1,max_length=12"
    result = run("predict", home / "preset", "--search", mbr, "--n-best", 2, "--scores", stdin="cat\nact\n")
    best = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in best] == ["K AE T", "AE K T"] and all(50 < float(row[1]) <= 100 for row in best)
    told = refuses("export", home / "preset", tmp_path / "a.onnx", "--format", "onnx", "--search", mbr)
    assert "'sample:8,temperature=0.8,seed=1,max_length=12'" in told
    assert "and no other" in refuses("predict", home / "model.onnx", "--search", mbr, stdin="cat\n")


# === Refusals ===


@pytest.mark.parametrize("search", ["beam:2,coverage_penalty=0.2", "greedy:monotonic=3", "greedy:copy_unknown"])
def test_what_needs_attention_is_refused_in_one_line(
    refuses, tmp_path_factory, search: str, source_tokenizer, target_tokenizer
) -> None:
    directory = tmp_path_factory.getbasetemp() / "blind"
    if not directory.exists():
        tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
        zoo.build("sutskever2014", **tokenizers, preset="tiny").save_to_preset(directory)
    assert "needs a model with attention" in refuses("predict", directory, "--search", search, stdin="cat\n")
    arguments = ["export", directory, directory.parent / "a.onnx", "--format", "onnx", "--search", search]
    assert "needs a model with attention" in refuses(*arguments)


def test_a_rollout_is_for_vectors(refuses, home: Path, allowed: Path) -> None:
    for options in ([], ["--lexicon", allowed]):
        told = refuses("predict", home / "preset", "--search", "rollout:3", *options, stdin="cat\n")
        assert "Received: Rollout(horizon=3)" in told


def test_unknown_keys_have_a_suggestion(refuses, home: Path) -> None:
    for search, meant in {
        "sample:temprature=0.8": "temperature",
        "beam:5,no_unkown": "no_unknown",
        "greedy:copy_unkown=1": "copy_unknown",
    }.items():
        assert f"did you mean {meant!r}" in refuses("predict", home / "preset", "--search", search, stdin="cat\n")
