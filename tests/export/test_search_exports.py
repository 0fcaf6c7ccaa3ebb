"""Every option of every search, on four kinds of model: the live model, the SavedModel and the ONNX file are equal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kerass2s.data.padding import padded
from kerass2s.decoding import (
    Banned,
    BeamSearch,
    Forced,
    Hypothesis,
    MaxRatio,
    MinLength,
    MinRatio,
    Monotonic,
    NoRepeatNgram,
    NoUnknown,
    Prefix,
    RepetitionPenalty,
    SamplingSearch,
    Search,
    search_spec,
)
from kerass2s.export import export_saved_model, load_predictor
from kerass2s.export.onnx import convert, session
from kerass2s.seq2seq import Seq2Seq

Arrays = dict[str, np.ndarray]

TEXTS = ["stick", "", "☃", "cat" * 5, "a b"]
OTHERS = {"max_length": 3, "length_penalty": 1.3, "temperature": 0.7, "seed": 1409}
OUT_OF_RANGE = {"max_length": 0, "length_penalty": -1.0, "temperature": 0.0, "seed": -1}


def beam() -> BeamSearch:
    """Returns a beam search with every option of its own and of the ranker, and half of the filters."""
    return BeamSearch(
        4,
        0.7,
        8,
        groups=2,
        diversity=1.2,
        normalization="plain",
        coverage_penalty=0.2,
        word_reward=0.3,
        filters=(MinLength(2), MaxRatio(2.5), Banned((6,)), Forced((5,)), NoRepeatNgram(2), Monotonic(2, 1, 3.0)),
    )


def sample(aligned: bool) -> SamplingSearch:
    """Returns a sampling with every option, and the other half of the filters."""
    return SamplingSearch(
        3,
        temperature=1.4,
        top_k=6,
        top_p=0.9,
        seed=7,
        length_penalty=0.5,
        max_length=8,
        coverage_penalty=0.1 if aligned else 0.0,
        filters=(MinRatio(0.5), NoUnknown(), Prefix((5,)), RepetitionPenalty(1.5)),
    )


# An export takes seconds: each option is tried on two kinds of model; a lexicon, and greedy search with filters, in
# `tests/decoding/test_onnx.py` and by command in `tests/cli/test_searching.py`.
CASES = [
    ("luong2015", beam()),  # LSTM, attention
    ("cho2014", sample(aligned=False)),  # GRU, none
    ("transformer2017", sample(aligned=True)),
    ("pointer_generator2017", beam()),
]


@pytest.mark.parametrize(
    ("name", "search"), [pytest.param(*case, id=f"{case[0]}-{type(case[1]).__name__}") for case in CASES]
)
def test_all_options_are_equal_in_all_three(tiny: Callable[[str], Seq2Seq], name: str, search: Search, tmp_path: Path):
    # One test, for workers that run tests side by side share no fixtures, and an export takes seconds.
    model = tiny(name)
    own = search.settings()
    others = {name: np.array(OTHERS[name], value.dtype) for name, value in own.items()}
    beyond = {name: np.array(OUT_OF_RANGE[name], value.dtype) for name, value in own.items()}
    proto = convert(model, search)
    assert_well_formed(proto, own)
    onnx.save_model(proto, tmp_path / "model.onnx")
    export_saved_model(model, tmp_path / "1", search)
    assert_defaults(tmp_path / "1", own)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    ask = onnx_runner(proto)

    source, lengths = padded(model.codec.rows(TEXTS))
    given = {"source_ids": source, "source_lengths": lengths}
    other_search = dataclasses.replace(search, **{name: OTHERS[name] for name in own})
    expected, expected_others = (model.n_best(TEXTS, each) for each in (search, other_search))
    assert said(expected) != said(expected_others), "settings that change nothing show nothing"
    assert len({str(each) for each in said(expected)}) > 1, "a model that always says the same shows nothing"

    for outputs in (ask(given), ask({**given, **own}), signature(loaded, "ids", given)):
        assert_hypotheses(model, outputs, expected)
    for outputs in (ask({**given, **others}), signature(loaded, "ids_with_settings", {**given, **others})):
        assert_hypotheses(model, outputs, expected_others)
    predictor = load_predictor(tmp_path / "model.onnx", search=search_spec(other_search))
    assert said(predictor.n_best(TEXTS, batch_size=2)) == said(expected_others)
    assert_texts(loaded, "n_best", {}, expected)
    assert_texts(loaded, "n_best_with_settings", others, expected_others)
    for shape in [(0, 0), (0, 3), (2, 0), (1, 1), (17, 9)]:
        inputs = {**odd(shape), **beyond}
        assert_equal(ask(inputs), signature(loaded, "ids_with_settings", inputs))


def odd(shape: tuple[int, int]) -> Arrays:
    """Returns ids [B, S] with lengths from 0 to S, and what is no padding after them."""
    generator = np.random.default_rng(3)
    lengths = generator.integers(0, shape[1] + 1, size=shape[0])
    return {
        "source_ids": generator.integers(4, 9, size=shape).astype(np.int32),
        "source_lengths": lengths.astype(np.int32),
    }


# === Runners ===


def onnx_runner(proto: onnx.ModelProto) -> Callable[[Arrays], Arrays]:
    """Returns what runs an ONNX model in this process."""
    runtime = session(proto.SerializeToString())
    names = [output.name for output in runtime.get_outputs()]
    return lambda inputs: dict(zip(names, runtime.run(names, inputs), strict=True))


def signature(loaded: Any, name: str, inputs: Arrays) -> Arrays:
    """Runs a signature of a SavedModel."""
    outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
    return {key: output.numpy() for key, output in outputs.items()}


# === Comparison ===


def said(answers: list[list[Hypothesis]]) -> list[list[list[int]]]:
    """Returns the ids of all hypotheses."""
    return [[one.ids for one in row] for row in answers]


def assert_hypotheses(model: Seq2Seq, outputs: Arrays, expected: list[list[Hypothesis]]) -> None:
    """The raw outputs are these hypotheses, and nothing beside."""
    for row, (text, wanted) in enumerate(zip(TEXTS, expected, strict=True)):
        found = model.codec.hypotheses({name: output[row] for name, output in outputs.items()}, text)
        assert [(one.text, one.ids) for one in found] == [(one.text, one.ids) for one in wanted]
        np.testing.assert_allclose([one.score for one in found], [one.score for one in wanted], atol=1e-4)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one.token_scores, other.token_scores, atol=1e-4)
            assert (one.alignment is None) == (other.alignment is None)
            if one.alignment is not None:
                np.testing.assert_allclose(one.alignment, other.alignment, atol=1e-4)


def assert_texts(loaded: Any, name: str, settings: Arrays, expected: list[list[Hypothesis]]) -> None:
    """A signature from text to text gives these hypotheses, the empty text with -inf where there are fewer."""
    outputs = signature(loaded, name, {"text": np.array(TEXTS, object), **settings})
    for texts, scores, wanted in zip(outputs["text"], outputs["score"], expected, strict=True):
        lack = len(texts) - len(wanted)
        assert [text.decode() for text in texts] == [*(one.text for one in wanted), *[""] * lack]
        np.testing.assert_allclose(scores, [*(one.score for one in wanted), *[-np.inf] * lack], atol=1e-4)


def assert_equal(found: Arrays, expected: Arrays) -> None:
    """Two dicts of raw outputs are equal, shapes and types too."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype), name
        np.testing.assert_allclose(found[name], value, atol=1e-4 if value.dtype == np.float32 else 0, err_msg=name)


# === What the files say ===


def assert_well_formed(proto: onnx.ModelProto, settings: Arrays) -> None:
    """The standard's checker and its shape inference find nothing, and all inputs but the source can be left out."""
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    described = json.loads(next(entry.value for entry in proto.metadata_props if entry.key == "inputs"))
    assert [value.name for value in proto.graph.input] == list(described) == ["source_ids", "source_lengths", *settings]
    initial = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    for name, value in settings.items():
        assert described[name] == {"dtype": value.dtype.name, "shape": [], "default": value.item()}
        assert (initial[name], initial[name].dtype) == (value, value.dtype)
    assert not {"source_ids", "source_lengths"} & initial.keys()


def assert_defaults(path: Path, settings: Arrays) -> None:
    """The signatures with settings say what these are when a request leaves them out."""
    held = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def
    for name in ("ids_with_settings", "n_best_with_settings"):
        defaults = {key: tf.make_ndarray(value) for key, value in held[name].defaults.items()}
        assert defaults == settings
        assert all(defaults[key].dtype == value.dtype for key, value in settings.items())
    assert not held["ids"].defaults and not held["n_best"].defaults and not held["serving_default"].defaults
