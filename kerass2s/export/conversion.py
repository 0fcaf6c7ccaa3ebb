"""A TensorFlow function as an ONNX graph: tf2onnx converts, and what it leaves undone is tidied here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerass2s.errors import ConfigError
from kerass2s.export.describe import needed
from kerass2s.export.quiet import quiet
from kerass2s.export.recurrent import HANDLERS as RECURRENT
from kerass2s.export.shorten import shorten
from kerass2s.export.strict import suit

OPSET = 18
"""The newest that tf2onnx writes; ONNX's own converter takes it on from there."""
OPSETS = range(13, 24)

# Those of tf2onnx's optimizers that change anything here. All of them, each over a copy of the graph made in case it
# fails, as tf2onnx's own front door has it, take ten times as long for the same graph.
OPTIMIZERS = ("fold_constants", "merge_duplication", "reshape_optimizer", "remove_identity", "remove_back_to_back")


def _as_it_is(ctx: Any, node: Any, name: str, args: list[str]) -> None:
    """A tf2onnx custom op handler: the operator of ONNX that does what TensorFlow's does, here of the same inputs."""
    node.type = args[0] if args else node.type


# tf2onnx would write a choice as products with 0 and 1, six nodes where one does, and infinity times 0 is not a
# number; and it would compare whole numbers as floats.
HANDLERS = {
    **RECURRENT,
    "SelectV2": (_as_it_is, ["Where"]),
    **{name: (_as_it_is, []) for name in ("Less", "Greater")},
    **{name: (_as_it_is, [f"{name.removesuffix('Equal')}OrEqual"]) for name in ("LessEqual", "GreaterEqual")},
}
WEIGHT = 32
"""From how many elements on an initializer is a weight, with a name that is worth reading."""


def to_onnx(run: Callable[..., dict[str, tf.Tensor]], signature: Sequence[tf.TensorSpec], opset: int = OPSET) -> Any:
    """Returns graph code as an `onnx.ModelProto` of standard operators, its inputs and outputs named as in the code.

    Args:
        run: graph code from tensors to a dict of tensors.
        signature: the inputs, with names.
        opset: the version of the ONNX operators.

    Raises:
        ConfigError: there is no such version, or none that this can be written in.
    """
    if opset not in OPSETS:
        raise ConfigError(f"opset must be from {OPSETS[0]} to {OPSETS[-1]}. Received: {opset!r}")
    tf2onnx, onnx = needed("tf2onnx", "onnx"), needed("onnx", "onnx")
    with quiet():
        traced = tf.function(run, input_signature=tuple(signature), autograph=False).get_concrete_function()
        inputs = [tensor.name for tensor in traced.inputs if tensor.dtype != tf.resource]
        outputs = [tensor.name for tensor in traced.outputs]
        names = dict(zip(inputs, (spec.name for spec in signature), strict=True))
        names |= {tensor.name: name for name, tensor in traced.structured_outputs.items()}
        with tf.device("/cpu:0"):
            frozen = tf2onnx.tf_loader.from_function(traced, inputs, outputs)
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(frozen, name="")
                graph = tf2onnx.tfonnx.process_tf_graph(
                    graph,
                    opset=min(opset, OPSET),
                    input_names=inputs,
                    output_names=outputs,
                    tensors_to_rename=names,
                    custom_op_handlers=dict(HANDLERS),
                )
                known = tf2onnx.optimizer._get_optimizers()
                optimizers = {name: known[name] for name in OPTIMIZERS}
                model = tf2onnx.optimizer.optimize_graph(graph, False, optimizers=optimizers).make_model("")
    if opset > OPSET:
        model = onnx.version_converter.convert_version(model, opset)
        model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    onnx.helper.set_model_props(model, {})
    tidy(model)
    return model


def tidy(model: Any) -> None:
    """Makes a model's graph smaller without a change to what it computes, in place.

    What a loop hands from step to step as it is, the weights among it, is read from outside instead: runtimes then
    know it as constant, and OpenVINO refuses a loop that returns its own inputs. What a step computes of nothing else
    is computed once, before the loop. Equal weights are held once, and of two tables that are each other's transpose
    one is; what two nodes compute alike is computed once. What one node can say is said in one. Names are short.
    """
    graph = model.graph
    _read_from_outside(graph)
    shorten(model)
    suit(graph)
    _share_equal(graph)
    for each in graphs(graph):
        _share_results(each)
    _share_transposed(graph)
    _shorten_names(graph)


# === Loops ===


def bodies(node: Any) -> list[Any]:
    """Returns the graphs inside a node."""
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def graphs(graph: Any) -> Iterator[Any]:
    """Yields a graph and, after it, every graph inside."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def _read_from_outside(graph: Any) -> None:
    for node in list(graph.node):
        if node.op_type == "Loop":
            _free_of_invariants(graph, node, *bodies(node))
            _compute_before(graph, node, *bodies(node))
        for body in bodies(node):
            _read_from_outside(body)


def _free_of_invariants(graph: Any, loop: Any, body: Any) -> None:
    """Takes what a Loop hands on unchanged out of its inputs and outputs; the body reads it by its outer name.

    A Loop's inputs are its trip count, its condition and what it hands on; its body's inputs are the step's number,
    the condition and that; its body's outputs the condition, that, and what it collects.
    """
    wanted = {output.name for output in graph.output}
    for index in reversed(range(len(loop.input) - 2)):
        inside, after = body.input[index + 2].name, loop.output[index]
        if body.output[index + 1].name != inside or after in wanted:
            continue
        _rename(body, {inside: loop.input[index + 2]})
        _rename(graph, {after: loop.input[index + 2]}, spare=loop)
        del loop.input[index + 2], loop.output[index], body.input[index + 2], body.output[index + 1]
    _copy_returned_inputs(body)


def _compute_before(graph: Any, loop: Any, body: Any) -> None:
    """Moves nodes of a Loop's body that read nothing which a step changes to the place before the Loop."""
    changing = {value.name for value in [*body.input, *body.output]}
    changing |= {name for node in body.node for name in node.output}
    constants = {table.name: table for table in body.initializer}
    before, copied = [], {}
    for node in list(body.node):
        if changing & set(node.input) or bodies(node) or {value.name for value in body.output} & set(node.output):
            continue
        body.node.remove(node)
        changing -= set(node.output)
        for name in constants.keys() & set(node.input):  # a copy: a constant of its own body tells a runtime more
            copied[name] = f"{name}_before"
        node.input[:] = [copied.get(name, name) for name in node.input]
        before.append(node)
    for name, copy in copied.items():
        graph.initializer.add().CopyFrom(constants[name])
        graph.initializer[-1].name = copy
    place = list(graph.node).index(loop)
    nodes = [*graph.node[:place], *before, *graph.node[place:]]
    del graph.node[:]
    graph.node.extend(nodes)


