"""The SavedModel: its three signatures over any batch, its warm-up requests, and the directory it is written to."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from kerass2s import zoo
from kerass2s.decoding import BeamSearch, GreedySearch
from kerass2s.errors import ConfigError, ExportError
from kerass2s.export import export_saved_model, verify
from kerass2s.export.describe import read_saved_model_description
from kerass2s.export.graph import operators, without_cudnn
from kerass2s.export.precision import LEAST
from kerass2s.export.saved_model import WARMUP_SHAPES, _signatures
from kerass2s.seq2seq import Seq2Seq

SIZES = ("wide", "narrow")


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Any:
    """The reloaded SavedModel; holding it keeps its signatures alive."""
    return tf.saved_model.load(str(exported / "saved_model" / "1"))


def test_text_in_text_out(loaded: Any, live: Seq2Seq, search: BeamSearch):
    texts = ["cat", "", "☃", "tack" * 9]
    expected = live.n_best(texts, search)
    best = loaded.signatures["serving_default"](text=tf.constant(texts))
    all_of_them = loaded.signatures["n_best"](text=tf.constant(texts))
    assert [text.decode() for text in best["text"].numpy()] == [row[0].text for row in expected]
    assert [[text.decode() for text in row] for row in all_of_them["text"].numpy()] == [
        [one.text for one in row] for row in expected
    ]
    np.testing.assert_allclose(best["score"], [row[0].score for row in expected], atol=1e-4)
    np.testing.assert_allclose(all_of_them["score"], [[one.score for one in row] for row in expected], atol=1e-4)


@pytest.mark.parametrize("texts", [[], ["cat"], [""]], ids=["none", "one", "empty"])
def test_small_batches(loaded: Any, texts: list[str]):
    batch = tf.constant(texts, tf.string)
    best = loaded.signatures["serving_default"](text=batch)
    assert best["text"].shape == best["score"].shape == (len(texts),)
    assert loaded.signatures["n_best"](text=batch)["text"].shape == (len(texts), 2)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0), (1, 1), (17, 9)])
def test_ids_of_any_shape(loaded: Any, shape: tuple[int, int]):
    outputs = loaded.signatures["ids"](
        source_ids=tf.fill(shape, 5), source_lengths=tf.fill(shape[:1], tf.constant(shape[1]))
    )
    assert outputs["target_ids"].dtype == outputs["target_lengths"].dtype == tf.int32
    assert outputs["target_lengths"].shape == outputs["scores"].shape == (shape[0], 2)
    assert outputs["alignments"].shape == (*outputs["target_ids"].shape, shape[1])


def test_warm_up_requests_run(loaded: Any, exported: Path):
    file = exported / "saved_model" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    asked: dict[str, list[tuple[int, ...]]] = {}
    for record in tf.data.TFRecordDataset(str(file)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        loaded.signatures[request.model_spec.signature_name](**inputs)
        first = inputs.get("source_ids", inputs.get("text"))
        asked.setdefault(request.model_spec.signature_name, []).append(tuple(first.shape))
    # A server that batches refuses a signature with a number for the whole request, and then does not load the model.
    assert asked.keys() == {"serving_default", "n_best", "ids"}
    assert asked["n_best"] == asked["serving_default"] == [(rows,) for rows, _ in WARMUP_SHAPES]
    assert [rows for rows, _ in asked["ids"]] == [rows for rows, _ in WARMUP_SHAPES]
    assert len({time for _, time in asked["ids"]}) > 3


@pytest.mark.parametrize("architecture", ["luong2015", "pointer_generator2017"])
def test_what_it_takes_from_tensorflow_text_is_what_a_server_has(tiny: Callable[[str], Seq2Seq], architecture: str):
    """Those that docs/deploying.md looked up in the library that TensorFlow Serving links."""
    signatures, _ = _signatures(tiny(architecture), GreedySearch(max_length=3))
    graphs = [signature.get_concrete_function().graph.as_graph_def() for signature in signatures.values()]
    kinds = set().union(*map(operators, graphs))
    found = {kind for kind in kinds if "entencepiece" in kind or "TFText" in kind}
    page = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text("utf-8")
    assert len(found) >= 3 and all(f"`{each}`" in page for each in found)


def test_it_describes_itself(exported: Path, live: Seq2Seq):
    text = (exported / "saved_model" / "1" / "assets.extra" / "kerass2s.json").read_text("utf-8")
    description = json.loads(text)
    assert description["search"] == "beam:2,max_length=6"
    assert json.loads(description["source_vocabulary"]) == live.source_tokenizer.pieces
    assert "saved_model.pb" in json.loads(description["files"])


def test_tracing_takes_the_path_that_every_device_has(live: Seq2Seq):
    layers = [layer for layer in live.encoder._flatten_layers() if hasattr(layer, "use_cudnn")]
    before = [layer.use_cudnn for layer in layers]
    with without_cudnn(live):
        assert layers and not any(layer.use_cudnn for layer in layers)
    assert [layer.use_cudnn for layer in layers] == before


def test_an_extra_that_is_not_installed_is_told_before_the_work(live: Seq2Seq, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis.prediction_log_pb2", None)
    with pytest.raises(ExportError, match=r"pip install 'kerass2s\[serving\]'"):
        export_saved_model(live, tmp_path / "made" / "1", GreedySearch())
    assert list(tmp_path.iterdir()) == []


def test_an_older_one_is_replaced_and_anything_else_is_kept(exported: Path, live: Seq2Seq, tmp_path: Path):
    shutil.copytree(exported / "saved_model" / "1", tmp_path / "1")
    export_saved_model(live, tmp_path / "1", GreedySearch(max_length=4))
    assert read_saved_model_description(tmp_path / "1")["search"] == "greedy:max_length=4"
    assert [file.name for file in tmp_path.iterdir()] == ["1"]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    with pytest.raises(ExportError, match="holds something else"):
        export_saved_model(live, tmp_path / "notes", GreedySearch())
    assert (tmp_path / "notes" / "diary.txt").read_text() == "dear diary"
    with pytest.raises(ExportError, match="is a directory"):
        export_saved_model(live, tmp_path / "model.onnx", GreedySearch())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1", "notes"]


def test_float16_holds_the_nearest_halves_and_computes_as_ever(
    source_tokenizer: Any, target_tokenizer: Any, tmp_path: Path
):
    keras.utils.set_random_seed(3)
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
    model = zoo.build("luong2015", **tokenizers, units=64)
    export_saved_model(model, tmp_path / "wide", GreedySearch(max_length=6))
    export_saved_model(model, tmp_path / "narrow", GreedySearch(max_length=6), precision="float16")
    large = [weight for weight in model.weights if tf.size(weight) >= LEAST]
    assert len(large) > 5
    bytes_of = {name: (tmp_path / name / "variables/variables.data-00000-of-00001").stat().st_size for name in SIZES}
    saved = sum(2 * tf.size(weight).numpy() for weight in large)
    assert bytes_of["wide"] - bytes_of["narrow"] == pytest.approx(saved, rel=0.01)
    assert verify(tmp_path / "narrow", against=model).ok
    for weight in large:
        weight.assign(tf.cast(tf.cast(weight, tf.float16), tf.float32))
    source = {"source_ids": tf.constant([[5, 6, 4, 3], [4, 3, 0, 0]]), "source_lengths": tf.constant([4, 2])}
    given = tf.saved_model.load(str(tmp_path / "narrow")).signatures["ids"](**source)
    expected = model.search_graph(*source.values(), GreedySearch(max_length=6)).named()
    np.testing.assert_array_equal(given["target_ids"], expected["target_ids"])
    np.testing.assert_allclose(given["scores"], expected["scores"], atol=1e-5)


def test_other_precisions_are_refused(live: Seq2Seq, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"precision of a SavedModel .*Received: 'int8'"):
        live.export(tmp_path / "it", format="tf_saved_model", precision="int8")
    assert not list(tmp_path.iterdir())
