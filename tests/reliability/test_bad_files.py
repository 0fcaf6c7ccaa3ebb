"""Files that were damaged, or made to do harm: refused in one line, before anything of them is run or much is read."""

from __future__ import annotations

import base64
import json
import os
import random
import resource
import shutil
import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from kerass2s import zoo
from kerass2s.confidence import Calibration
from kerass2s.decoding import GreedySearch
from kerass2s.ensemble import Ensemble
from kerass2s.errors import ExportError, PresetError, UserError
from kerass2s.export import load_predictor, verify
from kerass2s.export.describe import (
    SAVED_MODEL_DESCRIPTION,
    read_onnx,
    read_saved_model_description,
    unpacked,
    write_onnx_description,
    write_saved_model_description,
)
from kerass2s.export.foreign import functions_of
from kerass2s.export.manifest import check_manifest
from kerass2s.files import digest, inside, read_json, sealed, write_bytes
from kerass2s.presets import load_calibration, load_preset, save_calibration
from kerass2s.text import SentencePieceTokenizer

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def exports(pronouncer_exports: Path, tmp_path: Path) -> Path:
    """A copy of the pronouncer's exports to do harm to."""
    return Path(shutil.copytree(pronouncer_exports, tmp_path / "exports"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, source_tokenizer, target_tokenizer) -> Path:
    """A preset that is quick to load."""
    directory = tmp_path_factory.mktemp("small") / "preset"
    tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
    zoo.build("keras_lstm_seq2seq", **tokenizers, preset="tiny").save_to_preset(directory)
    return directory


@pytest.fixture
def preset(small: Path, tmp_path: Path) -> Path:
    """A copy of it to do harm to."""
    return Path(shutil.copytree(small, tmp_path / "preset"))


def resealed(path: Path, change: Change) -> None:
    """Changes a config and gives it a checksum that fits, as one who means harm would."""
    config = json.loads(path.read_text("utf-8"))
    change(config)
    path.write_text(json.dumps(sealed(config)), "utf-8")


def relisted(directory: Path, file: str) -> None:
    """Gives a file that was changed its place in the config again."""
    resealed(directory / "config.json", lambda config: config["files"].update({file: digest(directory / file)}))


# === Damage ===

READERS: dict[str, Callable[[Path], Any]] = {
    "preset/config.json": lambda path: load_preset(path / "preset"),
    "preset/model.weights.h5": lambda path: load_preset(path / "preset"),
    "preset/source.spm": lambda path: load_preset(path / "preset"),
    "preset/target.spm": lambda path: load_preset(path / "preset"),
    "saved_model/1/saved_model.pb": lambda path: read_saved_model_description(path / "saved_model" / "1"),
    "saved_model/1/variables/variables.index": lambda path: read_saved_model_description(path / "saved_model" / "1"),
    "saved_model/1/variables/variables.data-00000-of-00001": lambda path: load_predictor(path / "saved_model" / "1"),
    f"saved_model/1/{SAVED_MODEL_DESCRIPTION}": lambda path: load_predictor(path / "saved_model" / "1"),
    "model.onnx": lambda path: load_predictor(path / "model.onnx"),
    "manifest.json": lambda path: verify(path),
}
"""Every kind of file that is loaded, and what a user does that reads it."""


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Cuts, flips a bit, overwrites, leaves out or repeats, at random."""
    place, size = draw.randrange(len(content)), draw.choice([1, 4, 64, 4096])
    kind = draw.choice(["cut", "flip", "over", "out", "twice"])
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        return content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]
    if kind == "over":
        return content[:place] + draw.randbytes(size) + content[place + size :]
    if kind == "out":
        return content[:place] + content[place + size :]
    return content[: place + size] + content[place:]


@pytest.mark.parametrize("name", READERS)
def test_a_hundred_damaged_files_of_each_kind_are_refused(name: str, exports: Path) -> None:
    file, draw = exports / name, random.Random(name)
    whole = file.read_bytes()
    for _ in range(100):
        file.write_bytes(found := damaged(whole, draw))
        # A byte that was written over by itself is no damage, nor is white space in JSON.
        if found == whole or (name.endswith(".json") and _same_json(found, whole)):
            continue
        with pytest.raises(UserError, match="Received: "):
            READERS[name](exports)


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def test_a_manifest_that_lies_is_caught(exports: Path) -> None:
    path = exports / "manifest.json"
    assert check_manifest(exports) == []
    manifest = json.loads(path.read_text("utf-8"))
    manifest["exports"]["model.onnx"]["special_ids"]["end"] = 4
    path.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ExportError, match="tells another interface"):
        verify(exports)
    manifest["sha256"]["../../etc/passwd"] = "0" * 64
    path.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ExportError, match=r"etc/passwd: missing"):
        verify(exports)
    (exports / "more.bin").symlink_to("/etc/hostname")
    with pytest.raises(ExportError, match=r"must lie inside its directory. Received: 'more.bin'"):
        verify(exports)


# === Configs that fit their checksum ===

NASTY = [
    None,
    True,
    -1,
    0,
    2**20,
    2**20 + 1,
    10**12,
    10**400,
    0.5,
    1e308,
    -0.1,
    "",
    "lstm",
    "\0",
    "\ud800",
    [],
    {},
    [[]],
]


def test_any_value_anywhere_in_a_config_is_refused_or_loads(preset: Path) -> None:
    path, draw = preset / "config.json", random.Random(5)
    whole, refused = path.read_text("utf-8"), 0
    keys = json.loads(whole)
    for key in keys:
        inner = keys[key] if isinstance(keys[key], dict) else {}
        for value in draw.sample(NASTY, 7):
            path.write_text(whole, "utf-8")
            below = draw.choice([*inner, None])

            def change(config: dict[str, Any], key=key, below=below, value=value) -> None:
                (config if below is None else config[key])[key if below is None else below] = value

            resealed(path, change) if key != "sha256" else path.write_text(json.dumps({**keys, key: value}), "utf-8")
            try:
                load_preset(preset)
            except UserError as error:
                assert "Received: " in str(error)
                refused += 1
    assert refused > 25


HOSTILE: dict[str, tuple[Change, str]] = {
    "10¹² units": (lambda config: config["config"].update(units=10**12), "at most 1048576"),
    "an architecture by its path": (lambda config: config.update(architecture="../presets"), "No such architecture"),
    "another module": (lambda config: config.update(architecture="os.path"), "No such architecture"),
    "an architecture that is no name": (lambda config: config.update(architecture=["luong2015"]), "architecture"),
    "a Lambda": (
        lambda config: config["config"].update(cell={"class_name": "Lambda", "config": {"function": ["4wEAAAA="]}}),
        "no setting of that name",
    ),
    "files elsewhere": (lambda config: config["files"].update({"../x": "0"}), "'files' must name"),
    "a file that is no name": (lambda config: config["files"].update({"source.spm": ["0"]}), "damaged"),
    "a key more": (lambda config: config.update(module="os"), "must have the keys"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_config_is_refused(name: str, preset: Path) -> None:
    change, message = HOSTILE[name]
    resealed(preset / "config.json", change)
    with pytest.raises(PresetError, match=message):
        load_preset(preset)


def test_a_million_units_are_refused_before_memory_is_taken(preset: Path) -> None:
    resealed(preset / "config.json", lambda config: config["config"].update(units=1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PresetError, match=r"asks for [0-9,]{17,} bytes of weights"):
        load_preset(preset)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # the weights would be tebibytes


def test_json_that_is_none_is_refused(preset: Path, tmp_path: Path) -> None:
    path = preset / "config.json"
    for text, message in [
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"format": NaN}', "no number of JSON"),
        ('{"format": 1, "format": 2}', "one key twice"),
        ("[]", "must be a JSON object"),
        ('{"format": ' + "9" * 5000 + "}", "cannot be read as JSON"),
        (" " * (1 << 21), "at most 1,048,576 bytes"),
    ]:
        path.write_text(text, "utf-8")
        with pytest.raises(PresetError, match=message):
            load_preset(preset)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(PresetError):
        load_preset(preset)
    with pytest.raises(UserError, match="this is no plain file"):
        read_json(path, 10)


# === Weights and tokenizers that fit their checksum ===


def test_hostile_weights_are_refused(preset: Path, tmp_path: Path) -> None:
    weights = preset / "model.weights.h5"
    with h5py.File(weights) as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        shape = file[names[0]].shape
    whole = weights.read_bytes()
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4 * int(np.prod(shape))))

    def outside(file: h5py.File) -> None:
        file.create_dataset(names[0], shape, "float32", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])

    def elsewhere(file: h5py.File) -> None:
        file[names[0]] = h5py.ExternalLink(str(secret), "/x")

    def huge(file: h5py.File) -> None:
        file.create_dataset(names[0], (10**12,), "float32", chunks=(1024,), compression="gzip")

    def of_objects(file: h5py.File) -> None:
        file.create_dataset(names[0], data=np.array([b"x"], h5py.string_dtype()))

    for harm in (outside, elsewhere, huge, of_objects):
        weights.unlink()  # HDF5 tells by the inode that a file is still open, as one is that Keras failed to read
        weights.write_bytes(whole)
        with h5py.File(weights, "a") as file:
            del file[names[0]]
            harm(file)
        relisted(preset, weights.name)
        with pytest.raises(PresetError, match="not the weights of this config"):
            load_preset(preset)
    draw = random.Random(3)
    for _ in range(25):
        weights.unlink()
        weights.write_bytes(damaged(whole, draw))
        relisted(preset, weights.name)
        try:
            load_preset(preset)  # other numbers are no harm
        except PresetError as error:
            assert "Received: " in str(error)


def test_a_tokenizer_whose_bytes_are_anything_is_refused_or_reads(preset: Path) -> None:
    whole, draw = (preset / "source.spm").read_bytes(), random.Random(11)
    for _ in range(150):
        try:
            tokenizer = SentencePieceTokenizer(damaged(whole, draw))
            assert len(tokenizer.encode("stick")) <= 12
        except UserError as error:
            assert "Received: " in str(error)


def test_a_calibration_that_is_none_is_refused(preset: Path) -> None:
    save_calibration(preset, "greedy", Calibration(1.5))
    assert load_calibration(preset, "greedy") == Calibration(1.5)
    for content in ({"greedy": 1.5}, {"greedy": {"heat": 1.5}}, {"greedy": {"temperature": "1.5"}}):
        (preset / "confidence.json").write_text(json.dumps(content), "utf-8")
        relisted(preset, "confidence.json")
        with pytest.raises(PresetError, match="confidence.json: not (a calibration|calibrations). Received: "):
            load_calibration(preset, "greedy")


# === Links ===


def test_links_that_lead_out_are_refused(preset: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.spm"
    (preset / "source.spm").rename(moved)
    (preset / "source.spm").symlink_to(moved)
    with pytest.raises(PresetError, match=r"must lie inside its directory. Received: 'source.spm'"):
        load_preset(preset)
    (preset / "source.spm").unlink()
    moved.rename(preset / "tokenizer")
    (preset / "source.spm").symlink_to("tokenizer")  # a link that stays inside does no harm
    assert load_preset(preset).generate(["it"], GreedySearch(max_length=2))
    (tmp_path / "link").symlink_to(preset)  # nor one to the whole of it
    load_preset(tmp_path / "link")
    for name in ("../x", "/etc/passwd", "a/../../x", "", ".", "a\\b", "a\0b"):
        with pytest.raises(UserError, match="inside its directory") if name != "." else pytest.raises(UserError):
            read_json(inside(preset, name), 10)


def test_members_of_an_ensemble_stay_inside(preset: Path, tmp_path: Path) -> None:
    Ensemble([load_preset(preset), load_preset(preset)]).save_to_preset(tmp_path / "both")
    load_preset(tmp_path / "both")
    (tmp_path / "both" / "member_1").rename(tmp_path / "away")
    (tmp_path / "both" / "member_1").symlink_to(tmp_path / "away")
    with pytest.raises(PresetError, match="inside its directory"):
        load_preset(tmp_path / "both")
    # An ensemble of itself would be loaded for ever.
    shutil.rmtree(tmp_path / "both" / "member_0")
    (tmp_path / "both" / "member_0").symlink_to(".")
    with pytest.raises(PresetError):
        load_preset(tmp_path / "both")


# === ONNX ===


def changed_onnx(path: Path, change: Callable[[Any], None]) -> Path:
    """Changes an ONNX file and gives it a checksum that fits."""
    model = onnx.load_model(path, load_external_data=False)
    change(model)
    write_onnx_description(model, {entry.key: entry.value for entry in model.metadata_props})
    path.write_bytes(model.SerializeToString())
    return path


def outside_the_file(model: Any) -> None:
    tensor = next(each for each in model.graph.initializer if each.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def outside_in_a_loop(model: Any) -> None:
    loop = next(node for node in model.graph.node if any(each.HasField("g") for each in node.attribute))
    body = next(each.g for each in loop.attribute if each.HasField("g"))
    body.initializer.add(name="more", data_type=1, dims=[1], data_location=1).external_data.add(
        key="location", value="x"
    )


HARM: dict[str, tuple[Callable[[Any], None], str]] = {
    "weights elsewhere": (outside_the_file, "outside the file"),
    "weights elsewhere in a loop": (outside_in_a_loop, "outside the file"),
    "an operator of its own": (lambda model: model.graph.node.add(op_type="X", domain="evil"), "evil::X"),
    "an extension that reads files": (
        lambda model: model.graph.node.add(op_type="ReadFile", domain="ai.onnx.contrib"),
        "ai.onnx.contrib::ReadFile",
    ),
    "a function": (lambda model: model.functions.add(name="f"), "functions of its own"),
}


def test_hostile_onnx_files_are_refused(exports: Path) -> None:
    path = exports / "model.onnx"
    whole = path.read_bytes()
    for change, message in HARM.values():
        path.write_bytes(whole)
        with pytest.raises(ExportError, match=message):
            read_onnx(changed_onnx(path, change))

    def bomb(model: Any) -> None:
        for entry in model.metadata_props:
            if entry.key == "source_sentencepiece":
                entry.value = base64.b64encode(zlib.compress(bytes(80 << 20))).decode()

    path.write_bytes(whole)
    with pytest.raises(ExportError, match="does not say how it reads"):
        load_predictor(changed_onnx(path, bomb))
    assert unpacked(base64.b64encode(zlib.compress(b"x")).decode()) == b"x"


# === SavedModel ===


def changed_saved_model(path: Path, change: Callable[[Any], None]) -> Path:
    """Changes the graph of a SavedModel and gives it checksums that fit."""
    model = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    change(model.meta_graphs[0])
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    description = read_json(path / SAVED_MODEL_DESCRIPTION, 1 << 30)
    (path / SAVED_MODEL_DESCRIPTION).unlink()
    write_saved_model_description(path, {key: of for key, of in description.items() if key not in ("files", "sha256")})
    return path


def with_operator(operator: str) -> Callable[[Any], None]:
    """Puts an operator into a function that a signature calls."""

    def change(graph: Any) -> None:
        called = next(iter(graph.object_graph_def.concrete_functions))
        function = next(each for each in functions_of(graph) if each.signature.name == called)
        function.node_def.add(name="harm", op=operator)

    return change


def signature_that_saves(graph: Any) -> None:
    """Lets a signature call the function that TensorFlow saves by."""
    saver = next(each for each in functions_of(graph) if "traced_save" in each.signature.name)
    called = next(iter(graph.object_graph_def.concrete_functions))
    function = next(each for each in functions_of(graph) if each.signature.name == called)
    function.node_def.add(name="harm", op="PartitionedCall").attr["f"].func.name = saver.signature.name


def a_huge_variable(graph: Any) -> None:
    variable = next(each.variable for each in graph.object_graph_def.nodes if each.HasField("variable"))
    variable.shape.dim[0].size = 10**12


def an_asset(graph: Any) -> None:
    graph.asset_file_def.add(filename="../../../etc/passwd")


def test_hostile_saved_models_are_refused(exports: Path) -> None:
    path = exports / "saved_model" / "1"
    whole = (path / "saved_model.pb").read_bytes()
    changes = {name: with_operator(name) for name in ("WriteFile", "ReadFile", "PyFunc", "EagerPyFunc", "SaveV2", "X")}
    changes |= {"SaveV2 ": signature_that_saves, "its variables need": a_huge_variable, "assets": an_asset}
    for message, change in changes.items():
        (path / "saved_model.pb").write_bytes(whole)
        with pytest.raises(ExportError, match=message.strip()):
            load_predictor(changed_saved_model(path, change))
    (path / "saved_model.pb").write_bytes(whole)
    changed_saved_model(path, lambda graph: None)
    read_saved_model_description(path)
    (path / "saved_model.pbtxt").write_text("x")
    with pytest.raises(ExportError, match="no part of the SavedModel"):
        read_saved_model_description(path)


# === Writing ===


def test_a_file_that_cannot_be_finished_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_bytes(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
