"""Servers of the V2 protocol: Triton's configuration by its own schema, and MLServer started and asked."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from kerass2s.deploy.mlserver import REQUIREMENTS, write_mlserver
from kerass2s.deploy.requests import v2_requests
from kerass2s.deploy.triton import write_triton
from kerass2s.errors import ConfigError, ExportError
from kerass2s.export import Predictor
from kerass2s.export.describe import read_onnx
from kerass2s.export.onnx import session

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent.parent / ".engines" / "mlserver" / "bin"


def environment(program: str) -> str:
    """The path of a program in MLServer's own environment."""
    assert (ENVIRONMENT / program).exists(), "MLServer is not installed; run `make engines`"
    return str(ENVIRONMENT / program)


def in_environment(code: str, *arguments: str) -> Any:
    """Runs code in MLServer's environment, where Triton's client is too, and returns the JSON that it prints."""
    done = subprocess.run([environment("python"), "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


# === Triton ===

PARSE = """
import sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
config = text_format.Parse(open(sys.argv[1], encoding="utf-8").read(), model_config_pb2.ModelConfig())
print(json_format.MessageToJson(config, preserving_proto_field_name=True))
"""


def test_the_configuration_is_tritons_and_fits_the_file(pronouncer_exports: Path, tmp_path: Path):
    write_triton([f"g2p={pronouncer_exports}"], tmp_path / "repository")
    place = tmp_path / "repository" / "g2p"
    assert (place / "1" / "model.onnx").read_bytes() == (pronouncer_exports / "model.onnx").read_bytes()
    config = in_environment(PARSE, str(place / "config.pbtxt"))
    assert (config["name"], config["backend"], config.get("max_batch_size", 0)) == ("g2p", "onnxruntime", 0)
    loaded = session(str(place / "1" / "model.onnx"))
    types = {"tensor(int32)": "TYPE_INT32", "tensor(float)": "TYPE_FP32"}

    def described(tensors: list[onnxruntime.NodeArg]) -> dict[str, tuple[str, list[int]]]:
        """Each tensor as the backend reads it: -1 for a named dimension, [1] for a number."""
        sizes = {one.name: [size if isinstance(size, int) else -1 for size in one.shape] or [1] for one in tensors}
        return {one.name: (types[one.type], sizes[one.name]) for one in tensors}

    def configured(tensors: list[dict[str, Any]]) -> dict[str, tuple[str, list[int]]]:
        return {one["name"]: (one["data_type"], [int(size) for size in one["dims"]]) for one in tensors}

    # The backend counts the inputs that are not optional, and takes optional ones where the server does not batch.
    optional = [each for each in config["input"] if each.get("optional")]
    assert configured(optional) == described(loaded.get_overridable_initializers())
    assert configured([each for each in config["input"] if each not in optional]) == described(loaded.get_inputs())
    assert configured(config["output"]) == described(loaded.get_outputs())
    body = v2_requests(read_onnx(pronouncer_exports / "model.onnx")[1])["source"]
    assert json.dumps(body) in (tmp_path / "repository" / "README.md").read_text("utf-8")


# === MLServer ===


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def mlserver(pronouncer_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """MLServer over the folder of the pronouncer, `g2p`; yields its ports."""
    out = tmp_path_factory.mktemp("mlserver") / "served"
    write_mlserver([f"g2p={pronouncer_exports}"], out)
    settings = json.loads((out / "settings.json").read_text("utf-8"))
    ports = dict(zip([key for key in settings if key.endswith("_port")], free_ports(3), strict=True))
    (out / "settings.json").write_text(json.dumps({**settings, **ports, "host": "localhost"}), "utf-8")
    log = out.parent / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen([environment("mlserver"), "start", str(out)], stdout=file, stderr=file, cwd=out)
    try:
        end = time.monotonic() + 120
        while not is_ready(f"http://localhost:{ports['http_port']}/v2/models/g2p/ready"):
            assert process.poll() is None and time.monotonic() < end, log.read_text("utf-8")[-3000:]
            time.sleep(0.2)
        yield ports
    finally:
        process.terminate()
        process.wait(30)


def is_ready(url: str) -> bool:
    """Whether a server answers at the address."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def ask(ports: dict[str, int], body: dict[str, Any], model: str = "g2p") -> dict[str, dict[str, Any]]:
    """Asks over REST; returns the outputs by name."""
    url = f"http://localhost:{ports['http_port']}/v2/models/{model}/infer"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return {output["name"]: output for output in json.load(response)["outputs"]}


def texts(asked: list[str], **settings: Any) -> dict[str, Any]:
    """A request in texts."""
    numbers = [{"name": name, "datatype": "INT32", "shape": [1], "data": [each]} for name, each in settings.items()]
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(asked)], "data": asked}, *numbers]}


def test_mlserver_answers_texts_over_rest(mlserver: dict[str, int], predictor: Predictor, words: list[str]):
    asked = ["", "☃", *words[:60]]
    expected = predictor.n_best(asked)
    outputs = ask(mlserver, texts(asked))
    assert outputs["text"]["datatype"] == "BYTES"
    assert outputs["text"]["shape"] == outputs["scores"]["shape"] == [62, 4]
    assert outputs["text"]["data"] == [one.text for row in expected for one in row]
    assert outputs["scores"]["data"] == pytest.approx([one.score for row in expected for one in row], abs=1e-4)
    short = ask(mlserver, texts(["phonetic"], max_length=2))
    assert all(len(text.split()) <= 2 for text in short["text"]["data"])


GRPC = """
import json, sys
import numpy as np
import tritonclient.grpc as client
asked, address = json.loads(sys.argv[1]), sys.argv[2]
server = client.InferenceServerClient(address)
text = client.InferInput("text", [len(asked)], "BYTES")
text.set_data_from_numpy(np.array([each.encode() for each in asked], object))
found = server.infer("g2p", [text]).as_numpy("text")
ids, lengths = (np.array(value, np.int32) for value in json.loads(sys.argv[3]))
source = [client.InferInput(name, of.shape, "INT32") for name, of in [("source_ids", ids), ("source_lengths", lengths)]]
source[0].set_data_from_numpy(ids)
source[1].set_data_from_numpy(lengths)
raw = server.infer("g2p", source)
metadata = server.get_model_metadata("g2p")
print(json.dumps({
    "text": [[each.decode() for each in row] for row in found],
    "target_ids": raw.as_numpy("target_ids").tolist(),
    "inputs": [each.name for each in metadata.inputs],
}))
"""


def test_mlserver_answers_over_grpc_texts_and_ids(mlserver: dict[str, int], predictor: Predictor, words: list[str]):
    asked = words[100:120]
    expected = predictor.n_best(asked)
    rows = [row.tolist() for row in predictor.codec.rows(asked)]
    padded = [row + [0] * (max(map(len, rows)) - len(row)) for row in rows]
    given = in_environment(
        GRPC, json.dumps(asked), f"localhost:{mlserver['grpc_port']}", json.dumps([padded, list(map(len, rows))])
    )
    assert given["text"] == [[one.text for one in row] for row in expected]
    for ids, found in zip(given["target_ids"], expected, strict=True):
        assert ids[0][: len(found[0].ids)] == found[0].ids
    assert given["inputs"] == ["source_ids", "source_lengths", "max_length", "length_penalty"]


def test_the_readmes_requests_are_answered_and_mistakes_are_told(mlserver: dict[str, int], pronouncer_exports: Path):
    requests = v2_requests(read_onnx(pronouncer_exports / "model.onnx")[1])
    assert ask(mlserver, requests["request"])["text"]["shape"] == [2, 4]
    assert ask(mlserver, requests["source"])["target_ids"]["shape"][:2] == [2, 4]
    (ids, lengths) = requests["source"]["inputs"]
    for wrong, message in [
        ([ids], "Inputs are missing: source_lengths. Received: source_ids"),
        ([ids, lengths, {**lengths, "name": "other"}], "Received: other"),
        ([{**ids, "datatype": "FP32"}, lengths], "source_ids is INT32. Received: FP32"),
        ([{**ids, "shape": [2, 99]}, lengths], "source_ids does not have its shape. Received: "),
    ]:
        with pytest.raises(urllib.error.HTTPError) as error:
            ask(mlserver, {"inputs": wrong})
        assert error.value.code == 400
        assert message in json.load(error.value)["error"]


def test_the_environment_is_what_the_folder_asks_for(pronouncer_exports: Path, tmp_path: Path):
    write_mlserver([str(pronouncer_exports)], tmp_path / "served")
    asked = (tmp_path / "served" / "requirements.txt").read_text("utf-8").splitlines()
    locked = (HERE / "mlserver.lock").read_text("utf-8")
    assert asked == list(REQUIREMENTS) and all(f"\n{each} \\\n" in locked for each in asked)
    settings = tmp_path / "served" / "models" / pronouncer_exports.name / "model-settings.json"
    assert json.loads(settings.read_text("utf-8"))["parameters"]["extra"] == {"text": True}
    with pytest.raises(ConfigError, match="empty or a new directory"):
        write_mlserver([str(pronouncer_exports)], tmp_path / "served")
    with pytest.raises(ExportError, match="Name one ONNX file"):
        write_triton([str(pronouncer_exports / "saved_model")], tmp_path / "other")
