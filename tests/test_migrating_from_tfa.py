"""The page for users of TensorFlow Addons: all its names are there, and what it says of checkpoints holds in NumPy."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kerass2s import SentencePieceTokenizer, zoo
from kerass2s.data.padding import padded
from kerass2s.text import END_ID, START_ID

PAGE = (Path(__file__).parent.parent / "docs" / "migrating-from-tfa.md").read_text("utf-8")
CODE = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def carry_over" in block)

# What tensorflow_addons 0.23.0 exports as tensorflow_addons.seq2seq.
NAMES = [
    "AttentionMechanism",
    "AttentionWrapper",
    "AttentionWrapperState",
    "BahdanauAttention",
    "BahdanauMonotonicAttention",
    "LuongAttention",
    "LuongMonotonicAttention",
    "hardmax",
    "monotonic_attention",
    "safe_cumprod",
    "BasicDecoder",
    "BasicDecoderOutput",
    "BeamSearchDecoder",
    "BeamSearchDecoderOutput",
    "BeamSearchDecoderState",
    "FinalBeamSearchDecoderOutput",
    "gather_tree",
    "gather_tree_from_array",
    "tile_batch",
    "BaseDecoder",
    "Decoder",
    "dynamic_decode",
    "SequenceLoss",
    "sequence_loss",
    "CustomSampler",
    "GreedyEmbeddingSampler",
    "InferenceSampler",
    "SampleEmbeddingSampler",
    "Sampler",
    "ScheduledEmbeddingTrainingSampler",
    "ScheduledOutputTrainingSampler",
    "TrainingSampler",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_a_row(name: str) -> None:
    rows = re.findall(r"^\| (.*?) \|", PAGE, re.MULTILINE)
    assert any(re.search(rf"`{name}\b", row) for row in rows)


# === Checkpoints ===

VARIANTS = {
    "luong": ("general", {"memory_layer/kernel": (6, 6)}),
    "luong_scaled": ("general", {"memory_layer/kernel": (6, 6), "attention_g": ()}),
    "bahdanau": ("concat", {"memory_layer/kernel": (6, 6), "query_layer/kernel": (6, 6), "attention_v": (6,)}),
    "bahdanau_normalized": (
        "concat",
        {
            "memory_layer/kernel": (6, 6),
            "query_layer/kernel": (6, 6),
            "attention_v": (6,),
            "attention_g": (),
            "attention_b": (6,),
        },
    ),
}


def shapes(mechanism: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The arrays of the tutorial's classes: embeddings of 4, LSTMs of 6, vocabularies of 9 and 8."""
    lstm = {"recurrent_kernel": (6, 24), "bias": (24,)}
    return {
        "encoder/embedding/embeddings": (9, 4),
        "encoder/lstm_layer/cell/kernel": (4, 24),
        **{f"encoder/lstm_layer/cell/{name}": shape for name, shape in lstm.items()},
        "decoder/embedding/embeddings": (8, 4),
        "decoder/decoder_rnn_cell/kernel": (10, 24),
        **{f"decoder/decoder_rnn_cell/{name}": shape for name, shape in lstm.items()},
        **{f"decoder/attention_mechanism/{name}": shape for name, shape in mechanism.items()},
        "decoder/rnn_cell/_attention_layers/0/kernel": (12, 6),
        "decoder/fc/kernel": (6, 8),
        "decoder/fc/bias": (8,),
    }


