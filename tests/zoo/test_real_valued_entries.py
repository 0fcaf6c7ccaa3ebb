"""The entries of vectors: a pyramid that spells noisy frames, and a series that goes on; live, saved and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from kerass2s import BeamSearch, BucketByExamples, FreeRunningValidation, Pair, SentencePieceTokenizer, Seq2Seq, zoo
from kerass2s.cli import app
from kerass2s.decoding import Rollout
from kerass2s.errors import ConfigError, ExportError, UserError
from kerass2s.export import load_predictor, verify, write_manifest
from kerass2s.export.describe import read_saved_model_description
from kerass2s.export.fresh import FreshProcess
from kerass2s.plots import attention_map

SYMBOLS = "ABCD"
HORIZON = 24


# === listen_attend2016 ===


def utterance(random: np.random.Generator) -> Pair:
    """2 to 4 symbols, no two in a row alike, each for 2 to 5 noisy one-hot frames."""
    symbols = [int(random.integers(4))]
    for _ in range(random.integers(1, 4)):
        symbols.append((symbols[-1] + int(random.integers(1, 4))) % 4)
    frames = np.repeat(np.eye(4)[symbols], random.integers(2, 6, len(symbols)), axis=0)
    return Pair(frames + random.normal(scale=0.2, size=frames.shape), " ".join(SYMBOLS[i] for i in symbols))


@pytest.fixture(scope="module")
def speller() -> tuple[Seq2Seq, list[Pair]]:
    """A trained listener and speller, and pairs that it has not seen."""
    random = np.random.default_rng(4)
    pairs = [utterance(random) for _ in range(3300)]
    keras.utils.set_random_seed(1)
    model = zoo.build(
        "listen_attend2016",
        target_tokenizer=SentencePieceTokenizer.train([" ".join(SYMBOLS)], "word"),
        source_size=4,
        units=24,
        pyramid_layers=1,
        speller_units=48,
        attention_units=24,
        readout_units=24,
        dropout=0.0,
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 7 * 60)
    model.compile(optimizer=keras.optimizers.Adam(schedule, clipnorm=1.0))
    model.fit(pairs[:3200], epochs=7, batching=BucketByExamples(64), verbose=0)
    return model, pairs[3200:]


def test_frames_are_spelled(speller: tuple[Seq2Seq, list[Pair]]) -> None:
    model, pairs = speller
    spelled = model.generate([pair.source for pair in pairs], BeamSearch(width=2, max_length=12))
    assert np.mean([text == pair.target for text, pair in zip(spelled, pairs, strict=True)]) > 0.95
    free: dict[str, Any] = {}
    validation = FreeRunningValidation(pairs)
    validation.set_model(model)
    validation.on_epoch_end(0, free)
    assert free["val_free_sequence_accuracy"] > 0.95


def test_alignments_go_over_the_shorter_memory_and_can_be_drawn(speller: tuple[Seq2Seq, list[Pair]]) -> None:
    model, pairs = speller
    source = pairs[0].source[:7]
    ((hypothesis, *_),) = model.n_best([source])
    assert hypothesis.alignment.shape == (len(hypothesis.ids), 4)
    drawn = attention_map(source, hypothesis, model.codec)
    assert list(drawn.source_tokens) == ["0-1", "2-3", "4-5", "6"]
    assert drawn.weights.shape == (len(drawn.target_tokens), 4)


def test_an_export_names_the_memory_time(speller: tuple[Seq2Seq, list[Pair]], tmp_path: Path) -> None:
    model, pairs = speller
    sources = [pair.source for pair in pairs[:9]]
    search = BeamSearch(width=2, max_length=8)
    model.export(tmp_path / "model.onnx", "onnx", search)
    model.export(tmp_path / "saved_model" / "1", search=search)
    graph = onnx.load_model(tmp_path / "model.onnx").graph
    (alignments,) = [output for output in graph.output if output.name == "alignments"]
    assert alignments.type.tensor_type.shape.dim[3].dim_param == "memory_time"
    expected = model.n_best(sources, search)
    for path in (tmp_path / "model.onnx", tmp_path / "saved_model" / "1"):
        for given, wanted in zip(load_predictor(path).n_best(sources, batch_size=4), expected, strict=True):
            assert [one.text for one in given] == [one.text for one in wanted]
            width = min(given[0].alignment.shape[1], wanted[0].alignment.shape[1])
            np.testing.assert_allclose(given[0].alignment[:, :width], wanted[0].alignment[:, :width], atol=1e-4)
    signatures = tf.saved_model.load(str(tmp_path / "saved_model" / "1")).signatures
    assert set(signatures) == {"serving_default", "n_best", "ids", "ids_with_settings", "n_best_with_settings"}
    found = signatures["serving_default"](**model.codec.request(sources))
    assert [text.decode() for text in found["text"].numpy()] == [row[0].text for row in expected]


def test_scores_are_those_of_the_search(speller: tuple[Seq2Seq, list[Pair]]) -> None:
    model, pairs = speller
    source = pairs[0].source
    ((hypothesis, *_),) = model.n_best([source], BeamSearch(width=2, max_length=12))
    (score,) = model.score_pairs([Pair(source, hypothesis.text)])
    assert score == pytest.approx(hypothesis.score, abs=1e-4)


def test_texts_are_refused_in_one_line(speller: tuple[Seq2Seq, list[Pair]]) -> None:
    model, _ = speller
    for ask in (model.generate, model.n_best, lambda texts: model.score_pairs([Pair(text, "A") for text in texts])):
        with pytest.raises(UserError, match=r"source 0: must be an array of floats, .* Received: 'cat'"):
            ask(["cat"])
    with pytest.raises(UserError, match=r"pair 0, source: must be an array of floats, .* Received: 'cat'"):
        model.fit([("cat", "A")], verbose=0)


def test_sizes_of_the_paper() -> None:
    """Section 4: 40 features; 256 a direction, three pyramidal layers on one BLSTM; a speller of two LSTMs of 512."""
    tokenizer = SentencePieceTokenizer.train(["abc"], "char")
    with keras.device("cpu"):
        model = zoo.build("listen_attend2016", target_tokenizer=tokenizer, preset="paper")

    def lstm(inputs: int, units: int) -> int:
        return 4 * units * (inputs + units + 1)

    listener = 2 * (lstm(40, 256) + 3 * lstm(1024, 256))
    assert model.encoder.count_params() == listener
    characters = tokenizer.vocabulary_size
    speller = lstm(characters + 512, 512) + lstm(512, 512)
    networks = 4 * 512 * 512 + 3 * 512 + (1024 + 1) * 512 + (512 + 1) * characters
    assert model.decoder.count_params() == speller + networks
    assert model.codec.window == 8


# === series2series ===


def wave(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A mixture of a slow and a fast sine of random phases and sizes: 36 steps, and the 24 after them."""
    time = np.arange(36 + HORIZON)
    sizes, phases = random.uniform(0.5, 1.0, 2), random.uniform(0, 2 * np.pi, 2)
    values = sizes[0] * np.sin(2 * np.pi * time / 24 + phases[0]) + sizes[1] * np.sin(2 * np.pi * time / 8 + phases[1])
    return values[:36, None], values[36:, None]


