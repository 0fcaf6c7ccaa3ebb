"""A client of TensorFlow Serving: texts in, texts out, over gRPC or REST, with retries and time limits."""

from __future__ import annotations

import http.client
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import numpy as np

from kerass2s.errors import ConfigError, ServingError, UserError

__all__ = ["Answer", "GrpcTransport", "RestTransport", "Retries", "ServingClient", "Transport"]

SETTINGS = {"max_length": np.int32, "length_penalty": np.float32, "temperature": np.float32, "seed": np.int32}
"""What a search may take from a request, and as what."""

Inputs = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Answer:
    """One output of a model: its text, and the score that the search ranks it by."""

    text: str
    score: float


@dataclass(frozen=True)
class Retries:
    """How often to ask again when a server is busy or gone, and how long to wait before.

    Before try n + 1 the client waits a random time of up to `first * 2 ** (n - 1)` seconds, and never more than
    `longest`: callers that were refused together do not come back together.

    Attributes:
        attempts: the most tries, at least 1.
        first: seconds.
        longest: seconds.
    """

    attempts: int = 5
    first: float = 0.1
    longest: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 <= self.first <= self.longest < math.inf:
            raise ConfigError(f"Retries are attempts >= 1 and 0 <= first <= longest seconds. Received: {self}")

    def wait(self, tried: int) -> float:
        """Returns how many seconds to wait after `tried` tries; another number each time."""
        return random.uniform(0, min(self.longest, self.first * 2 ** (tried - 1)))


class Busy(Exception):
    """What a transport raises when the same request may well succeed a little later."""


class Transport(Protocol):
    """One way to bring a request to a server."""

    def predict(self, model: str, version: int | None, signature: str, inputs: Inputs, seconds: float) -> Outputs:
        """Asks once.

        Args:
            model: the name that the model is served by.
            version: None: the newest.
            signature: the signature's name.
            inputs: arrays by name; texts are arrays of str objects.
            seconds: the time limit.

        Returns:
            The outputs by name: float32, int32, or str objects.

        Raises:
            Busy: the server is not there, or has too much to do.
            TimeoutError: no answer within the time limit.
            ServingError: the server refuses the request.
        """
        ...

    def close(self) -> None:
        """Ends what connects to the server."""
        ...


class ServingClient:
    """A client of one model of a TensorFlow Serving server, with one interface over both of its protocols.

    Example:
        with ServingClient(GrpcTransport("localhost:8500"), "g2p") as client:
            client.generate(["cat", "dog"])  # ["K AE T", "D AO G"]

    A request only reads, so it is repeated without harm when the server is busy (gRPC UNAVAILABLE and
    RESOURCE_EXHAUSTED, HTTP 429, 502, 503 and 504) or a connection breaks. A refusal, INVALID_ARGUMENT say, is final.

    Args:
        transport: a `GrpcTransport` or a `RestTransport`.
        model: the name that the model is served by.
        version: the version to ask. None: the newest.
        batch_size: the most sources of one request; a longer list becomes several, one after the other.
        seconds: the time limit of one request, all its retries counted.
        retries: how often and when to try again.

    Raises:
        ConfigError: a number that makes no sense.
    """

    def __init__(
        self,
        transport: Transport,
        model: str,
        version: int | None = None,
        batch_size: int = 32,
        seconds: float = 30.0,
        retries: Retries | None = None,
    ) -> None:
        if batch_size < 1 or not 0 < seconds < math.inf:
            raise ConfigError(f"A batch_size of 1 and more, seconds above 0. Received: {batch_size}, {seconds}")
        self.transport = transport
        self.model = model
        self.version = version
        self.batch_size = batch_size
        self.seconds = seconds
        self.retries = retries or Retries()

    def __enter__(self) -> ServingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transport.close()

    def generate(self, texts: Sequence[str]) -> list[str]:
        """Returns the best output for each text, in the order of the texts.

        Raises:
            ConfigError: `texts` is not a list of texts.
            ServingError: the server refuses, or does not answer in time.
        """
        asked = self._batches(texts)
        return [text for batch in asked for text in self.predict("serving_default", {"text": batch})["text"].tolist()]

    def n_best(self, texts: Sequence[str], **settings: float) -> list[list[Answer]]:
        """Returns all outputs for each text, best first, in the order of the texts.

        Args:
            texts: the sources.
            settings: `max_length`, `length_penalty`, `temperature` and `seed`, as far as the model's search has them.
                Over gRPC the server fills in what is left out; over REST it wants all of them or none.

        Raises:
            ConfigError: `texts` is not a list of texts, or there is no such setting.
            ServingError: the server refuses, or does not answer in time. One that batches refuses all settings.
        """
        unknown = sorted(settings.keys() - SETTINGS.keys())
        if unknown:
            raise ConfigError(f"The settings are {', '.join(SETTINGS)}. Received: {', '.join(unknown)}")
        numbers = {name: np.array(value, SETTINGS[name]) for name, value in settings.items()}
        signature = "n_best_with_settings" if settings else "n_best"
        found: list[list[Answer]] = []
        for batch in self._batches(texts):
            outputs = self.predict(signature, {"text": batch, **numbers})
            found += [_answers(*row) for row in zip(outputs["text"], outputs["score"], strict=True)]
        return found

    def predict(self, signature: str, inputs: Inputs) -> Outputs:
        """Asks any signature, in one request: ids or vectors, say.

        Args:
            signature: the signature's name.
            inputs: arrays by name, of the signature's own types; texts are arrays of str objects.

        Returns:
            The outputs by name: float32, int32, or str objects.

        Raises:
            ServingError: the server refuses, or does not answer in time.
        """
        end = time.monotonic() + self.seconds
        for tried in range(1, self.retries.attempts + 1):
            try:
                left = max(end - time.monotonic(), 1e-3)
                return self.transport.predict(self.model, self.version, signature, inputs, left)
            except TimeoutError as error:
                raise ServingError(f"No answer of {self.model} in time. Received: {self.seconds:g} seconds") from error
            except Busy as error:
                wait = self.retries.wait(tried)
                if tried == self.retries.attempts or time.monotonic() + wait >= end:
                    raise ServingError(f"{self.model} did not answer, tries: {tried}. Received: {error}") from error
                time.sleep(wait)
        raise AssertionError("there is at least one attempt")

    def _batches(self, texts: Sequence[str]) -> list[np.ndarray]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"Give a list of texts. Received: {texts!r:.100}")
        try:
            "".join(texts).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ConfigError(f"A text holds a lone surrogate, which no UTF-8 can carry. Received: {error}") from error
        starts = range(0, len(texts), self.batch_size)
        return [np.array(texts[start : start + self.batch_size], object) for start in starts]


