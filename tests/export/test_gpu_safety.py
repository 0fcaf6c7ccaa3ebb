"""Nothing of cuDNN gets into an export, even where the machine that makes it has a GPU; see `test_zoo_exports` too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kerass2s.decoding import GreedySearch
from kerass2s.ensemble import Ensemble
from kerass2s.errors import ExportError
from kerass2s.export import export_saved_model
from kerass2s.export.graph import ids_graph, inputs_spec, operators, refuse_cudnn, without_cudnn
from kerass2s.inference import Inference
from kerass2s.presets import load_preset
from kerass2s.seq2seq import Seq2Seq

Make = Callable[[str], Seq2Seq]
Pretence = Callable[[], AbstractContextManager[None]]
SEARCH = GreedySearch(max_length=3)


def traced(model: Inference) -> Any:
    """The concrete function of ids to ids."""
    spec = tuple(inputs_spec(model.codec, SEARCH).values())
    return tf.function(ids_graph(model, SEARCH), input_signature=spec, autograph=False).get_concrete_function()


def test_a_trace_on_a_gpu_is_free_of_cudnn(tiny: Make, pretend_gpu: Pretence):
    model = tiny("cho2014")
    with pretend_gpu():
        with pytest.raises(ExportError, match="Received: CudnnRNNV3"):  # the pretence works, and the check sees it
            refuse_cudnn(traced(model))
        with without_cudnn(model):
            refuse_cudnn(traced(model))


def test_an_ensemble_of_models_made_and_loaded_on_a_gpu_exports_without_cudnn(
    tiny: Make, pretend_gpu: Pretence, tmp_path: Path
):
    names = ["cho2014", "luong2015"]
    with pretend_gpu():
        for name in names:
            tiny(name).save_to_preset(tmp_path / name)
        Ensemble([load_preset(tmp_path / name) for name in names]).save_to_preset(tmp_path / "both")
        export_saved_model(load_preset(tmp_path / "both"), tmp_path / "1", SEARCH)
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "1" / "saved_model.pb").read_bytes())
    kinds = operators(saved.meta_graphs[0].graph_def)
    assert len(kinds) > 50  # the whole search is there
    assert [kind for kind in kinds if "Cudnn" in kind] == []


class Hidden(keras.layers.Layer):
    """Holds a recurrent layer where Keras does not look for layers."""

    def __init__(self):
        super().__init__()
        self._held = (lambda layer: lambda: layer)(keras.layers.GRU(3))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Runs it."""
        return self._held()(inputs)


def test_what_the_switch_does_not_reach_is_refused(pretend_gpu: Pretence):
    hidden = Hidden()
    hidden(tf.keras.Input([None, 2]))
    assert [layer for layer in hidden._flatten_layers() if hasattr(layer, "use_cudnn")] == []
    function = tf.function(hidden, input_signature=[tf.TensorSpec([None, None, 2])], autograph=False)
    with pretend_gpu(), pytest.raises(ExportError, match="Received: CudnnRNNV3"):
        refuse_cudnn(function.get_concrete_function())
