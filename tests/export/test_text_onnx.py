"""Text to text in one ONNX file: the SavedModel's answers on any Unicode, in any batch, and clear refusals."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import sentencepiece
import tensorflow as tf

from kerass2s import zoo
from kerass2s.codec import CopyCodec, TextCodec
from kerass2s.decoding import BeamSearch, MinimumBayesRisk, Rollout
from kerass2s.errors import ExportError
from kerass2s.export import (
    check_manifest,
    export_text_onnx,
    load_predictor,
    verify,
    write_manifest,
    write_text_onnx,
)
from kerass2s.export.describe import read_onnx
from kerass2s.export.fresh import FreshProcess
from kerass2s.export.onnx import session
from kerass2s.export.saved_model import load_signatures
from kerass2s.export.text_onnx import surround
from kerass2s.presets import load_preset
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import END_ID, SentencePieceTokenizer

TORTURE = json.loads(Path(__file__).with_name("unicode_torture.json").read_text("utf-8"))
LINES = [line for lines in TORTURE.values() for line in lines]
SETTINGS = {"max_length": np.array(9, np.int32), "length_penalty": np.array(0.4, np.float32)}
CORPUS = [
    "the cat sat on the mat",
    "a dog and a cat",
    "Ann's bird, 3.14 €",
    "日本 語 cat é",
    "שלום 😀 x",
    "dog cat the sat",
]


def asked(texts: list[str]) -> np.ndarray:
    """Returns texts as ONNX Runtime takes them: NumPy's own kind of text ends at a null character."""
    return np.array(texts, object)


def as_texts(value: tf.Tensor) -> list[Any]:
    """Returns a tensor of strings as nested lists of str."""
    return np.vectorize(bytes.decode, otypes=[object])(value.numpy()).tolist()