def _answers(texts: np.ndarray, scores: np.ndarray) -> list[Answer]:
    """The outputs of one source; those that do not exist, as in a tiny vocabulary, score -inf."""
    pairs = zip(texts.tolist(), scores.tolist(), strict=True)
    return [Answer(text, score) for text, score in pairs if score > -math.inf]


# === gRPC ===


class GrpcTransport:
    """TensorFlow Serving's PredictionService. Needs the extra `serving`.

    Args:
        address: `host:port`; the port is 8500 where nobody changed it.
        credentials: `grpc.ssl_channel_credentials(...)` where the server wants them.

    Raises:
        UserError: the extra is not installed.
    """

    def __init__(self, address: str, credentials: Any = None) -> None:
        try:
            import grpc
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise UserError(f"This needs: pip install 'kerass2s[serving]'. Received: {error}") from error
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_retries", 0),
        ]  # this client tries again itself
        self._channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )
        self._ask = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict
        self._request: Callable[[], Any] = predict_pb2.PredictRequest
        self._failure, codes = grpc.RpcError, grpc.StatusCode
        self._busy = {codes.UNAVAILABLE, codes.RESOURCE_EXHAUSTED}
        self._late = codes.DEADLINE_EXCEEDED

    def predict(self, model: str, version: int | None, signature: str, inputs: Inputs, seconds: float) -> Outputs:
        """Asks once; see `Transport`."""
        import tensorflow as tf

        request = self._request()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        if version is not None:
            request.model_spec.version.value = version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self._ask(request, timeout=seconds)
        except self._failure as error:
            message = f"{error.code().name}: {error.details()}"
            if error.code() in self._busy:
                raise Busy(message) from error
            if error.code() == self._late:
                raise TimeoutError(message) from error
            raise ServingError(f"The server refuses the request. Received: {message}") from error
        return {name: _as_named(tf.make_ndarray(value)) for name, value in response.outputs.items()}

    def close(self) -> None:
        """Ends the channel."""
        self._channel.close()


# === REST ===

BUSY_STATUS = {429, 502, 503, 504}


class RestTransport:
    """TensorFlow Serving's REST interface; needs nothing but Python and NumPy.

    Args:
        url: `http://host:port` or `https://…`; the port is 8501 where nobody changed it.
        headers: more headers, such as one that a proxy wants.

    Raises:
        ConfigError: it is no such address.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        try:
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            whole = False
        if not whole:
            raise ConfigError(f"A REST address is http://host:port. Received: {url!r}")
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._place = parts.netloc
        self._path = parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json", **(headers or {})}

    def predict(self, model: str, version: int | None, signature: str, inputs: Inputs, seconds: float) -> Outputs:
        """Asks once; see `Transport`. Every connection is a new one, so a server may go and come back."""
        address = f"{self._path}/v1/models/{quote(model)}" + ("" if version is None else f"/versions/{version}")
        listed = {name: value.tolist() for name, value in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": listed})
        outputs = self._json("POST", f"{address}:predict", body, seconds)["outputs"]
        if not isinstance(outputs, dict):  # one output comes without its name, which the model's description has
            described = self._json("GET", f"{address}/metadata", None, seconds)["metadata"]["signature_def"]
            (name,) = described["signature_def"][signature]["outputs"]
            outputs = {name: outputs}
        return {name: _as_named(np.array(value, _kind(value))) for name, value in outputs.items()}

    def _json(self, method: str, path: str, body: str | None, seconds: float) -> Any:
        connection = self._connection(self._place, timeout=seconds)
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            content = response.read()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise Busy(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if response.status in BUSY_STATUS:
            raise Busy(_refusal(response.status, content))
        if response.status != 200:
            raise ServingError(f"The server refuses the request. Received: {_refusal(response.status, content)}")
        try:
            return json.loads(content)
        except ValueError as error:
            raise ServingError(f"The answer is no JSON. Received: {content[:100]!r}") from error

    def close(self) -> None:
        """There is nothing to end."""


def _refusal(status: int, content: bytes) -> str:
    """A refusal in one line: its status and what the server says."""
    try:
        said = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        said = content[:100].decode("utf-8", "replace")
    return f"{status}: {said}"


def _kind(value: Any) -> Any:
    """The dtype of nested lists: NumPy's own texts would lose null characters at their end."""
    while isinstance(value, list) and value:
        value = value[0]
    return object if isinstance(value, str) else None


def _as_named(value: np.ndarray) -> np.ndarray:
    """An output as both transports give it: float32, int32, or str objects."""
    if value.dtype == object:
        return np.vectorize(lambda text: text.decode("utf-8") if isinstance(text, bytes) else text, [object])(value)
    return value.astype(np.float32 if value.dtype.kind == "f" else np.int32)