@pytest.fixture(scope="module")
def forecaster() -> tuple[Seq2Seq, list[Any]]:
    """A trained model of waves, and waves that it has not seen."""
    random = np.random.default_rng(3)
    pairs = [wave(random) for _ in range(900)]
    keras.utils.set_random_seed(1)
    model = zoo.build("series2series", units=48)
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 12 * 25)
    model.compile(optimizer=keras.optimizers.Adam(schedule, clipnorm=1.0))
    model.fit(pairs[:800], epochs=12, batching=BucketByExamples(32), verbose=0)
    return model, pairs[800:]


def test_a_series_goes_on(forecaster: tuple[Seq2Seq, list[Any]]) -> None:
    model, pairs = forecaster
    predicted = model.generate([source for source, _ in pairs], Rollout(HORIZON))
    error = np.mean([(mine - target) ** 2 for mine, (_, target) in zip(predicted, pairs, strict=True)])
    naive = np.mean([(source[-1] - target) ** 2 for source, target in pairs])
    assert error < 0.2 * naive


def test_any_horizon(forecaster: tuple[Seq2Seq, list[Any]]) -> None:
    model, pairs = forecaster
    sources = [source[:length] for (source, _), length in zip(pairs, (36, 9, 1, 20), strict=False)]
    far = model.generate(sources, Rollout(96), batch_size=3)
    assert [values.shape for values in far] == [(96, 1)] * 4
    for values, near in zip(far, model.generate(sources), strict=True):
        np.testing.assert_allclose(values[:24], near, atol=1e-5)


