"""Without tensorflow-text: the same ids through `sentencepiece` alone, and a fresh process that has only that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from kerass2s.text import KINDS, SentencePieceTokenizer
from kerass2s.text.outside import OutsideTokenizer

TEXTS = [
    "stack the cat",
    "",
    "  kit\u00a0 sat ",
    "ünknown ｋｉｔ 日本",
    "tick\tstick",
    "<|pad|> a<|end|>",
    "a\u2581b",
    "🙂 cat",
]
STRANGE = [*(text.encode() for text in TEXTS), b"\xff\xfe cat", b"cat\x00act"]  # no UTF-8, and a null character


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_into_the_graph_give_the_same(kind: str, monkeypatch: pytest.MonkeyPatch):
    size = 24 if kind in ("unigram", "bpe") else None
    tokenizer = SentencePieceTokenizer.train(["stack the cat", "kit sat", "a tick, a stick"], kind, size)

    def seen() -> list[list[object]]:
        ids = tokenizer.tokenize(tf.constant(STRANGE))
        pieces = tokenizer.tokenize_pieces(tf.constant(TEXTS), apart=False)
        back = [tokenizer.detokenize(ids.to_tensor()), tokenizer.detokenize_pieces(pieces)]
        return [
            ids.to_list(),
            pieces.to_list(),
            tokenizer.piece_ids(pieces).to_list(),
            *(each.numpy().tolist() for each in back),
        ]

    inside = seen()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow_text", None)
        assert isinstance(tokenizer._in_graph(), OutsideTokenizer)
        assert seen() == inside
        assert tokenizer.tokenize(tf.constant([], tf.string)).shape[0] == 0


PROGRAM = """
import sys

sys.modules["tensorflow_text"] = None  # as where it has no wheel
import json
import kerass2s
from kerass2s.export import load_predictor

words = json.loads(sys.argv[1])
source = kerass2s.SentencePieceTokenizer.train([word for word, _ in words], kind="char")
target = kerass2s.SentencePieceTokenizer.train([phones for _, phones in words], kind="word")
model = kerass2s.zoo.build("sutskever2014", source_tokenizer=source, target_tokenizer=target, preset="tiny")
model.compile("adam")
history = model.fit(words, epochs=2, verbose=0).history
search = kerass2s.GreedySearch(max_length=6)
model.export("model.onnx", format="onnx", search=search)
said = {"losses": history["loss"], "live": model.generate(["cat", "act"], search)}
said["onnx"] = load_predictor("model.onnx").generate(["cat", "act"])
try:
    model.export("saved", search=search)
except kerass2s.UserError as error:
    said["refused"] = str(error)
print(json.dumps(said))
"""


def test_training_and_exports_of_ids_go_without_it(lexicon: list[tuple[str, str]], tmp_path: Path):
    command = [sys.executable, "-c", PROGRAM, json.dumps(lexicon)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["losses"][1] < said["losses"][0]
    assert said["onnx"] == said["live"]
    assert said["refused"].startswith("A SavedModel takes text inside the graph and needs tensorflow-text")
    assert said["refused"].endswith("Received: no module tensorflow_text")
