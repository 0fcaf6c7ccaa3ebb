"""The ONNX export in two parts, for hosts that run a loop of their own: the encoder, and one step of the decoder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerass2s.decoders.base import Start
from kerass2s.decoding.search import log_probabilities
from kerass2s.errors import ExportError
from kerass2s.export.conversion import OPSET, to_onnx
from kerass2s.export.describe import describe_model
from kerass2s.export.graph import source_probe, without_cudnn
from kerass2s.export.onnx import check_onnx, finished, run_named, session
from kerass2s.export.place import whole_directory
from kerass2s.export.precision import FULL
from kerass2s.export.recurrent import portable_encoder
from kerass2s.inference import Inference
from kerass2s.text import END_ID

ENCODER, STEP = "encoder.onnx", "decoder_step.onnx"
STATE, NEXT, FIXED = "state_", "next_", "fixed_"

Tensors = dict[str, tf.Tensor]


def export_onnx_steps(
    model: Inference, path: str | os.PathLike[str], *, opset: int = OPSET, precision: str = FULL
) -> None:
    """Writes a directory with `encoder.onnx` and `decoder_step.onnx`, neither with a Loop, for a host's own search.

        encoder        source_ids int32 [batch, source_time], source_lengths int32 [batch] ->
                       target_ids int32 [batch], what the first step is fed; state_* and fixed_* [batch, ...]
        decoder_step   target_ids int32 [rows], state_* and fixed_* [rows, ...] ->
                       log_probabilities float32 [rows, vocabulary], next_* [rows, ...] and, where the model has
                       one, alignment float32 [rows, source_time]

    Rows are batch times beams, and the first axis of all. A host repeats what the encoder gives for its beams; then it
    takes the rows of each `next_*` that it goes on with as the following `state_*`, while `fixed_*`, the memory, stays.
    A state with a dimension `steps` grows there by one at each step, and begins with none. Ids that never come, PAD and
    START, have -1e9; one beyond the vocabulary is the source's, as in `export_onnx`. Where sources or targets are
    vectors, `source_values`, `target_values` and `values` stand for `source_ids`, `target_ids` and `log_probabilities`.
    A batch has at least a row, and a row an element.

    The metadata of each file has what `describe_model` tells, `part`, `inputs` and `outputs` (JSON: dtype and shape by
    name), `states` (JSON, from each state's name to that of what it is next) and `fixed` (a JSON list).

    Args:
        model: the model.
        path: the directory to write; older parts there are replaced.
        opset: the version of the ONNX operators.
        precision: "float32", or "float16" or "int8" for smaller files; see `kerass2s.export.precision`.

    Raises:
        ExportError: something else is at the path, an extra is not installed, or the files do not reload and run.
        ConfigError: an unknown precision.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or {file.name for file in path.iterdir()} - {ENCODER, STEP}):
        raise ExportError(f"The parts of a model are the only files of their directory. Received: {str(path)!r}")
    protos = convert_steps(model, opset=opset, precision=precision)
    with whole_directory(path) as made:
        for name, proto in protos.items():
            (made / name).write_bytes(proto.SerializeToString())
        _check(made, source_probe(model.codec, 1))


def is_steps(path: Path) -> bool:
    """Tells whether a directory holds the two parts, be they damaged."""
    return (path / ENCODER).is_file() or (path / STEP).is_file()


def convert_steps(model: Inference, *, opset: int = OPSET, precision: str = FULL) -> dict[str, Any]:
    """Returns both parts as `onnx.ModelProto` by the names of their files; see `export_onnx_steps`."""
    with without_cudnn(model):
        parts = Parts(model)
        encode = encoding(model, model.rewired_encoder(portable_encoder))
        graphs = {
            ENCODER: to_onnx(encode, list(model.codec.source_spec.values()), opset),
            STEP: to_onnx(stepping(model, parts.start), parts.step_spec(), opset),
        }
    return {name: finished(graph, parts.describe(name), opset, precision) for name, graph in graphs.items()}


def _check(directory: Path, source: dict[str, np.ndarray]) -> None:
    """Checks, reloads and runs the encoder, and two steps after it."""
    check_onnx(str(directory / ENCODER), [source])
    given = run_named(session(str(directory / ENCODER)), source)
    check_onnx(str(directory / STEP), [given])
    check_onnx(str(directory / STEP), [following(given, run_named(session(str(directory / STEP)), given))])