def test_the_horizon_is_an_input_of_both_exports(forecaster: tuple[Seq2Seq, list[Any]], tmp_path: Path) -> None:
    model, pairs = forecaster
    sources = [source[:length] for (source, _), length in zip(pairs, (36, 9, 1, 20), strict=False)]
    onnx_file, saved_model = tmp_path / "model.onnx", tmp_path / "saved_model" / "1"
    model.export(onnx_file, "onnx", Rollout(7))
    model.export(saved_model, search=Rollout(7))
    for path in (onnx_file, saved_model):
        for search, horizon in ((None, 7), ("rollout:30", 30)):
            predictor = load_predictor(path, search=search)
            assert predictor.search == f"rollout:{horizon}"
            for given, wanted in zip(
                predictor.generate(sources, 3), model.generate(sources, Rollout(horizon)), strict=True
            ):
                np.testing.assert_allclose(given, wanted, atol=1e-4)
        with pytest.raises(ExportError, match="what can be set anew is horizon. Received: 'greedy'"):
            load_predictor(path, search="greedy")
        with pytest.raises(ConfigError, match="Received: n_best"):
            load_predictor(path).n_best(sources)
    inputs = {name: tensor.numpy() for name, tensor in model.codec.request(sources).items()}
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["source_values", "source_lengths"]
    assert [value.name for value in session.get_overridable_initializers()] == ["horizon"]
    (direct,) = session.run(["target_values"], {**inputs, "horizon": np.array(5, np.int32)})
    assert direct.shape == (4, 5, 1)
    loaded = tf.saved_model.load(str(saved_model))
    assert set(loaded.signatures) == {"serving_default"}
    served = loaded.signatures["serving_default"](**inputs, horizon=tf.constant(5))
    np.testing.assert_allclose(served["target_values"], direct, atol=1e-4)


def test_exports_describe_themselves_and_verify(
    forecaster: tuple[Seq2Seq, list[Any]], tmp_path: Path, fresh: FreshProcess
) -> None:
    model, _ = forecaster
    model.save_to_preset(tmp_path / "preset")
    model.export(tmp_path / "model.onnx", "onnx", Rollout(5))
    model.export(tmp_path / "saved_model" / "1", search=Rollout(5))
    (interface, _) = write_manifest(tmp_path)["exports"].values()
    assert interface["inputs"] == {
        "source_values": {"dtype": "float32", "shape": ["batch", "source_time", 1]},
        "source_lengths": {"dtype": "int32", "shape": ["batch"]},
        "horizon": {"dtype": "int32", "shape": [], "default": 5},
    }
    assert interface["outputs"] == {"target_values": {"dtype": "float32", "shape": ["batch", "target_time", 1]}}
    assert interface["special_ids"] == {}
    assert interface["search"] == "rollout:5"
    description = read_saved_model_description(tmp_path / "saved_model" / "1")
    assert "pad_id" not in description and json.loads(description["config"])["first"] == "last"
    report = verify(tmp_path, process=fresh)
    assert report.ok and len(report.checks) == 2, str(report)
    model.decoder.get_layer("logits").bias.assign_add([0.1])
    report = verify(tmp_path / "model.onnx", model, fresh)
    model.decoder.get_layer("logits").bias.assign_sub([0.1])
    assert "target_values differs by up to" in str(report)


def test_there_are_no_hypotheses_of_values(forecaster: tuple[Seq2Seq, list[Any]]) -> None:
    model, pairs = forecaster
    with pytest.raises(ConfigError, match="no hypotheses and no scores: generate. Received: n_best"):
        model.n_best([pairs[0][0]])
    with pytest.raises(ConfigError, match="Received: score_pairs"):
        model.score_pairs(pairs[:1])
    with pytest.raises(ConfigError, match="the one search is rollout"):
        model.generate([pairs[0][0]], BeamSearch())


def test_any_loss_of_keras_and_keras_saving(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pairs = [(random.normal(size=(5, 3)), random.normal(size=(length, 2))) for length in (2, 4, 9)]
    model = zoo.build("series2series", preset="tiny")
    for loss in (keras.losses.Huber(), None):
        model.compile(loss=loss)
        history = model.fit(pairs, validation_data=pairs[:1], verbose=0).history
        assert {"loss", "mean_absolute_error", "val_loss", "val_mean_absolute_error"} <= set(history)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    sources = [source for source, _ in pairs]
    np.testing.assert_array_equal(again.generate(sources), model.generate(sources))
    assert again.loss.reduction == "mean_with_sample_weight"


@pytest.mark.parametrize("name", ["listen_attend2016", "series2series"])
def test_the_command_line_refuses_texts_in_one_line(
    name: str, target_tokenizer: SentencePieceTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo.build(name, target_tokenizer=target_tokenizer, preset="tiny").save_to_preset(tmp_path / "preset")
    file = tmp_path / "pairs.tsv"
    file.write_text("cat\tK AE T\n")
    for command in ("predict", "evaluate", "score"):
        with pytest.raises(SystemExit) as left:
            app([command, str(tmp_path / "preset"), str(file)])
        assert left.value.code == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and "Received: " in printed.err


def test_a_damaged_series_export_is_refused(tmp_path: Path) -> None:
    model = zoo.build("series2series", preset="tiny")
    model.export(tmp_path / "model.onnx", "onnx", Rollout(2))
    whole = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[:-9])
    with pytest.raises(ExportError, match="damaged"):
        load_predictor(tmp_path / "model.onnx")
