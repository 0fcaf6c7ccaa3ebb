"""The client of TensorFlow Serving, over gRPC and REST: the same answers, and what it does when things go wrong."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from served import Served, grpc_server, rest_server
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kerass2s.deploy.client import Answer, GrpcTransport, RestTransport, Retries, ServingClient
from kerass2s.deploy.tf_serving import example_requests
from kerass2s.errors import ConfigError, ServingError
from kerass2s.export import Predictor
from kerass2s.export.describe import read_saved_model_description
from kerass2s.text import END_ID

SIGNATURES = ["ids", "ids_with_settings", "n_best", "n_best_with_settings", "serving_default"]


def test_it_answers_as_the_model_does_in_order_and_in_batches(
    client: Any, served: Served, predictor: Predictor, words: list[str]
):
    asked = ["", "☃\x00é", *words[::17]]
    expected = predictor.n_best(asked)
    asking = client(batch_size=10)
    assert asking.generate(asked) == [row[0].text for row in expected]
    assert served.asked == -(-len(asked) // 10)
    found = asking.n_best(asked)
    assert [[one.text for one in row] for row in found] == [[one.text for one in row] for row in expected]
    np.testing.assert_allclose(
        [[one.score for one in row] for row in found], [[one.score for one in row] for row in expected], atol=1e-4
    )
    assert asking.generate([]) == [] and asking.n_best([]) == []


def test_settings_reach_the_search(client: Any):
    asking = client()
    (short,) = asking.n_best(["phonetic"], max_length=2, length_penalty=0)
    assert len(short) == 4 and all(len(answer.text.split()) <= 2 for answer in short)
    with pytest.raises(ConfigError, match="Received: max_len"):
        asking.n_best(["phonetic"], max_len=2)


def test_grpc_fills_in_what_a_request_leaves_out_and_rest_does_not(served: Served):
    with grpc_server(served) as address, ServingClient(GrpcTransport(address), "g2p") as client:
        assert len(client.n_best(["phonetic"], max_length=2)[0][0].text.split()) <= 2
    missing = pytest.raises(ServingError, match="400: Missing named input: length_penalty")
    with rest_server(served) as url, ServingClient(RestTransport(url), "g2p") as client, missing:
        client.n_best(["phonetic"], max_length=2)


def test_ids_are_asked_likewise(client: Any, predictor: Predictor):
    rows = predictor.codec.rows(["cat", "phonetic"])
    source = np.full([2, 9], 7, np.int32)  # padded with anything
    for line, row in zip(source, rows, strict=True):
        line[: len(row)] = row
    lengths = np.array([len(row) for row in rows], np.int32)
    outputs = client().predict("ids", {"source_ids": source, "source_lengths": lengths})
    assert outputs["target_ids"].dtype == np.int32 and outputs["scores"].dtype == np.float32
    expected = predictor.n_best(["cat", "phonetic"])
    for row, length, found in zip(outputs["target_ids"], outputs["target_lengths"], expected, strict=True):
        assert row[0, : length[0]].tolist() == found[0].ids
    assert outputs["alignments"].shape == (*outputs["target_ids"].shape, 9)


def test_every_signature_answers_protos_and_the_readmes_own_curl(kit: Path, served: Served):
    description = read_saved_model_description(kit / "models" / "g2p" / "1")
    requests = example_requests(description)
    assert sorted(requests) == SIGNATURES
    bodies = [
        shlex.split(line)[-1] for line in (kit / "README.md").read_text("utf-8").splitlines() if "curl -s" in line
    ]
    asked = {json.loads(body)["signature_name"]: body for body in bodies}
    assert sorted(asked) == SIGNATURES
    with grpc_server(served) as address, rest_server(served) as url, grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for signature, inputs in requests.items():
            proto = predict_pb2.PredictRequest()
            proto.model_spec.name, proto.model_spec.signature_name = "g2p", signature
            for name, of in served.signatures[signature].inputs.items():
                proto.inputs[name].CopyFrom(tf.make_tensor_proto(inputs[name], of.dtype))
            given = {name: tf.make_ndarray(value) for name, value in stub.Predict(proto).outputs.items()}
            address = urllib.request.Request(f"{url}/v1/models/g2p:predict", asked[signature].encode())
            with urllib.request.urlopen(address) as response:
                answer = json.load(response)["outputs"]
            assert answer.keys() == given.keys() == set(served.signatures[signature].outputs)
            for name, value in given.items():
                listed = np.vectorize(bytes.decode, [object])(value) if value.dtype == object else value
                assert np.array_equal(np.array(answer[name], listed.dtype), listed), (signature, name)


def test_the_pages_curl_is_answered_as_it_says(served: Served):
    page = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text("utf-8")
    shown = re.findall(r"```sh\n(curl [^`]*:predict[^`]*)```\n\n```json\n([^`]*)```", page)
    assert len(shown) == 2
    with rest_server(served) as url:
        for command, answer in shown:
            body = urllib.request.Request(f"{url}/v1/models/g2p:predict", shlex.split(command)[-1].encode())
            with urllib.request.urlopen(body) as response:
                given, said = json.load(response)["outputs"], json.loads(answer)["outputs"]
            assert given["text"] == said["text"]
            np.testing.assert_allclose(given["score"], said["score"], atol=1e-3)


def test_a_batching_server_pads_ids_with_their_first_element_and_that_changes_nothing(
    served: Served, predictor: Predictor
):
    """tensorflow/serving#1279: every tensor is padded with its own first element, here a letter."""
    requests = [
        {"source_ids": row[None, :], "source_lengths": np.array([len(row)], np.int32)}
        for row in predictor.codec.rows(["a", "phonetic", "cat"])
    ]
    alone = [served.predict("ids", each) for each in requests]
    time = max(each["source_ids"].shape[1] for each in requests)
    padded = [
        np.pad(
            each["source_ids"],
            [[0, 0], [0, time - each["source_ids"].shape[1]]],
            constant_values=each["source_ids"][0, 0],
        )
        for each in requests
    ]
    assert padded[0].tolist() == [[padded[0][0, 0], END_ID, *[padded[0][0, 0]] * (time - 2)]]
    lengths = np.concatenate([each["source_lengths"] for each in requests])
    joined = served.predict("ids", {"source_ids": np.concatenate(padded), "source_lengths": lengths})
    for row, expected in enumerate(alone):
        size = expected["target_ids"].shape[2]
        assert np.array_equal(joined["target_ids"][row, :, :size], expected["target_ids"][0])
        assert not joined["target_ids"][row, :, size:].any()
        np.testing.assert_allclose(joined["scores"][row], expected["scores"][0], atol=1e-5)