def _copy_returned_inputs(body: Any) -> None:
    """Returns a copy of what a body would return twice or as it came in, as when a step hands on its last value."""
    onnx = needed("onnx", "onnx")
    taken = {value.name for value in body.input} | {value.name for value in body.initializer}
    for number, output in enumerate(body.output):
        if output.name in taken:
            copy = f"{output.name}_copy_{number}"
            body.node.append(onnx.helper.make_node("Identity", [output.name], [copy]))
            output.name = copy
        taken.add(output.name)


def _rename(graph: Any, names: dict[str, str], spare: Any = None) -> None:
    """Renames values wherever they are read or made, inner graphs included, but for what the node `spare` makes."""
    for value in [*graph.input, *graph.output, *graph.initializer]:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        if node is not spare:
            node.output[:] = [names.get(name, name) for name in node.output]
        for body in bodies(node):
            _rename(body, names)


# === Weights ===


def _share_equal(graph: Any) -> None:
    """Holds equal initializers once in each graph, and a weight once in all."""
    onnx = needed("onnx", "onnx")
    weights: dict[Any, str] = {}
    for each in graphs(graph):
        held = dict(weights)
        for table in list(each.initializer):
            key = (table.data_type, tuple(table.dims), onnx.numpy_helper.to_array(table).tobytes())
            if held.setdefault(key, table.name) != table.name:
                each.initializer.remove(table)
                _rename(each, {table.name: held[key]})
            elif np.prod(table.dims) >= WEIGHT:
                weights[key] = table.name


def _share_results(graph: Any) -> None:
    """Keeps one of several nodes that do the same to the same values; of a graph's own outputs each has its node."""
    wanted = {value.name for value in graph.output}
    known: dict[bytes, Any] = {}
    for node in list(graph.node):
        if bodies(node):
            continue
        alike = type(node)(op_type=node.op_type, domain=node.domain, input=node.input, attribute=node.attribute)
        first = known.setdefault(alike.SerializeToString(deterministic=True), node)
        if first is node or (wanted & set(first.output) and wanted & set(node.output)):
            continue
        kept, other = (node, first) if wanted & set(node.output) else (first, node)
        names = dict(zip(other.output, kept.output, strict=True))
        graph.node.remove(node)
        _rename(graph, names)


def _share_transposed(graph: Any) -> None:
    """Keeps one of two tables that are each other's transpose, as tied embeddings are read and predicted by.

    The other is computed from it, once a run at most: before the loop, or when the runtime loads the file.
    """
    onnx = needed("onnx", "onnx")
    kept: list[tuple[Any, np.ndarray]] = []
    for table in [table for table in graph.initializer if len(table.dims) == 2]:
        values = onnx.numpy_helper.to_array(table)
        alike = [one.name for one, other in kept if np.array_equal(other.T, values)]
        if not alike or min(values.shape) == 1:
            kept.append((table, values))
            continue
        name = f"{table.name}_transposed"
        graph.node.insert(0, onnx.helper.make_node("Transpose", alike[:1], [table.name], name, perm=[1, 0]))
        graph.initializer.remove(table)


# === Names ===

# What TensorFlow, Keras and the carrier op of a recurrent layer put into the name of a weight.
_NOISE = re.compile(
    r"/(ReadVariableOp|resource|Cast|Shape|GatherV2|MatMul|einsum|Einsum|embedding_lookup)(_\d+)?(?=/|$)"
)
_CARRIER = re.compile(r"_native_\d+/CudnnRNNV3_")


def _shorten_names(graph: Any) -> None:
    """Calls each value after its operator and each weight after its layer; inputs and outputs keep their names."""
    kept = {value.name for value in [*graph.input, *graph.output]}
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}

    def name(old: str, new: str) -> None:
        if old and old not in kept and old not in names:
            counts[new] += 1
            names[old] = f"{new}_{counts[new]}" if counts[new] > 1 or new in kept else new

    for each in graphs(graph):
        for table in each.initializer:
            name(table.name, _weight_name(table.name) if np.prod(table.dims) >= WEIGHT else "constant")
        for value in each.input:
            name(value.name, "input")
        for node in each.node:
            node.name, node.doc_string = "", ""
            for output in node.output:
                name(output, node.op_type)
    _rename(graph, names)


def _weight_name(name: str) -> str:
    """`step_1/lstm_0_cell_1/Cast_1/ReadVariableOp:0 -> step/lstm_0_cell`."""
    path = _CARRIER.sub("/", name.removesuffix(":0"))
    while (shorter := _NOISE.sub("", path)) != path:
        path = shorter
    return "/".join(re.sub(r"_\d+$", "", part) for part in path.split("/"))
