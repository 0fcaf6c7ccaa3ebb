"""The folders for the servers, made once of one exported model, and TensorFlow Serving's stand-in over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from served import Served, grpc_server, rest_server

from kerass2s.deploy.client import GrpcTransport, RestTransport, Retries, ServingClient
from kerass2s.deploy.tf_serving import write_tf_serving
from kerass2s.export import Predictor, load_predictor

Client = Callable[..., ServingClient]


@pytest.fixture(scope="session")
def kit(pronouncer_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TensorFlow Serving kit of the pronouncer, called `g2p`."""
    out = tmp_path_factory.mktemp("deploy") / "kit"
    write_tf_serving([f"g2p={pronouncer_exports}"], out)
    return out


@pytest.fixture(scope="session")
def predictor(pronouncer_exports: Path) -> Predictor:
    """The same model by another way: its ONNX file in ONNX Runtime."""
    return load_predictor(pronouncer_exports / "model.onnx")


@pytest.fixture(scope="session")
def loaded(kit: Path) -> Served:
    """The kit's model, loaded once in this process."""
    return Served(kit / "models" / "g2p" / "1", "g2p")


@pytest.fixture
def served(loaded: Served) -> Iterator[Served]:
    """The loaded model with nothing wrong and nothing asked yet."""
    loaded.faults.clear()
    loaded.asked, loaded.batching = 0, False
    yield loaded
    loaded.batching = False


@pytest.fixture(params=["grpc", "rest"])
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[Client]:
    """Makes clients of the served model, over each of the two protocols."""
    with ExitStack() as stack:
        if request.param == "grpc":
            transport = GrpcTransport(stack.enter_context(grpc_server(served)))
        else:
            transport = RestTransport(stack.enter_context(rest_server(served)))
        stack.callback(transport.close)

        def make(model: str = "g2p", **options: object) -> ServingClient:
            return ServingClient(transport, model, **{"retries": Retries(first=0.01), **options})

        yield make