def saved(arrays: dict[str, np.ndarray], path: Path) -> str:
    """Write an object-based checkpoint whose variables have these names."""

    def put(tree: dict[str, Any], item: tuple[str, np.ndarray]) -> dict[str, Any]:
        *above, last = item[0].split("/")
        reduce(lambda node, name: node.setdefault(name, {}), above, tree)[last] = tf.Variable(item[1])
        return tree

    def objects(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        children = {name: objects(child) for name, child in node.items()}
        return [children["0"]] if "0" in children else tf.train.Checkpoint(**children)

    tree = reduce(put, arrays.items(), {})
    return tf.train.Checkpoint(**{name: objects(child) for name, child in tree.items()}).write(str(path / "ckpt"))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_cell(weights: dict[str, np.ndarray], at: str, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Any:
    """h_t, c_t of Keras' LSTMCell."""
    gates = x @ weights[f"{at}/kernel"] + h @ weights[f"{at}/recurrent_kernel"] + weights[f"{at}/bias"]
    i, f, new, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
    return sigmoid(o) * np.tanh(c), c


def score(own: dict[str, np.ndarray], query: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Luong's or Bahdanau's score of `query [U]` against `memory [S, M]`, scaled or normalised if there are weights."""
    keys = memory @ own["memory_layer/kernel"]
    if "attention_v" not in own:
        return own.get("attention_g", 1.0) * (keys @ query)
    v = own["attention_v"]
    if "attention_b" in own:
        v = own["attention_g"] * v / np.sqrt(np.sum(v**2))
    return np.tanh(keys + query @ own["query_layer/kernel"] + own.get("attention_b", 0)) @ v


def tfa_logits(weights: dict[str, np.ndarray], source: np.ndarray, fed: np.ndarray) -> np.ndarray:
    """The tutorial's model on one source [S] without padding, `fed [T] -> logits [T, V]`, as AttentionWrapper says."""
    own = {name.removeprefix("decoder/attention_mechanism/"): array for name, array in weights.items()}
    h, c, memory = np.zeros(6), np.zeros(6), []
    for x in weights["encoder/embedding/embeddings"][source]:
        h, c = lstm_cell(weights, "encoder/lstm_layer/cell", x, h, c)
        memory.append(h)
    memory, attention, logits = np.stack(memory), np.zeros(6), []
    for x in weights["decoder/embedding/embeddings"][fed]:
        h, c = lstm_cell(weights, "decoder/decoder_rnn_cell", np.concatenate([x, attention]), h, c)
        scores = score(own, h, memory)
        alignment = np.exp(scores - scores.max()) / np.sum(np.exp(scores - scores.max()))
        attention = np.concatenate([h, alignment @ memory]) @ weights["decoder/rnn_cell/_attention_layers/0/kernel"]
        logits.append(attention @ weights["decoder/fc/kernel"] + weights["decoder/fc/bias"])
    return np.stack(logits)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_carried_over_gives_the_logits_of_the_wrapper(variant: str, tmp_path: Path) -> None:
    attention, mechanism = VARIANTS[variant]
    generator = np.random.default_rng(7)
    old = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes(mechanism).items()}
    spanish = {"<OOV>": 1, "<start>": 2, "<end>": 3, "vida": 4, "mi": 5, "es": 6, "esta": 7, "casa": 8}
    english = {"<OOV>": 1, "<start>": 2, "<end>": 3, "life": 4, "this": 5, "is": 6, "my": 7}
    model = zoo.build(
        "luong2015",
        source_tokenizer=SentencePieceTokenizer.train(set(spanish) - {"<OOV>", "<end>"}, kind="word"),
        target_tokenizer=SentencePieceTokenizer.train(set(english) - {"<OOV>", "<start>", "<end>"}, kind="word"),
        embedding_size=4,
        units=6,
        attention=attention,
        input_feeding=True,
        activation="linear",
        bidirectional=False,
        bridge="pass",
    )
    page: dict[str, Any] = {"tf": tf, "np": np}
    exec(compile(CODE, "migrating-from-tfa.md", "exec"), page)
    read = page["read_checkpoint"](saved(old, tmp_path))
    left = page["carry_over"](
        read,
        model,
        page["old_ids"](model.source_tokenizer, spanish),
        page["old_ids"](model.target_tokenizer, english),
    )
    assert left == ["attentive_step/combine/bias"]

    pairs = [("<start> esta es mi vida", "this is my life"), ("<start> casa", "my life")]
    # One batch with padding, which the shorter source must not see.
    sources, _ = padded([np.array([*model.source_tokenizer.encode(source), END_ID]) for source, _ in pairs])
    targets, _ = padded([np.array([START_ID, *model.target_tokenizer.encode(target)]) for _, target in pairs])
    logits = model({"source_ids": sources, "target_ids": targets}).numpy()
    to_old = page["old_ids"](model.target_tokenizer, english)
    for (source, target), row in zip(pairs, logits, strict=True):
        words = [*source.split(), "<end>"], ["<start>", *target.split()]
        ids = [[index[word] for word in side] for index, side in zip((spanish, english), words, strict=True)]
        expected = tfa_logits(old, np.array(ids[0]), np.array(ids[1]))[:, to_old]
        np.testing.assert_allclose(row[: len(expected)], expected, rtol=1e-4, atol=1e-5)
