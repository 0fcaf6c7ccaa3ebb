"""What no export of kerass2s has: operators that touch files, data outside the file, weights that the file has not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

from kerass2s.errors import ExportError
from kerass2s.files import MEBIBYTE, inside, read_bytes

__all__ = ["refuse_foreign", "refuse_foreign_graph"]

# === ONNX ===

EXTENSIONS = ("SentencepieceTokenizer", "StringJoin", "StringSplit", "StringRegexReplace")
"""What is used of onnxruntime-extensions, which also has operators that read files."""
DOMAINS = {"": None, "ai.onnx": None, "ai.onnx.ml": ("LabelEncoder",), "ai.onnx.contrib": EXTENSIONS}
"""The operators of each domain that an export may have; None for all."""


def refuse_foreign(model: Any, path: Path) -> None:
    """Refuses an `onnx.ModelProto` that reads other files, or has operators beyond the standard and what exports use.

    Raises:
        ExportError: it has such a thing.
    """
    if model.functions:
        raise ExportError(f"{path}: functions of its own. Received: {model.functions[0].name!r}")
    for tensor in _tensors(model.graph):
        if tensor.data_location or tensor.external_data:
            raise ExportError(f"{path}: weights outside the file are not read. Received: tensor {tensor.name!r}")
    for node in _nodes(model.graph):
        known = DOMAINS.get(node.domain, ())
        if known is not None and node.op_type not in known:
            raise ExportError(f"{path}: an operator that no export has. Received: {node.domain}::{node.op_type}")


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those of its loops and branches."""
    waiting = [graph]
    while waiting:
        here = waiting.pop()
        yield here
        for node in here.node:
            for attribute in node.attribute:
                waiting.extend(attribute.graphs)
                waiting.extend([attribute.g] if attribute.HasField("g") else [])


def _nodes(graph: Any) -> Iterator[Any]:
    return (node for each in _graphs(graph) for node in each.node)


def _tensors(graph: Any) -> Iterator[Any]:
    for each in _graphs(graph):
        yield from each.initializer
        for sparse in each.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(graph):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


# === SavedModel ===

STATEFUL = {
    "Assert",
    "AssignVariableOp",  # of a model with one mask a sequence: its generator's seed, in memory
    "DisableCopyOnRead",
    "If",
    "NoOp",
    "PartitionedCall",
    "Placeholder",
    "ReadVariableOp",
    "SentencepieceDetokenizeOp",
    "SentencepieceOp",
    "SentencepieceStringToIdOp",
    "SentencepieceTokenizeOp",
    "StatefulPartitionedCall",
    "VarHandleOp",
    "While",
}
"""The operators with a state that the function of an export may have: none of them writes or reads a file."""
SAVING = {"AssignVariableOp", "MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"}
"""Those of the two functions in every SavedModel that TensorFlow itself saves and restores by."""
READING = {"InitializeTableFromTextFile", "MatchingFiles", "PyFuncStateless", "ReadFile", "ShardedFilespec"}
"""Operators that reach beyond the graph though TensorFlow counts no state of theirs."""
LARGEST_GRAPH = 2048 * MEBIBYTE


def functions_of(graph: Any) -> Any:
    """Returns the functions of a `MetaGraphDef`, which its nodes and signatures call."""
    return attrgetter("library.function")(graph.graph_def)


def refuse_foreign_graph(path: Path) -> None:
    """Refuses a SavedModel whose functions could touch files or run Python, or whose variables are not in its files.

    Raises:
        ExportError: it has such a thing, or it is no SavedModel.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    content = read_bytes(inside(path, "saved_model.pb", ExportError), LARGEST_GRAPH, ExportError)
    try:
        (graph,) = SavedModel.FromString(content).meta_graphs
    except Exception as error:  # protobuf's class, which differs between its implementations
        raise ExportError(f"{path}: damaged, or not a SavedModel. Received: {type(error).__name__}") from error
    if graph.asset_file_def:
        raise ExportError(f"{path}: assets, which no export has. Received: {graph.asset_file_def[0].filename!r}")
    _check_operators(path, graph)
    _check_variables(path, graph.object_graph_def)


def _check_operators(path: Path, graph: Any) -> None:
    functions = {function.signature.name: function.node_def for function in functions_of(graph)}
    saver = {graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name}
    saver = {name.partition(":")[0] for name in saver}
    main = graph.graph_def.node
    saving = _called([node for node in main if node.name in saver], functions)
    running = _called([node for node in main if node.name not in saver], functions)
    running |= _called([], functions, set(graph.object_graph_def.concrete_functions))
    strange = _strange(main, set())
    for name in functions:
        # What is called by nobody is not run; it is held to the same rules.
        allowed = SAVING if name in saving - running else set()
        strange |= _strange(functions[name], allowed)
    if strange:
        raise ExportError(f"{path}: an operator that no export has. Received: {', '.join(sorted(strange))}")


def _called(nodes: Iterable[Any], functions: dict[str, Any], names: set[str] | None = None) -> set[str]:
    """The functions that nodes call, and those that these call."""
    found: set[str] = set()
    waiting = [*(names or set()), *_names(nodes)]
    while waiting:
        name = waiting.pop()
        if name in functions and name not in found:
            found.add(name)
            waiting.extend(_names(functions[name]))
    return found


def _names(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        yield node.op
        for value in node.attr.values():
            yield from (value.func.name, *(each.name for each in value.list.func))


def _strange(nodes: Iterable[Any], allowed: set[str]) -> set[str]:
    return {node.op for node in nodes if node.op not in allowed and not _is_harmless(node.op)}


def _is_harmless(operator: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    if operator in STATEFUL:
        return True
    known = op_def_registry.get(operator)
    return known is not None and not known.is_stateful and operator not in READING | SAVING


def _check_variables(path: Path, objects: Any) -> None:
    """Checks that the files have as many bytes as the variables need, before memory is taken for those."""
    import tensorflow as tf

    needed = 0
    for node in objects.nodes:
        if node.WhichOneof("kind") == "variable":
            sizes = [each.size for each in node.variable.shape.dim]
            needed += math.prod(max(size, 1) for size in sizes) * tf.as_dtype(node.variable.dtype).size
    held = sum(file.stat().st_size for file in path.glob("variables/variables.data-*"))
    if needed > held:
        raise ExportError(f"{path}: its variables need {needed:,} bytes. Received: files of {held:,}")