@pytest.fixture(scope="module")
def place(pronouncer_exports: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A directory with the pronouncer's model.text.onnx, made of its model.onnx, and a manifest."""

    def fill(directory: Path) -> None:
        write_text_onnx(read_onnx(pronouncer_exports / "model.onnx")[0], directory / "model.text.onnx")
        write_manifest(directory)

    return once("pronouncer_text", fill)


@pytest.fixture(scope="module")
def runtime(place: Path) -> Any:
    """The file in ONNX Runtime."""
    return session(str(place / "model.text.onnx"), extensions=True)


# === The same answers ===


def test_every_line_of_the_torture_file_as_in_the_saved_model(pronouncer_exports: Path, runtime: Any):
    kept, signatures = load_signatures(pronouncer_exports / "saved_model" / "1")
    inputs = {name: tf.constant(value) for name, value in SETTINGS.items()}
    expected = signatures["n_best_with_settings"](text=tf.constant(LINES), **inputs)
    names = ["texts", "scores", "best_text", "best_score"]
    found, scores, best, best_score = runtime.run(names, {"text": asked(LINES), **SETTINGS})
    assert found.shape == (len(LINES), 4) and len(LINES) > 100
    assert found.tolist() == as_texts(expected["text"])
    np.testing.assert_allclose(scores, expected["score"], atol=1e-4)
    assert best.tolist() == found[:, 0].tolist() and best_score.tolist() == scores[:, 0].tolist()
    assert len(set(best)) > 50, "a model that always says the same shows nothing"
    for size in (1, 3, 32):
        batches = [LINES[begin : begin + size] for begin in range(0, len(LINES), size)][: 96 // size]
        answers = [runtime.run(["texts"], {"text": asked(batch), **SETTINGS})[0] for batch in batches]
        assert np.concatenate(answers).tolist() == found[: sum(map(len, batches))].tolist()
    words = LINES[-11:-6]
    defaults = signatures["serving_default"](text=tf.constant(words))
    assert runtime.run(["best_text"], {"text": asked(words)})[0].tolist() == as_texts(defaults["text"])
    none = runtime.run(names, {"text": asked([])})
    assert [each.shape for each in none] == [(0, 4), (0, 4), (0,), (0,)]
    assert kept


def around_nothing(codec: TextCodec, copies: bool, text: list[bytes] | None = None) -> Any:
    """Returns a session over the strings' part alone: `target` is what the model is said to have found.

    Bytes that are no text can only be handed over inside the file, as the default of `text`.
    """
    make, proto = onnx.helper, onnx.TensorProto
    nodes = [
        make.make_node("Identity", ["target"], ["target_ids"]),
        make.make_node("Shape", ["target"], ["beams"], end=2),
        make.make_node("ConstantOfShape", ["beams"], ["scores"]),
        make.make_node("Identity", ["source_ids"], ["ids"]),
        make.make_node("Identity", ["source_lengths"], ["lengths"]),
    ]
    inputs = {"source_ids": ["B", "S"], "source_lengths": ["B"], "target": ["B", "K", "T"]}
    outputs = {"target_ids": ["B", "K", "T"], "ids": ["B", "S"], "lengths": ["B"]}
    given, made = (
        [make.make_tensor_value_info(name, proto.INT32, shape) for name, shape in each.items()]
        for each in (inputs, outputs)
    )
    made.append(make.make_tensor_value_info("scores", proto.FLOAT, ["B", "K"]))
    model = make.make_model(
        make.make_graph(nodes, "nothing", given, made), opset_imports=[make.make_opsetid("", 18)], ir_version=8
    )
    surround(model, codec, copies)
    if text is not None:
        model.graph.initializer.add(name="text", data_type=proto.STRING, dims=[len(text)], string_data=text)
    onnx.checker.check_model(model, full_check=True)
    return session(model.SerializeToString(), extensions=True)


def random_ids(generator: np.random.Generator, shape: list[int], codec: TextCodec, places: int) -> np.ndarray:
    """Returns any ids there can be, special ones and leading spaces more often than a model gives them."""
    ids = generator.integers(0, codec.target_size, shape)
    copied = codec.target_size + generator.integers(0, places + 2, shape)
    ids = np.where(generator.random(shape) < 0.3, copied, ids) if places else ids
    spaces = [index for index, piece in enumerate(codec.target_vocabulary) if piece == "▁"]
    ids = np.where(generator.random(shape) < 0.2, spaces[0], ids) if spaces else ids
    return np.where((ids == END_ID) & (generator.random(shape) < 0.9), 1, ids).astype(np.int32)


@pytest.mark.parametrize("kind", ["char", "word", "unigram", "bpe"])
@pytest.mark.parametrize(
    ("make", "copies"), [(TextCodec, False), (TextCodec, True), (CopyCodec, True)], ids=["plain", "copies", "open"]
)
def test_any_text_to_ids_and_any_ids_to_text(kind: str, make: type[TextCodec], copies: bool):
    size = None if kind in ("char", "word") else 90
    source, target = (SentencePieceTokenizer.train(corpus, kind, size) for corpus in (CORPUS, CORPUS[1:]))
    codec, generator = make("any", source, target), np.random.default_rng(3)
    runtime = around_nothing(codec, copies)
    # A row of words that nobody knows, some of them equal, which codecs that copy tell apart.
    for rows, beams, time in ((LINES, 2, 9), (["☃ Bob cat ☃☃ Bob ☃ Bobby", ""], 40, 12), ([""], 1, 0), ([], 3, 4)):
        request = {"text": tf.constant(rows, tf.string)}
        ids, lengths = codec.source(request)
        found = random_ids(generator, [len(rows), beams, time], codec, 8 * copies)
        outputs = [output.name for output in runtime.get_outputs()]
        given = dict(zip(outputs, runtime.run(None, {"text": asked(rows), "target": found}), strict=True))
        np.testing.assert_array_equal(given["ids"], ids)
        np.testing.assert_array_equal(given["lengths"], lengths)
        expected = codec.texts(tf.constant(found), request, copies)
        assert given["texts"].tolist() == as_texts(expected)
        assert given["best_text"].tolist() == as_texts(expected[:, 0])


# === What a string can hold ===


@pytest.mark.parametrize("kind", ["char", "word", "unigram", "bpe"])
@pytest.mark.parametrize(("make", "copies"), [(TextCodec, False), (CopyCodec, True)], ids=["plain", "open"])
def test_bytes_that_are_no_text_are_read_as_tensorflow_reads_them(kind: str, make: type[TextCodec], copies: bool):
    rows = [b"a\xffb", b"\xc3", b"cat \xf0\x9f\x98", b"\xed\xa0\x80 cat", b"\xc0\x80", b"\x80dog", b"\xf4\x90\x80\x80"]
    tokenizer = SentencePieceTokenizer.train(CORPUS, kind, None if kind in ("char", "word") else 90)
    codec = make("any", tokenizer, tokenizer)
    first = codec.target_size * copies  # the places of a source, or its special ids
    found = np.tile(np.array([4, 1, first, first + 1, 5], np.int32), [len(rows), 1, 1])
    ids, texts = around_nothing(codec, copies, rows).run(["ids", "texts"], {"target": found})
    request = {"text": tf.constant(rows)}
    np.testing.assert_array_equal(ids, codec.source(request)[0])
    assert texts.tolist() == as_texts(codec.texts(tf.constant(found), request, copies))


def test_what_the_runtime_does_with_what_it_cannot_hold(runtime: Any):
    def best(text: Any) -> str:
        return runtime.run(["best_text"], {"text": np.array([text], object)})[0][0]

    assert best("cat\0dog") == best("cat") != best("catdog")
    with pytest.raises(UnicodeEncodeError):
        best("\ud800")
    assert best(b"cat") == best("b'cat'"), "bytes are no text: ONNX Runtime spells them as Python prints them"


def test_the_code_of_the_page_runs_as_it_stands_and_prints_what_it_says(place: Path, tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "exports.md").read_text("utf-8")
    (code,) = re.findall(r"^## Text to text\n.*?```python\n(.*?)```", page, re.MULTILINE | re.DOTALL)
    home = tmp_path / "out" / "quickstart"
    home.mkdir(parents=True)
    (home / "g2p_quickstart").symlink_to(place)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip() == re.search(r"print\(.*\)  # (.*)", code)[1], done.stderr[-500:]


# === Predictors, verification, manifest ===


def test_the_predictor_answers_as_the_model_does(pronouncer_exports: Path, place: Path):
    texts = ["phoneme", "", "cat\0dog", "daylights", "ＡＢＣ ☃"]
    predictors = [
        load_predictor(path, search="beam:4,length_penalty=0.4,max_length=9")
        for path in (pronouncer_exports / "model.onnx", pronouncer_exports / "preset", place / "model.text.onnx")
    ]
    same, live, given = ([one for row in each.n_best(texts, batch_size=2) for one in row] for each in predictors)
    for one, other, third in zip(given, live, same, strict=True):
        assert (one.text, one.ids) == (other.text, other.ids) == (third.text, third.ids)
        assert one.score == pytest.approx(other.score, abs=1e-4)
        np.testing.assert_allclose(one.token_scores, other.token_scores, atol=1e-4)
        np.testing.assert_allclose(one.alignment, third.alignment, atol=1e-5)
    assert predictors[2].generate(["phoneme"]) == [given[0].text]
    assert predictors[2].codec.source_tokenizer.model_proto == predictors[1].codec.source_tokenizer.model_proto
    with pytest.raises(ExportError, match="holds the search 'beam:4' and no other"):
        load_predictor(place / "model.text.onnx", search="greedy")


def test_verify_sees_no_difference_and_sees_one(pronouncer: Path, place: Path, fresh: FreshProcess):
    model = load_preset(pronouncer)
    report = verify(place / "model.text.onnx", model, fresh)
    assert report.ok and report.checks[0].compared, str(report)
    bias = next(weight for weight in model.decoder.trainable_weights if "bias" in weight.path)
    bias.assign(bias + 0.5)
    report = verify(place / "model.text.onnx", model, fresh)
    assert "best_score differs" in str(report) and "texts differs at" in str(report)


def test_the_manifest_and_the_description(pronouncer_exports: Path, place: Path):
    assert check_manifest(place) == []
    manifest = json.loads((place / "manifest.json").read_text("utf-8"))
    held = manifest["exports"]["model.text.onnx"]
    assert held["inputs"]["text"] == {"dtype": "string", "shape": ["batch"]}
    assert "source_ids" not in held["inputs"] and held["inputs"]["max_length"]["default"] == 256
    assert list(held["outputs"])[:3] == ["best_text", "best_score", "texts"] and "alignments" in held["outputs"]
    assert held["versions"]["onnxruntime_extensions"]
    file, description = read_onnx(place / "model.text.onnx")
    assert description["search"] == "beam:4" and "source_sentencepiece" in description
    assert "source_sentencepiece" not in {entry.key for entry in file.metadata_props}, "it would be held twice"
    sizes = [path.stat().st_size for path in (place / "model.text.onnx", pronouncer_exports / "model.onnx")]
    assert sizes[0] < 1.1 * sizes[1]
    shapes = {value.name: [dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in file.graph.output}
    assert shapes["texts"] == shapes["scores"] == ["batch", "beams"] and shapes["best_text"] == ["batch"]


def test_in_fewer_bits_and_by_other_operators(live: Seq2Seq, exported: Path, tmp_path: Path):
    path = tmp_path / "small.text.onnx"
    live.export(path, format="text_onnx", search=BeamSearch(2, max_length=6), opset=19, precision="int8")
    file, description = read_onnx(path)
    assert (description["precision"], description["opset"]) == ("int8", "19")
    assert [each.version for each in file.opset_import if each.domain == ""] == [19]
    assert onnx.TensorProto.INT8 in {each.data_type for each in file.graph.initializer}
    words = ["cat", "stick", "", "tack"]
    assert load_predictor(path).generate(words) == load_predictor(exported / "model.onnx").generate(words)


# === Refusals ===


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_a_damaged_file(place: Path, tmp_path: Path, part: float):
    whole, path = bytearray((place / "model.text.onnx").read_bytes()), tmp_path / "model.text.onnx"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ExportError, match="damaged"):
        load_predictor(path)
    whole[int(len(whole) * part)] ^= 0x55
    path.write_bytes(whole)
    with pytest.raises(ExportError, match="Received: "):
        load_predictor(path)


def byte_fallback() -> SentencePieceTokenizer:
    """Returns a tokenizer that spells what it does not know byte by byte; kerass2s trains none such."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, model_type="bpe", vocab_size=320, hard_vocab_limit=False,
        byte_fallback=True, pad_id=0, unk_id=1, bos_id=2, eos_id=3, minloglevel=2,
    )  # fmt: skip
    return SentencePieceTokenizer(model.getvalue())


def test_what_has_no_text_or_cannot_be_joined_is_refused(source_tokenizer: SentencePieceTokenizer, tmp_path: Path):
    path = tmp_path / "model.text.onnx"
    with pytest.raises(ExportError, match="from text to text; export onnx. Received: series2series"):
        zoo.build("series2series", preset="tiny").export(path, format="text_onnx", search=Rollout(3))
    made = zoo.build("luong2015", preset="tiny", source_tokenizer=source_tokenizer, target_tokenizer=byte_fallback())
    with pytest.raises(ExportError, match="byte pieces of the target tokenizer"):
        export_text_onnx(made, path, BeamSearch(2))
    made = zoo.build("luong2015", preset="tiny", source_tokenizer=byte_fallback(), target_tokenizer=source_tokenizer)
    with pytest.raises(ExportError, match="byte pieces of the source tokenizer"):
        export_text_onnx(made, path, BeamSearch(2, copy_unknown=True))
    with pytest.raises(ExportError, match="mbr compares texts outside the graph"):
        export_text_onnx(made, path, MinimumBayesRisk(4))
    with pytest.raises(ExportError, match="a file that ends in .onnx"):
        write_text_onnx(None, tmp_path)
    assert list(tmp_path.iterdir()) == []
