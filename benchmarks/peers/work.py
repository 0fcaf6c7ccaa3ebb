"""What a step has to compute and to move, counted from its shapes: floating-point operations and bytes.

Operations are those of the matmuls. Bytes are counted op by op: each reads its operands once and writes its result
once, wherever they lie, so that a weight inside a loop is read at every step. Ops that a compiler can join are one
(the gates of a step), and what a library moves beyond that is its own affair.

The limit of a step is the longer of two times: its operations at the rate of a large matmul, and its bytes at the
bandwidth that `memory.py` finds for arrays as large as what the step goes through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SIZES = {"float32": 4, "bfloat16": 2}
"""Bytes of a number in the matmuls. Weights, their gradients and Adam's means are float32 in both."""


@dataclass(frozen=True)
class Work:
    """Floating-point operations and bytes; they add up and multiply."""

    flop: float = 0.0
    moved: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.flop + other.flop, self.moved + other.moved)

    def __mul__(self, times: float) -> Work:
        return Work(self.flop * times, self.moved * times)


@dataclass(frozen=True)
class Model:
    """The sizes of an LSTM encoder and decoder, with attention after the decoder or without any.

    Attributes:
        source: the vocabulary of sources.
        target: that of targets, V.
        width: of the embeddings.
        units: U.
        attention: whether there is any.
        both_ways: whether the encoder reads both ways; M is then 2 U.
        bridge: whether a matmul makes the decoder's first state.
    """

    source: int
    target: int
    width: int
    units: int
    attention: bool
    both_ways: bool
    bridge: bool

    @classmethod
    def of(cls, task: dict[str, Any], arrays: list[Any]) -> Model:
        """Reads a task of a comparison, and the weights that our side wrote."""
        config = task["config"]
        both_ways = config.get("bidirectional", False)
        bridge = config.get("bridge", "dense" if task["attention"] else "pass") == "dense"
        sizes = config["embedding_size"], config["units"]
        return cls(*vocabularies(task, arrays), *sizes, task["attention"], both_ways, bridge)

    @property
    def memory(self) -> int:
        """M, the width of the encoder's memory."""
        return self.units * (1 + self.both_ways)

    def step_weights(self) -> int:
        """Counts the weights that a step of the decoder reads, but for the embedding."""
        units = self.units
        combine = (self.memory + units) * units if self.attention else 0
        return (self.width + units) * 4 * units + combine + units * self.target

    def weights(self) -> int:
        """Counts all weights, but for the few of biases."""
        units, memory = self.units, self.memory
        encoder = (1 + self.both_ways) * (self.width + units) * 4 * units
        keys = memory * units if self.attention else 0
        bridge = 2 * memory * 2 * units if self.bridge else 0
        return (self.source + self.target) * self.width + encoder + keys + bridge + self.step_weights()


def vocabularies(task: dict[str, Any], arrays: list[Any]) -> tuple[int, int]:
    """Returns the sizes of the vocabularies of sources and targets, of our model's weights."""
    return len(arrays[0]), len(arrays[4 + 3 * bool(task["config"].get("bidirectional"))])


def matmul(rows: int, inner: int, columns: int, size: int, times: int = 1) -> Work:
    """Counts `[rows, inner] x [inner, columns]`, so many times."""
    numbers = rows * inner + inner * columns + rows * columns
    return Work(2 * rows * inner * columns, numbers * size) * times


def _both_gradients(rows: int, inner: int, columns: int, size: int, times: int = 1) -> Work:
    """Counts a matmul and those of its gradients."""
    return (
        matmul(rows, inner, columns, size, times)
        + matmul(rows, columns, inner, size, times)
        + matmul(inner, rows, columns, size, times)
    )


