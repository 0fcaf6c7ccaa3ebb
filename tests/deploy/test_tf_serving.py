"""The TensorFlow Serving kit: what is in the folder is what the server's own formats say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from served import Served
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from kerass2s import zoo
from kerass2s.deploy.folder import named
from kerass2s.deploy.tf_serving import compose, example_requests, write_tf_serving
from kerass2s.errors import ConfigError, ExportError, UserError
from kerass2s.export import load_predictor
from kerass2s.export.describe import describe
from kerass2s.export.graph import inputs_spec
from kerass2s.export.saved_model import WARMUP_SHAPES, _write_warmup


def test_the_folder_has_the_models_and_what_the_server_reads(kit: Path, pronouncer_exports: Path):
    assert sorted(file.name for file in kit.iterdir()) == [
        "README.md",
        "batching_parameters.txt",
        "compose.yaml",
        "models",
        "models.config",
        "monitoring.config",
    ]
    version = kit / "models" / "g2p" / "1"
    copied = {path.relative_to(version): path.read_bytes() for path in version.rglob("*") if path.is_file()}
    original = pronouncer_exports / "saved_model" / "1"
    assert copied == {path.relative_to(original): path.read_bytes() for path in original.rglob("*") if path.is_file()}
    assert load_predictor(version).search == "beam:4"
    config = text_format.Parse(
        (kit / "models.config").read_text("utf-8"), model_server_config_pb2.ModelServerConfig()
    ).model_config_list.config
    assert [(each.name, each.base_path, each.model_platform) for each in config] == [
        ("g2p", "/kit/models/g2p", "tensorflow")
    ]


def message(name: str, fields: dict[str, tuple[int, str]]) -> type:
    """A protobuf message that the Python package of TensorFlow Serving lacks, of its fields' numbers and types."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="kit", syntax="proto3")
    for wrapper, kind in (("Int64Value", 3), ("BoolValue", 8)):
        file.message_type.add(name=wrapper).field.add(name="value", number=1, type=kind, label=1)
    made = file.message_type.add(name=name)
    for field, (number, kind) in fields.items():
        if kind == "bool":
            made.field.add(name=field, number=number, type=8, label=1)
        else:
            made.field.add(name=field, number=number, type=11, label=1, type_name=f".kit.{kind}")
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"kit.{name}"))


def test_the_batching_parameters_parse_and_fit_the_client(kit: Path):
    # Of TensorFlow Serving 2.20, servables/tensorflow/session_bundle_config.proto.
    known = {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, "BoolValue"),
    }
    text = (kit / "batching_parameters.txt").read_text("utf-8")
    parameters = text_format.Parse(text, message("BatchingParameters", known)())
    assert parameters.pad_variable_length_inputs
    assert parameters.max_batch_size.value >= 32  # a larger request is refused; the client's have 32 at most
    assert parameters.batch_timeout_micros.value < 10_000
    assert parameters.max_enqueued_batches.value > 0


def test_the_compose_file_starts_the_server_over_the_folder(kit: Path):
    services = yaml.safe_load((kit / "compose.yaml").read_text("utf-8"))["services"]
    serving, unbatched = services["serving"], services["unbatched"]
    assert serving["image"] == unbatched["image"] == "tensorflow/serving:2.21.0"
    assert serving["volumes"] == [".:/kit:ro"]
    assert serving["ports"] == ["8500:8500", "8501:8501"]
    assert unbatched["ports"] == ["8510:8500", "8511:8501"]
    assert set(serving["command"]) - set(unbatched["command"]) == {
        "--enable_batching=true",
        "--batching_parameters_file=/kit/batching_parameters.txt",
    }
    assert unbatched["profiles"] == ["unbatched"] and "profiles" not in serving
    files = [option.partition("=")[2] for option in serving["command"] if "_file=" in option]
    assert len(files) == 3 and all((kit / file.removeprefix("/kit/")).is_file() for file in files)
    alone = yaml.safe_load(compose("serving:test", batching=False))["services"]
    assert list(alone) == ["serving"] and not any("batching" in option for option in alone["serving"]["command"])


