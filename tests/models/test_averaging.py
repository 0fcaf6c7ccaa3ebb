"""The mean of several presets: by hand, as one model, and refused where they are not of one kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerass2s import average_checkpoints, zoo
from kerass2s.errors import PresetError


@pytest.fixture
def preset(source_tokenizer, target_tokenizer, tmp_path: Path):
    """Save a tiny model whose weights are all one value, and return where."""

    def save(name: str, value: float, architecture: str = "luong2015", **config) -> Path:
        tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
        model = zoo.build(architecture, **tokenizers, preset="tiny", **config)
        for weight in model.trainable_weights:
            weight.assign(np.full(weight.shape, value))
        model.save_to_preset(tmp_path / name)
        return tmp_path / name

    return save


def test_the_mean_is_that_of_each_weight(preset, lexicon) -> None:
    presets = [preset("one", 1.0), preset("two", 2.0), preset("six", 6.0)]
    model = average_checkpoints(presets)
    assert all((np.array(weight) == 3.0).all() for weight in model.trainable_weights)
    assert [str(weight.dtype) for weight in model.weights] == [
        str(weight.dtype) for weight in average_checkpoints(presets[:1]).weights
    ]
    assert len(model.generate([source for source, _ in lexicon])) == len(lexicon)


def test_presets_of_different_kinds_are_refused(preset) -> None:
    one = preset("one", 1.0)
    for other in (preset("wide", 1.0, units=10), preset("other", 1.0, "transformer2017")):
        with pytest.raises(PresetError, match=r"one architecture, config and vocabulary.*differ"):
            average_checkpoints([one, other])
    with pytest.raises(PresetError, match="at least one preset"):
        average_checkpoints([])