def training_step(model: Model, batch: int, source: int, target: int, tokens: float, size: int) -> Work:
    """Counts a training step on `[batch, source]` and `[batch, target]` ids, of which `tokens` are predicted."""
    units, memory, found = model.units, model.memory, Work()
    for steps, ways in ((source, 1 + model.both_ways), (target, 1)):
        rows = steps * batch
        layer = _both_gradients(rows, model.width, 4 * units, size)
        layer += matmul(batch, units, 4 * units, size, steps) + matmul(batch, 4 * units, units, size, steps)
        layer += matmul(units, rows, 4 * units, size)
        # Gates: both sums and the state are read, the gates and the state written; back they and what arrives are
        # read, the gradients at the sums written.
        layer += Work(moved=rows * ((4 + 4 + 2) + (4 + 2) + (4 + 2 + 1) + 4) * units * size)
        found += layer * ways
        found += Work(moved=2 * 2 * rows * model.width * size)  # embedded, and the gradient: read and written
    if model.attention:
        found += _both_gradients(source * batch, memory, units, size)  # keys
        found += _both_gradients(target, units, source, size, batch)  # scores
        found += _both_gradients(target, source, memory, size, batch)  # contexts
        found += _both_gradients(target * batch, memory + units, units, size)
        found += Work(moved=batch * target * (2 * 3 * source + 2 * 3 * units) * size)  # softmax and tanh, and back
    if model.bridge:
        found += _both_gradients(batch, 2 * memory, 2 * units, size)
    found += _both_gradients(tokens, units, model.target, size)
    found += Work(moved=tokens * 2 * model.target * size)  # the softmax of a tile: read, and the gradient written
    casts = (4 + size) if size < 4 else 0  # all weights, to the narrow type
    adam = 4 * (4 + 3)  # gradient, weight and two means are read, all but the first written
    return found + Work(moved=model.weights() * (casts + adam))


def decoding(model: Model, batch: int, source: int, steps: int, width: int) -> Work:
    """Counts the answers to `[batch, source]` ids by a beam of `width` (1: greedy) that takes `steps`; float32."""
    units, memory, size, rows = model.units, model.memory, 4, batch * width
    gates = ((4 + 4 + 2) + 2) * units * size
    layer = matmul(source * batch, model.width, 4 * units, size) + matmul(batch, units, 4 * units, size, source)
    found = (layer + Work(moved=source * batch * gates)) * (1 + model.both_ways)
    if model.bridge:
        found += matmul(batch, 2 * memory, 2 * units, size)
    step = matmul(rows, model.width + units, 4 * units, size) + matmul(rows, units, model.target, size)
    step += Work(moved=rows * (gates + (2 * model.width + model.target) * size))  # embedded, and the likeliest found
    if model.attention:
        found += matmul(source * batch, memory, units, size)
        step += matmul(width, units, source, size, batch) + matmul(width, source, memory, size, batch)
        step += matmul(rows, memory + units, units, size)
        step += Work(moved=rows * 2 * (source + units) * size)
    if width > 1:
        step += Work(moved=rows * 2 * 2 * units * size)  # the states of those hypotheses that go on
    return found + step * steps


@dataclass(frozen=True)
class Limits:
    """What the machine could do at that moment: operations and bytes a second."""

    flop_rate: float
    bandwidth: float

    @classmethod
    def of(cls, matmul: Any, memory: Any, clock: str) -> Limits:
        """Takes the rates of the two sides that ran `matmul.py` and `memory.py`, by a clock."""
        return cls(matmul.shown["flop"] / matmul.median(clock), memory.shown["moved"] / memory.median(clock))

    def shown(self, work: Work) -> dict[str, Any]:
        """Tells the limits and the work, and which limit it meets first."""
        by_flop, by_moved = work.flop / self.flop_rate, work.moved / self.bandwidth
        return {
            "matmul_gflops": round(self.flop_rate / 1e9),
            "memory_gb_per_second": round(self.bandwidth / 1e9, 1),
            "gflop": round(work.flop / 1e9, 5),
            "gb": round(work.moved / 1e9, 5),
            "bound": "matmul" if by_flop > by_moved else "memory",
        }

    def reached(self, work: Work, seconds: float) -> dict[str, float]:
        """Tells the shares of both rates that were reached; the larger one is that of the limit."""
        return {
            "of_matmul_rate": round(work.flop / seconds / self.flop_rate, 3),
            "of_memory_rate": round(work.moved / seconds / self.bandwidth, 3),
        }


def told(run: dict[str, Any]) -> str:
    """Says in a line what a step is and what the machine can do, of `Limits.shown`."""
    return (
        f"{run['gflop']:.3g} GFLOP at {run['matmul_gflops']} GFLOP/s, {run['gb']:.3g} GB at "
        f"{run['memory_gb_per_second']} GB/s, bound by {run['bound']}"
    )