def test_a_batching_server_takes_the_warm_up_requests(kit: Path, served: Served):
    """One that is refused would keep the model from loading."""
    served.batching = True
    asked = served.warm_up(kit / "models" / "g2p" / "1")
    assert {signature for signature, _ in asked} == {"serving_default", "n_best", "ids"}
    rows = [shapes["source_ids"] for signature, shapes in asked if signature == "ids"]
    assert [count for count, _ in rows] == [count for count, _ in WARMUP_SHAPES]
    assert len({time for _, time in rows}) == len(WARMUP_SHAPES)


@pytest.mark.parametrize("name", ["listen_attend2016", "series2series"])
def test_vectors_are_warmed_up_too(name: str, target_tokenizer, tmp_path: Path):
    tokenizers = {"target_tokenizer": target_tokenizer} if name == "listen_attend2016" else {}
    model = zoo.build(name, preset="tiny", **tokenizers)
    codec, search = model.codec, model.codec.search()
    spec = inputs_spec(codec, search)
    specs = {"serving_default": codec.request_spec, "ids": codec.source_spec, "ids_with_settings": spec}
    specs = specs if "max_length" in spec else {"serving_default": spec}
    signatures = {key: SimpleNamespace(input_signature=tuple(of.values())) for key, of in specs.items()}
    _write_warmup(tmp_path / "extra" / "requests", signatures, codec)
    records = tf.data.TFRecordDataset(str(tmp_path / "extra" / "requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request for record in records]
    assert {log.model_spec.signature_name for log in logs} == specs.keys() - {"ids_with_settings"}
    assert len(logs) == len(WARMUP_SHAPES) * (len(specs) - ("ids_with_settings" in specs))
    for log, (rows, longest) in zip(logs, WARMUP_SHAPES, strict=False):
        assert set(log.inputs) == {"source_values", "source_lengths"}  # the server fills in the horizon
        values, lengths = (tf.make_ndarray(log.inputs[key]) for key in ("source_values", "source_lengths"))
        assert values.shape == (rows, longest, codec.source_size) and lengths.shape == (rows,)
        assert all(not values[row, length:].any() for row, length in enumerate(lengths))
        assert rows == 1 or len(set(lengths.tolist())) > 1
    if name == "series2series":  # what its README asks has the horizon, as REST wants
        (asked,) = example_requests(describe(model, search, ["target_values"])).values()
        assert asked.keys() == {"source_values", "source_lengths", "horizon"}
        assert np.array(asked["source_values"]).shape == (2, 5, codec.source_size)


def test_names_come_from_the_exported_directory(tmp_path: Path):
    def found(path: Path) -> Path:
        return path

    for place in ("g2p/saved_model/1", "other/7", "plain"):
        (tmp_path / place).mkdir(parents=True)
    exports = [str(tmp_path / place) for place in ("g2p/saved_model/1", "other/7", "plain")]
    assert list(named([*exports, f"a.b-c={tmp_path}"], found)) == ["g2p", "other", "plain", "a.b-c"]
    (tmp_path / "rate=0.1").mkdir()
    assert named([f"slow={tmp_path / 'rate=0.1'}"], found) == {"slow": tmp_path / "rate=0.1"}
    with pytest.raises(ConfigError, match="Received: 'rate=0.1'"):  # found, but no name to be served by
        named([str(tmp_path / "rate=0.1")], found)
    for wrong in (["=x"], ["a/b=x"], ["a b=x"], [], [exports[0], f"g2p={exports[1]}"]):
        with pytest.raises(ConfigError, match="Received: "):
            named(wrong, found)


def test_what_is_no_saved_model_or_no_empty_folder_is_refused(kit: Path, pronouncer_exports: Path, tmp_path: Path):
    with pytest.raises(ExportError, match="takes a SavedModel"):
        write_tf_serving([str(pronouncer_exports / "model.onnx")], tmp_path / "out")
    with pytest.raises(UserError, match="No such export"):
        write_tf_serving([str(tmp_path / "nothing")], tmp_path / "out")
    with pytest.raises(ConfigError, match="empty or a new directory"):
        write_tf_serving([str(pronouncer_exports)], kit)
    damaged = tmp_path / "saved_model" / "1"
    damaged.mkdir(parents=True)
    (damaged / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ExportError):
        write_tf_serving([str(tmp_path)], tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["saved_model"]  # nothing half made
    manifest = json.loads((pronouncer_exports / "manifest.json").read_text("utf-8"))
    assert "saved_model/1" in manifest["exports"]  # the export itself is as it was
