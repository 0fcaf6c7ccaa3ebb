"""Nothing of cuDNN gets into an export, even where the machine that makes it has a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow.core.protobuf import saved_model_pb2

from kerass2s import zoo
from kerass2s.decoding import BeamSearch, GreedySearch, Search
from kerass2s.ensemble import Ensemble
from kerass2s.errors import ExportError
from kerass2s.export import export_saved_model
from kerass2s.export.graph import ids_graph, inputs_spec, refuse_cudnn, without_cudnn
from kerass2s.export.onnx import convert
from kerass2s.export.recurrent import CARRIER_OP
from kerass2s.inference import Inference
from kerass2s.presets import load_preset
from kerass2s.seq2seq import Seq2Seq

Make = Callable[[str], Seq2Seq]
RECURRENT_ENCODERS = [
    "bahdanau2015",
    "cho2014",
    "gnmt2016",
    "hard_monotonic2019",
    "keras_lstm_seq2seq",
    "listen_attend2016",
    "luong2015",
    "pointer_generator2017",
    "pytorch_tutorial2017",
    "series2series",
    "sutskever2014",
]


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets Keras think that there is a GPU: its layers then trace the operator of cuDNN wherever they may."""
    monkeypatch.setattr(sys.modules["keras.src.backend.tensorflow.rnn"], "_is_gpu_available", lambda: True)


def search_of(model: Inference) -> Search:
    return model.codec.search()


def traced(model: Inference, search: Search) -> Any:
    """The concrete function of ids to ids."""
    spec = tuple(inputs_spec(model.codec, search).values())
    return tf.function(ids_graph(model, search), input_signature=spec, autograph=False).get_concrete_function()


def has_cudnn(model: Inference) -> bool:
    """Whether any layer of the model may take the operator of cuDNN."""
    return any(hasattr(layer, "use_cudnn") for each in model.networks() for layer in each._flatten_layers())


def test_the_list_of_recurrent_encoders_is_whole(tiny: Make):
    assert [name for name in sorted(zoo.names()) if has_cudnn(tiny(name))] == RECURRENT_ENCODERS


@pytest.mark.parametrize("name", RECURRENT_ENCODERS)
def test_a_trace_on_a_gpu_is_free_of_cudnn(tiny: Make, name: str):
    model = tiny(name)
    search = search_of(model)
    with pytest.raises(ExportError, match="CudnnRNNV3"):  # so the pretence works, and the check sees it
        refuse_cudnn(traced(model, search))
    with without_cudnn(model):
        refuse_cudnn(traced(model, search))


def test_an_ensemble_of_reloaded_models_exports_without_cudnn(tiny: Make, tmp_path: Path):
    names = ["cho2014", "luong2015"]
    for name in names:
        tiny(name).save_to_preset(tmp_path / name)
    Ensemble([load_preset(tmp_path / name) for name in names]).save_to_preset(tmp_path / "both")
    export_saved_model(load_preset(tmp_path / "both"), tmp_path / "1", GreedySearch(max_length=3))
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "1" / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    kinds = {node.op for node in [*graph.node, *(node for each in graph.library.function for node in each.node_def)]}
    assert len(kinds) > 50  # the whole search is there
    assert [kind for kind in kinds if "Cudnn" in kind] == []


def test_the_carrier_of_native_layers_never_leaves(tiny: Make):
    converted = convert(tiny("luong2015"), BeamSearch(2, max_length=3))
    kinds = {node.op_type for node in every_node(converted.graph)} | {
        node.op_type for function in converted.functions for node in function.node
    }
    assert "LSTM" in kinds
    assert CARRIER_OP not in kinds and [kind for kind in kinds if "Cudnn" in kind] == []


def every_node(graph: Message) -> list[Message]:
    """The nodes of an ONNX graph and of the graphs in their attributes."""
    inner = [each.g for node in graph.node for each in node.attribute if each.HasField("g")]
    return [*graph.node, *(node for each in inner for node in every_node(each))]


class Hidden(keras.layers.Layer):
    """Holds a recurrent layer where Keras does not look for layers."""

    def __init__(self):
        super().__init__()
        self._held = (lambda layer: lambda: layer)(keras.layers.GRU(3))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._held()(inputs)


def test_what_the_switch_does_not_reach_is_refused(tmp_path: Path):
    hidden = Hidden()
    hidden(tf.keras.Input([None, 2]))
    assert [layer for layer in hidden._flatten_layers() if hasattr(layer, "use_cudnn")] == []
    function = tf.function(hidden, input_signature=[tf.TensorSpec([None, None, 2])], autograph=False)
    with pytest.raises(ExportError, match="Received: CudnnRNNV3"):
        refuse_cudnn(function.get_concrete_function())
