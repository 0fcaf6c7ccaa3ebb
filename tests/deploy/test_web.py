"""The web page in a real browser: it answers as the live model does, and asks nobody else for anything."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from kerass2s import zoo
from kerass2s.cli import app
from kerass2s.codec import TextCodec
from kerass2s.decoding import BeamSearch, Hypothesis, SamplingSearch
from kerass2s.deploy import web
from kerass2s.deploy.web import RUNTIME, RUNTIME_VERSION, write_page
from kerass2s.errors import ConfigError, ExportError, PresetError
from kerass2s.export import export_onnx, load_predictor
from kerass2s.presets import load_preset
from kerass2s.text import SentencePieceTokenizer

RUNTIMES = Path(__file__).parent.parent / "runtimes"
WORDS = ["phoneme", "kerassify", "O'Neill-ſtyle  ＷＯＲＤ", "naïve café"]
SAMPLES = SamplingSearch(3, seed=5, temperature=1.5, max_length=6)


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """Return where the tests' npm packages are; they are no part of Python's environment."""
    place = RUNTIMES / "node_modules"
    assert place.is_dir(), "Node's packages are missing: run tests/runtimes/install.sh"
    return place


@pytest.fixture(scope="module")
def sampler(lexicon: list[tuple[str, str]]) -> Any:
    """Make a model that was never trained, of words and without attention."""
    keras.utils.set_random_seed(7)
    source = SentencePieceTokenizer.train([" ".join(word for word, _ in lexicon)], kind="word")
    target = SentencePieceTokenizer.train([phones for _, phones in lexicon], kind="word")
    return zoo.build("keras_lstm_seq2seq", source_tokenizer=source, target_tokenizer=target, units=16)


@pytest.fixture(scope="module")
def site(pronouncer_exports: Path, sampler: Any, node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page of two models."""
    place = tmp_path_factory.mktemp("site")
    export_onnx(sampler, place / "samples.onnx", SAMPLES)
    models = [f"beams={pronouncer_exports}", str(place / "samples.onnx")]
    examples = ["beams=zodiac", "beams=daylights", "samples=cat"]
    write_page(models, place / "page", runtime=node_modules / "onnxruntime-web" / "dist", examples=examples)
    return place / "page"


