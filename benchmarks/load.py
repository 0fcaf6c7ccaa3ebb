"""Exports under load: many clients at once ask a server process; answers, memory and waiting times are looked at.

    python benchmarks/load.py EXPORTS --seconds 120 --clients 16

EXPORTS is a directory with `saved_model/1` and `model.onnx`, such as `out/quickstart/g2p_quickstart`. A process of its
own serves both over gRPC, as TensorFlow Serving's PredictionService. Each client asks for one to eight words at a time.
Three more are a burden: one cancels each request after up to 50 milliseconds, wherever it is by then; one has a line of
64 bytes at a time, both ways; one opens connections, says half a greeting and reads nothing. It prints one JSON object
for each export, and exits with 1 if an answer, the slow client's too, differs from a lone client's.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kerass2s.errors import ServingError

WORDS = ("stick", "pharaohs", "it", "quay", "phoneme", "daylights", "sprang", "knight", "a", "zucchini", "rhythm")
ARTEFACTS = ("saved_model/1", "model.onnx")


# === Server ===


def serve(exports: Path, workers: int) -> None:
    """Serves both exports until its input ends; writes its port to its output."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from kerass2s.export import load_predictor

    predictors = {name: load_predictor(exports / name) for name in ARTEFACTS}

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:
            texts = [text.decode("utf-8") for text in tf.make_ndarray(request.inputs["text"])]
            found = predictors[request.model_spec.name].generate(texts)
            response = predict_pb2.PredictResponse()
            response.outputs["text"].CopyFrom(tf.make_tensor_proto(np.array(found, object), tf.string))
            return response

    server = grpc.server(ThreadPoolExecutor(workers))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None).wait()


# === Clients ===


class SlowLine:
    """A line to a port of this machine that brings 64 bytes each 10 milliseconds, either way.

    Attributes:
        port: where it begins.
    """

    def __init__(self, port: int) -> None:
        self._open = socket.create_server(("localhost", 0))
        self._target = port
        self.port = self._open.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            here = self._open.accept()[0]
            there = socket.create_connection(("localhost", self._target))
            for ends in ((here, there), (there, here)):
                threading.Thread(target=self._bring, args=ends, daemon=True).start()

    def _bring(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while content := one.recv(64):
                other.sendall(content)
                time.sleep(0.01)
        except OSError:
            return  # one of the two has hung up


class Load:
    """Asks one export of a server for a while, from many threads.

    Args:
        port: of the server.
        process: its number.
        name: of the export.
    """

    def __init__(self, port: int, process: int, name: str) -> None:
        from kerass2s.deploy.client import GrpcTransport

        self.port, self.process, self.name = port, process, name
        self.transport = GrpcTransport(f"localhost:{port}")
        self.slow_transport = GrpcTransport(f"localhost:{SlowLine(port).port}")
        self.expected = {word: self.ask([word])[0] for word in WORDS}
        self.seconds: list[float] = []
        self.wrong: list[str] = []
        self.given_up = 0
        self.slow_requests = 0
        self.end = 0.0

    def ask(self, words: list[str], patience: float = 600.0, transport: Any = None) -> list[str]:
        """Returns the server's answers."""
        asked = {"text": np.array([word.encode() for word in words], object)}
        return (transport or self.transport).predict(self.name, None, "", asked, patience)["text"].tolist()

    def compare(self, words: list[str], found: list[str]) -> None:
        """Keeps an answer that is not a lone client's."""
        if found != [self.expected[word] for word in words]:
            self.wrong.append(f"{words}: {found}")

    def client(self, seed: int) -> None:
        """Asks and compares until the end."""
        draw = random.Random(seed)
        while time.monotonic() < self.end:
            words = draw.choices(WORDS, k=draw.randint(1, 8))
            begin = time.monotonic()
            found = self.ask(words)
            self.seconds.append(time.monotonic() - begin)
            self.compare(words, found)

    def impatient(self) -> None:
        """Gives up each request soon: before it has come, while it is computed, or when its answer is on its way."""
        draw = random.Random(0)
        while time.monotonic() < self.end:
            try:
                self.ask(list(WORDS), draw.uniform(0.001, 0.05))
            except (TimeoutError, ServingError):
                self.given_up += 1
            time.sleep(0.02)

    def slow(self) -> None:
        """Asks and reads a few bytes at a time."""
        while time.monotonic() < self.end:
            self.compare(list(WORDS), self.ask(list(WORDS), transport=self.slow_transport))
            self.slow_requests += 1

    def silent(self) -> None:
        """Opens connections that say little and read nothing."""
        opened = []
        while time.monotonic() < self.end:
            opened.append(socket.create_connection(("localhost", self.port)))
            opened[-1].sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0")
            time.sleep(0.5)
        for each in opened:
            each.close()

    def memory(self) -> float:
        """Returns the server's resident memory, MiB."""
        status = Path(f"/proc/{self.process}/status").read_text("utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def run(self, clients: int, seconds: float) -> dict[str, Any]:
        """Lets them all loose and returns the figures."""
        self.end = time.monotonic() + seconds
        threads = [threading.Thread(target=self.client, args=(seed,)) for seed in range(clients)]
        threads += [threading.Thread(target=burden) for burden in (self.impatient, self.slow, self.silent)]
        for thread in threads:
            thread.start()
        time.sleep(seconds / 3)  # by then every shape of batch has been seen, and memory is what it will be
        warm = self.memory()
        for thread in threads:
            thread.join()
        alone = {word: self.ask([word])[0] for word in WORDS}
        half, most = np.percentile(self.seconds, [50, 99]) * 1000
        return {
            "export": self.name,
            "clients": clients,
            "seconds": seconds,
            "requests": len(self.seconds),
            "wrong": len(self.wrong) + (alone != self.expected),
            "given_up": self.given_up,
            "slow_requests": self.slow_requests,
            "p50_ms": round(float(half), 1),
            "p99_ms": round(float(most), 1),
            "memory_after_a_third_mib": round(warm, 1),
            "memory_at_the_end_mib": round(self.memory(), 1),
        }


def main() -> int:
    """Starts the server, asks it, and prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("exports", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each of the two exports")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.exports, asked.clients)
        return 0
    command = [sys.executable, __file__, str(asked.exports), "--serve", "--clients", str(asked.clients)]
    wrong = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline())
        for name in ARTEFACTS:
            figures = Load(port, server.pid, name).run(asked.clients, asked.seconds)
            wrong += figures["wrong"]
            print(json.dumps(figures), flush=True)
        server.stdin.close()
    return 1 if wrong or server.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