def test_a_batching_server_refuses_settings_alone(client: Any, served: Served):
    served.batching = True
    asking = client()
    assert asking.generate(["cat"]) == [asking.n_best(["cat"])[0][0].text]
    with pytest.raises(ServingError, match="must have at least one dimension"):
        asking.n_best(["cat"], max_length=5, length_penalty=0)


# === When things go wrong ===


@pytest.mark.parametrize(
    ("options", "signature", "inputs", "message"),
    [
        ({"model": "other"}, "serving_default", {"text": ["cat"]}, "Servable not found"),
        ({"version": 2}, "serving_default", {"text": ["cat"]}, "Servable not found"),
        ({}, "no_such", {"text": ["cat"]}, "not found"),
        ({}, "serving_default", {"text": [1]}, "([Tt]ype|[Ee]xpects)"),
        ({}, "ids", {"source_ids": [[5]]}, "[Ii]nput"),
    ],
    ids=["model", "version", "signature", "type", "missing"],
)
def test_a_refusal_is_final(client: Any, served: Served, options: dict, signature: str, inputs: dict, message: str):
    arrays = {
        name: np.array(value, object if isinstance(value[0], str) else np.int32) for name, value in inputs.items()
    }
    with pytest.raises(ServingError, match=rf"refuses the request. Received: .*{message}") as error:
        client(**options).predict(signature, arrays)
    assert served.asked == 1
    assert "\n" not in str(error.value)