@pytest.fixture(scope="module")
def said(site: Path) -> dict[str, Any]:
    """Use the page as page.mjs does, and return what it showed."""
    command = ["node", str(Path(__file__).parent / "page.mjs"), str(site)]
    done = subprocess.run(command, input=json.dumps(WORDS), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def agrees(shown: dict[str, Any], live: list[Hypothesis]) -> None:
    """Check a page's list of hypotheses against the live model's."""
    assert shown["answer"] == shown["hypotheses"][0]
    assert shown["hypotheses"] == [each.text for each in live]
    assert shown["scores"] == pytest.approx([each.score for each in live], abs=0.0015)


def draws(shown: dict[str, Any], codec: TextCodec, source: str, hypothesis: Hypothesis) -> None:
    """Check a page's heat map: its labels, each cell that is there, and that what is not there weighs nothing."""
    cells = {(row, column): weight for row, column, weight in shown["cells"]}
    weights = hypothesis.alignment[:, : len(shown["columns"])]  # without padding to the longest of the batch
    drawn = np.array([[cells.pop((t, s), 0.0) for s in range(weights.shape[1])] for t in range(weights.shape[0])])
    assert cells == {}
    np.testing.assert_allclose(drawn, weights, atol=0.006)
    assert shown["rows"] == [piece.removeprefix("▁") for piece in codec.target_pieces(hypothesis.ids, source)]
    assert len(shown["columns"]) == len(codec.source_pieces(source))
    assert shown["columns"][-1] == "end"


def test_the_page_answers_as_the_live_model(said: dict[str, Any], pronouncer: Path) -> None:
    model = load_preset(pronouncer)
    live = model.n_best(["zodiac", *WORDS, "daylights"], BeamSearch(4))
    shown = [said["first"], *said["words"].values(), said["burst"]]
    for source, page, hypotheses in zip(["zodiac", *WORDS, "daylights"], shown, live, strict=True):
        agrees(page, hypotheses)
        draws(page, model.codec, source, hypotheses[0])
    draws(said["second"], model.codec, "daylights", live[-1][1])


def test_settings_change_the_answer_as_they_change_the_search(said: dict[str, Any], site: Path) -> None:
    file = site / "models" / "beams.onnx"
    for shown, search in (("penalised", "beam:4,length_penalty=1"), ("cut", "beam:4,length_penalty=1,max_length=2")):
        agrees(said[shown], load_predictor(file, search=search).n_best(["daylights"])[0])
    assert said["refused"] == ["true", said["cut"]["answer"]], "0 tokens are none, so the answer stays"
    assert said["reset"] == said["burst"] != said["penalised"]


def test_another_model_of_the_list_answers_with_its_own_settings(said: dict[str, Any], sampler: Any) -> None:
    seven = SamplingSearch(3, seed=7, temperature=SAMPLES.temperature, max_length=SAMPLES.max_length)
    agrees(said["samples"], sampler.n_best(["cat sat unheard-of act"], seven)[0])
    assert said["samples"]["unknown"] == ["unheard-of"]
    assert said["samples"]["note"] == "This model has no attention to show."
    assert said["samples"]["cells"] == []
    assert said["about"][:2] == ["keras_lstm_seq2seq", "sample:3,temperature=1.5,seed=5,max_length=6"]


def test_the_newest_input_wins_and_unknown_characters_are_named(said: dict[str, Any]) -> None:
    assert said["answers"] <= 2, "what lay between the first and the last of a burst is not asked"
    assert said["words"]["naïve café"]["unknown"] == ["ï", "space", "é"]
    assert said["words"]["phoneme"]["unknown"] == []
    assert said["readout"].startswith("EY1 looks at a ")


def test_nothing_leaves_the_page_and_without_a_network_it_still_opens(said: dict[str, Any]) -> None:
    assert [url for url in said["requests"] if not url.startswith(said["address"])] == []
    assert {url.removeprefix(said["address"]) for url in said["requests"]} >= {f"ort/{name}" for name in RUNTIME}
    assert said["offline"]["text"] == "antidisestablishmentarianism"
    assert said["offline"]["answer"].startswith("AE2 N T")
    assert said["offline"]["model"].startswith("sample:3")


def test_it_fits_a_phone_and_tells_what_went_wrong(said: dict[str, Any]) -> None:
    assert said["overflow"] <= 0, "the page is as wide as the phone; a wide map scrolls by itself"
    assert said["missing"] == "models/samples.onnx: the server answered 404 Not Found"
    assert [each for each in said["complaints"] if "404" not in each] == []


# === The command's half ===


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """Make a folder with files of the names of onnxruntime-web's."""
    place = tmp_path / "dist"
    place.mkdir()
    for name in RUNTIME:
        (place / name).write_text(name)
    return place


def test_a_preset_is_exported_with_beams(
    pronouncer: Path, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = []
    monkeypatch.setattr(web, "export_onnx", lambda model, path, search: searches.append((path, search)) or write(path))

    def write(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"onnx")

    write_page([str(pronouncer)], tmp_path / "page", runtime=runtime)
    assert [(path.name, search) for path, search in searches] == [("g2p_quickstart.onnx", BeamSearch(5))]
    listed = json.loads((tmp_path / "page" / "models.json").read_text("utf-8"))
    named = {"name": "g2p_quickstart", "file": "models/g2p_quickstart.onnx", "bytes": 4, "examples": []}
    assert listed["models"] == [named]
    assert all((tmp_path / "page" / name).is_file() for name in listed["files"])


def test_the_command_names_models_and_hands_out_examples(site: Path, runtime: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        options = ["--out", str(tmp_path / "page"), "--runtime", str(runtime)]
        return CliRunner().invoke(app, ["deploy", "web", *arguments, *options], catch_exceptions=False)

    file = str(site / "models" / "beams.onnx")
    done = run(file, f"other={file}", "--example", "cat", "--example", "other=dog", "--example", "a=b")
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    listed = json.loads((tmp_path / "page" / "models.json").read_text("utf-8"))["models"]
    assert {each["name"]: each["examples"] for each in listed} == {
        "beams": ["cat", "a=b"],
        "other": ["cat", "dog", "a=b"],
    }
    assert (tmp_path / "page" / "models" / "other.onnx").read_bytes() == (site / "models" / "beams.onnx").read_bytes()
    refused = run(file, file)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "Received: 'beams' twice" in refused.stderr


def test_a_changed_page_has_another_version(site: Path, runtime: Path, tmp_path: Path) -> None:
    def version(text: str) -> str:
        write_page([str(site / "models" / "beams.onnx")], tmp_path / "page", runtime=runtime, examples=[text])
        return (tmp_path / "page" / "service-worker.js").read_text("utf-8")

    first = version("a")
    assert first == version("a") != version("b")
    assert "unversioned" not in first


def test_what_cannot_be_shown_is_refused_and_leaves_the_page_as_it_was(
    site: Path, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = site / "models" / "beams.onnx"
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match="Received: no export"):
        write_page([], tmp_path / "page", runtime=runtime)
    with pytest.raises(ConfigError, match="Received: '../out'"):
        write_page([f"../out={file}"], tmp_path / "page", runtime=runtime)
    with pytest.raises(PresetError):
        write_page([str(file), "nothing"], tmp_path / "page", runtime=runtime)
    speech = SimpleNamespace(codec=SimpleNamespace(tokenizers=lambda: {"target": None}))
    monkeypatch.setattr(web, "load_preset", lambda name: speech)
    with pytest.raises(ExportError, match=r"from text to text. Received: text as \['target'\]"):
        write_page([str(file), "speech"], tmp_path / "page", runtime=runtime)
    strings = {"source_sentencepiece": "", "target_sentencepiece": "", "inputs": '{"text": {}}'}
    with monkeypatch.context() as patch, pytest.raises(ExportError, match=r"Received: one that takes \['text'\]"):
        patch.setattr(web, "read_onnx", lambda path: (None, strings))
        write_page([str(file)], tmp_path / "page", runtime=runtime)
    (runtime / RUNTIME[-1]).unlink()
    with pytest.raises(ExportError, match=f"Received: one without {RUNTIME[-1]}"):
        write_page([str(file)], tmp_path / "page", runtime=runtime)
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["README.md"]


def test_the_runtime_comes_by_npm_once(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "package.tgz"
    subprocess.run(["tar", "-czf", packed, "-C", tmp_path, "--transform", "s,^,package/,", "dist"], check=True)
    runs = []

    def npm(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        runs.append(command)
        shutil.copy(packed, command[-1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(web.shutil, "which", lambda name: None)
    with pytest.raises(ExportError, match="Install npm, or give .* Received: no npm on the path"):
        web._runtime(None)
    monkeypatch.setattr(web.shutil, "which", lambda name: name)
    monkeypatch.setattr(web.subprocess, "run", npm)
    for _ in range(2):
        assert {name: (web._runtime(None) / name).read_text() for name in RUNTIME} == {name: name for name in RUNTIME}
    assert [command[:3] for command in runs] == [["npm", "pack", f"onnxruntime-web@{RUNTIME_VERSION}"]]


def test_the_tests_run_the_version_that_the_command_brings(node_modules: Path) -> None:
    package = json.loads((node_modules / "onnxruntime-web" / "package.json").read_text("utf-8"))
    assert package["version"] == RUNTIME_VERSION