def following(given: dict[str, np.ndarray], stepped: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the inputs of the next step, but for what is fed: those of this one, with its next states."""
    states = {f"{STATE}{name.removeprefix(NEXT)}": of for name, of in stepped.items() if name.startswith(NEXT)}
    return {**given, **states}


# === Graphs ===


def encoding(model: Inference, encoder: Any) -> Callable[..., Tensors]:
    """Graph code from a source and its lengths to what the decoder begins with, by the encoder's names for it."""

    def run(source: tf.Tensor, lengths: tf.Tensor) -> Tensors:
        start = model.decoder.begin(encoder(model.codec.encoder_inputs(source, lengths)))
        first = {model.decoder.target_name: model.codec.first(source, lengths)}
        return {**first, **_flat(start.state, STATE), **_flat(start.memory, FIXED)}

    return run


def stepping(model: Inference, start: Start) -> Callable[..., Tensors]:
    """Graph code of one step: what is fed, the states and the memory, flat and in order, to the outputs by name."""
    names = [*_flat(start.state, STATE), *_flat(start.memory, FIXED)]

    def run(target: tf.Tensor, *parts: tf.Tensor) -> Tensors:
        named = dict(zip(names, parts, strict=True))
        output = model.decoder.step(target, _like(start.state, named, STATE), _like(start.memory, named, FIXED))
        tokens = target.dtype.is_integer
        told = log_probabilities(output.prediction) if tokens else tf.cast(output.prediction, tf.float32)
        aligned = {} if output.alignment is None else {"alignment": tf.cast(output.alignment, tf.float32)}
        return {"log_probabilities" if tokens else "values": told, **aligned, **_flat(output.state, NEXT)}

    return run


def _flat(parts: dict[str, Any], prefix: str) -> Tensors:
    """Names all tensors of a dict, and of the dicts in it, as an ensemble's members have: `state_member_0_h_0`."""
    found: Tensors = {}
    for name, part in parts.items():
        found |= _flat(part, f"{prefix}{name}_") if isinstance(part, dict) else {f"{prefix}{name}": part}
    return found


def _like(parts: dict[str, Any], named: Tensors, prefix: str) -> dict[str, Any]:
    """The opposite of `_flat`: a dict such as `parts`, of tensors by their flat names."""
    return {
        name: _like(part, named, f"{prefix}{name}_") if isinstance(part, dict) else named[f"{prefix}{name}"]
        for name, part in parts.items()
    }


# === Names and dimensions ===

TIMES = (8, 24)  # of the sources that are tried: far enough apart that a memory shorter than they are shows it too


class Parts:
    """The tensors between both parts, known by trying: which of their sizes follow the source's, and which grow.

    Attributes:
        start: what the decoder begins with.
    """

    def __init__(self, model: Inference) -> None:
        self._model = model
        self.start, *tensors = self._try(TIMES[0])
        _, *longer = self._try(TIMES[1])
        self._given, self._told = (self._sizes(*pair) for pair in zip(tensors, longer, strict=True))
        states = _flat(self.start.state, "")
        for name in states:
            state, following = self._given[f"{STATE}{name}"]["shape"], self._told[f"{NEXT}{name}"]["shape"]
            for axis, (before, after) in enumerate(zip(state, following, strict=True)):
                if before != after:
                    state[axis], following[axis] = "steps", "next_steps"
        self._next = {f"{STATE}{name}": f"{NEXT}{name}" for name in states}

    def _try(self, time: int) -> tuple[Start, Tensors, Tensors]:
        """Runs the live model over a source of that length: its start, a step's inputs and its outputs, flat."""
        codec = self._model.codec
        spec = codec.source_spec[codec.source_name]
        source = tf.fill([1, time, *spec.shape[2:]], tf.constant(END_ID if spec.dtype.is_integer else 0, spec.dtype))
        lengths = tf.constant([time])
        start = self._model.decoder.begin(self._model.encoder(codec.encoder_inputs(source, lengths)))
        first = codec.first(source, lengths)
        given = {self._model.decoder.target_name: first, **_flat(start.state, STATE), **_flat(start.memory, FIXED)}
        return start, given, stepping(self._model, start)(*given.values())

    def _sizes(self, short: Tensors, long: Tensors) -> dict[str, dict[str, Any]]:
        """Describes tensors of which two examples are given: dtype, and shape with names for what is not fixed."""
        time = "source_time" if self._model.codec.window == 1 else "memory_time"
        described = {}
        for name, tensor in short.items():
            moving = "vocabulary" if name == "log_probabilities" else time  # a pointer's has the source's words too
            pairs = zip(tensor.shape[1:], long[name].shape[1:], strict=True)
            shape = ["rows", *(size if size == other else moving for size, other in pairs)]
            described[name] = {"dtype": tensor.dtype.name, "shape": shape}
        return described

    def step_spec(self) -> list[tf.TensorSpec]:
        """Returns the inputs of the decoder's part."""
        return [
            tf.TensorSpec([None if isinstance(size, str) else size for size in of["shape"]], of["dtype"], name)
            for name, of in self._given.items()
        ]

    def describe(self, part: str) -> dict[str, str]:
        """Returns the description of a part, by its file's name."""
        codec, inputs, outputs = self._model.codec, self._given, self._told
        if part == ENCODER:
            names = ["batch", "source_time"]
            sizes = {
                name: [size or names[axis] for axis, size in enumerate(of.shape)]
                for name, of in codec.source_spec.items()
            }
            inputs = {name: {"dtype": of.dtype.name, "shape": sizes[name]} for name, of in codec.source_spec.items()}
            outputs = {name: {**of, "shape": ["batch", *of["shape"][1:]]} for name, of in self._given.items()}
        return {
            **describe_model(self._model),
            "part": Path(part).stem,
            "inputs": json.dumps(inputs),
            "outputs": json.dumps(outputs),
            "states": json.dumps(self._next),
            "fixed": json.dumps([name for name in self._given if name.startswith(FIXED)]),
        }