def test_a_busy_server_is_asked_again(client: Any, served: Served):
    served.faults.extend(["busy", "busy"])
    assert client().generate(["cat"]) == client().generate(["cat"])
    assert served.asked == 4


@pytest.mark.parametrize("fault", ["drop", "half"])
def test_a_broken_connection_is_asked_again(served: Served, fault: str):
    served.faults.append(fault)
    with rest_server(served) as url:
        client = ServingClient(RestTransport(url), "g2p", retries=Retries(first=0))
        assert len(client.generate(["cat"])) == 1
    assert served.asked == 2


def test_it_gives_up_after_its_attempts(client: Any, served: Served):
    served.faults.extend(["busy"] * 9)
    with pytest.raises(ServingError, match=r"g2p did not answer, tries: 3. Received: .*queue is full"):
        client(retries=Retries(3, first=0)).generate(["cat"])
    assert served.asked == 3


def test_a_slow_server_is_not_waited_for(client: Any, served: Served):
    asking = client(seconds=1.0)
    served.faults.append(4.0)
    begin = time.monotonic()
    with pytest.raises(ServingError, match="in time. Received: 1 seconds"):
        asking.generate(["cat"])
    assert time.monotonic() - begin < 3.5
    assert served.asked == 1


def test_retries_stay_within_the_time_limit(client: Any, served: Served):
    served.faults.extend(["busy"] * 99)
    begin = time.monotonic()
    with pytest.raises(ServingError, match="did not answer|in time"):
        client(seconds=1.0, retries=Retries(99, first=0.05, longest=0.1)).generate(["cat"])
    assert time.monotonic() - begin < 3.5
    assert 3 <= served.asked < 99


@pytest.mark.parametrize("transport", [GrpcTransport("localhost:1"), RestTransport("http://localhost:1")])
def test_a_server_that_is_not_there_is_told(transport: Any):
    client = ServingClient(transport, "g2p", seconds=5, retries=Retries(2, first=0))
    with client, pytest.raises(ServingError, match="tries: 2. Received: .*([Rr]efused|UNAVAILABLE)"):
        client.generate(["cat"])


def test_waits_grow_are_random_and_have_a_limit():
    retries = Retries(first=0.1, longest=0.3)
    waits = {tried: [retries.wait(tried) for _ in range(300)] for tried in (1, 2, 3, 9)}
    for tried, limit in [(1, 0.1), (2, 0.2), (3, 0.3), (9, 0.3)]:
        assert 0.8 * limit < max(waits[tried]) <= limit
        assert min(waits[tried]) < 0.2 * limit


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retries(0),
        lambda: Retries(first=2, longest=1),
        lambda: RestTransport("localhost:8501"),
        lambda: RestTransport("http://localhost:port"),
        lambda: ServingClient(RestTransport("http://localhost"), "m", batch_size=0),
        lambda: ServingClient(RestTransport("http://localhost"), "m", seconds=0),
        lambda: ServingClient(RestTransport("http://localhost"), "m").generate("cat"),
        lambda: ServingClient(RestTransport("http://localhost"), "m").generate(["cat", None]),
        lambda: ServingClient(RestTransport("http://localhost"), "m").n_best(["\ud800"]),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(make: Any):
    with pytest.raises(ConfigError, match="Received: "):
        make()


def test_an_output_that_does_not_exist_is_no_answer(monkeypatch: pytest.MonkeyPatch):
    client = ServingClient(RestTransport("http://localhost"), "m")
    outputs = {"text": np.array([["A", ""]], object), "score": np.array([[-0.5, -np.inf]], np.float32)}
    monkeypatch.setattr(client.transport, "predict", lambda *_: outputs)
    assert client.n_best(["a"]) == [[Answer("A", -0.5)]]


def test_rest_needs_no_tensorflow():
    code = "import sys, kerass2s.deploy.client as c; c.RestTransport('http://x'); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"False\s*", done.stdout)
