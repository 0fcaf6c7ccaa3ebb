"""A SavedModel behind TensorFlow Serving's two protocols, by the rules in that server's source, with faults on order.

What it copies: `predict_util.cc` (signatures, defaults of inputs, errors), `batching_session.cc` and `batching_util.h`
(what a batching server refuses, how it pads), `json_tensor.cc` (JSON to tensors and back), `http_server.cc` (statuses).
It does not join requests.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_text
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

STATUS = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503}
PATH = re.compile(r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+))?(?P<verb>:predict|/metadata)")


class Refusal(Exception):
    """A status of gRPC and what the server says."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Served:
    """One loaded SavedModel.

    Attributes:
        faults: what goes wrong with the next requests, one each: "busy", "drop", "half", or seconds to be late.
        asked: how many requests there were.
    """

    def __init__(self, path: Path, name: str, batching: bool = False) -> None:
        self.name = name
        self.batching = batching
        self.faults: deque[str | float] = deque()
        self.asked = 0
        # A session, as TensorFlow Serving has it: it also keeps what the first request to a signature made ready.
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
        self.signatures = dict(loaded.signature_def)
        assert tensorflow_text  # it brings the operators of the tokenizers

    def fault(self) -> str | float | None:
        """Counts a request, and says what is to go wrong with it."""
        self.asked += 1
        return self.faults.popleft() if self.faults else None

    def check_model(self, name: str, version: int | None) -> None:
        """Refuses a model, or a version of it, that is not served."""
        if name != self.name or version not in (None, 1):
            raise Refusal("NOT_FOUND", f"Servable not found for request: Specific({name}, {version})")

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature as `RunPredict` does: inputs that are left out have their default, if there is one."""
        signature = signature or "serving_default"
        if signature not in self.signatures:
            raise Refusal("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
        described = self.signatures[signature]
        if inputs.keys() - described.inputs.keys() or (len(inputs) < len(described.inputs) and not described.defaults):
            raise Refusal("INVALID_ARGUMENT", f"input size does not match signature: {len(inputs)}")
        filled = {}
        for name, of in described.inputs.items():
            if name not in inputs and name not in described.defaults:
                raise Refusal("INVALID_ARGUMENT", f"Missing input {name}")
            default = described.defaults[name] if name not in inputs else None
            value = inputs[name] if default is None else tf.make_ndarray(default)
            if tf.as_dtype(value.dtype).as_datatype_enum != of.dtype:
                raise Refusal("INVALID_ARGUMENT", f"Expects arg {name} to be {of.dtype} but {value.dtype} is provided")
            filled[of.name] = value
        if self.batching and any(value.ndim == 0 for value in filled.values()):
            raise Refusal("INVALID_ARGUMENT", "Batching Run() input tensors must have at least one dimension")
        return self._session.run({name: of.name for name, of in described.outputs.items()}, filled)

    def warm_up(self, path: Path) -> list[tuple[str, dict[str, tuple[int, ...]]]]:
        """Replays the warm-up requests of a SavedModel, and returns the signature and the shapes of each."""
        asked = []
        for record in tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests")):
            request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            self.predict(request.model_spec.signature_name, inputs)
            shapes = {name: tuple(value.shape) for name, value in inputs.items()}
            asked.append((request.model_spec.signature_name, shapes))
        return asked


# === gRPC ===


class _Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, served: Served) -> None:
        self.served = served

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers, or fails as ordered."""
        fault = self.served.fault()
        if isinstance(fault, str):
            context.abort(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is full")
        time.sleep(fault or 0)
        spec = request.model_spec
        try:
            self.served.check_model(spec.name, spec.version.value if spec.HasField("version") else None)
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            outputs = self.served.predict(spec.signature_name, inputs)
        except Refusal as refusal:
            context.abort(grpc.StatusCode[refusal.code], str(refusal))
        response = predict_pb2.PredictResponse(model_spec=spec)
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


@contextmanager
def grpc_server(served: Served) -> Iterator[str]:
    """Serves gRPC and yields the address."""
    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Service(served), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


# === REST ===


def from_json(value: Any, dtype: tf.DType) -> np.ndarray:
    """Nested lists as an array; `{"b64": ...}` stands for bytes."""

    def plain(item: Any) -> Any:
        if isinstance(item, list):
            return [plain(each) for each in item]
        if isinstance(item, dict):
            return base64.b64decode(item["b64"], validate=True)
        if isinstance(item, str) != (dtype == tf.string) or (isinstance(item, float) and dtype.is_integer):
            raise Refusal("INVALID_ARGUMENT", f"JSON Value: {item} is not of expected type: {dtype.name}")
        return item.encode() if isinstance(item, str) else item

    return np.array(plain(value), dtype.as_numpy_dtype)


def to_json(name: str, value: np.ndarray) -> Any:
    """A tensor as nested lists; only a name that ends with _bytes has its strings in base64."""
    if value.dtype != object:
        return value.tolist()
    if name.endswith("_bytes"):
        return np.vectorize(lambda item: {"b64": base64.b64encode(item).decode()}, [object])(value).tolist()
    return np.vectorize(bytes.decode, [object])(value).tolist()


class _Handler(BaseHTTPRequestHandler):
    served: Served
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Tells the inputs and outputs of the signatures, without the defaults."""
        named = {
            name: {"inputs": {each: {} for each in of.inputs}, "outputs": {each: {} for each in of.outputs}}
            for name, of in self.served.signatures.items()
        }
        self.reply(200, {"metadata": {"signature_def": {"signature_def": named}}})

    def do_POST(self) -> None:
        """Answers, or fails as ordered."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = self.served.fault()
        if fault == "busy":
            self.reply(503, {"error": "The batch scheduling queue is full"})
        elif isinstance(fault, str):
            self.close_connection = True
            if fault == "half":
                self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"outp')
        else:
            time.sleep(fault or 0)
            self.answer(body)

    def answer(self, body: bytes) -> None:
        """Runs the request."""
        try:
            path = PATH.fullmatch(self.path)
            if path is None or path["verb"] != ":predict":
                raise Refusal("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
            self.served.check_model(path["name"], path["version"] and int(path["version"]))
            self.reply(200, self.run(json.loads(body)))
        except Refusal as refusal:
            self.reply(STATUS[refusal.code], {"error": str(refusal)})

    def run(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The columnar format: all inputs by name, or the only one without; likewise the outputs."""
        signature = asked.get("signature_name", "serving_default")
        if signature not in self.served.signatures:
            raise Refusal("INVALID_ARGUMENT", f'Serving signature name: "{signature}" not found in signature def')
        described, inputs = self.served.signatures[signature].inputs, asked["inputs"]
        if not isinstance(inputs, dict) or "b64" in inputs:
            if len(described) > 1:
                raise Refusal("INVALID_ARGUMENT", "inputs is a plain value/list, but expecting an object")
            inputs = {next(iter(described)): inputs}
        for name in described:  # unlike gRPC, REST knows no defaults
            if name not in inputs:
                raise Refusal("INVALID_ARGUMENT", f"Missing named input: {name} in 'inputs' object.")
        tensors = {name: from_json(inputs[name], tf.as_dtype(of.dtype)) for name, of in described.items()}
        outputs = {name: to_json(name, value) for name, value in self.served.predict(signature, tensors).items()}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}

    def reply(self, status: int, content: Any) -> None:
        """Sends JSON."""
        text = json.dumps(content, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def rest_server(served: Served) -> Iterator[str]:
    """Serves REST and yields the address."""
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("localhost", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
