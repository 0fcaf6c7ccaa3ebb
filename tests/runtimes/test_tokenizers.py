"""The tokenizers in JavaScript give what SentencePiece gives, on text of every kind of trouble."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from pathlib import Path

import pytest
from hosts import HERE

from kerass2s.text import KINDS, SentencePieceTokenizer

PLAIN = [
    "the cat sat on the mat",
    "the quick brown fox jumps over the lazy dog",
    "ein Straßenname über Äpfel",
    "日本語 の テキスト",
    "naïve café résumé ½",
    "hello again and again, hello world",
]
ODD = "\t\r \u00a0\u202f\u2028\u3000\u200b\u200c\u200d\ufeff\u2581\ufffd\x00\x01\x7f\x85\xad\u0300\u0327"
ODD += "ᄀ\u1161\u11a8가ﬁａ😀👨🏽\u0e33\u0344ẛ\u0323Ωㅋ①㈱ﷺ\U0010ffff\ue000𝐀"
ODD += "\u0958 \u1680\u180e\u2009abc thecat<|pad|>ßäé日本語の½1"


def texts() -> list[str]:
    """Returns plain texts, drawn ones of odd characters, and each character of some blocks of Unicode."""
    draw = random.Random(5)
    drawn = ["".join(draw.choices(ODD, k=draw.randint(1, 12))) for _ in range(800)]
    blocks = [*range(0x2100), *range(0x3000, 0x3400), *range(0xF900, 0x10000), *range(0x1D400, 0x1D500)]
    names = ["<|pad|>", "<|end|>a", "⁇", "", " ", "▁a▁"]
    return [*PLAIN, *names, *drawn, *(f"a{chr(code)}b" for code in blocks)]


@pytest.fixture(scope="module")
def tokenizers() -> list[SentencePieceTokenizer]:
    """One of each kind, and one that folds case."""
    sizes = {"char": None, "word": None, "unigram": 80, "bpe": 80}
    made = [SentencePieceTokenizer.train(PLAIN * 3, kind, sizes[kind]) for kind in KINDS]
    return [*made, SentencePieceTokenizer.train(PLAIN * 3, "char", fold_case=True)]


def test_same_as_sentencepiece(tokenizers: list[SentencePieceTokenizer], installed: None) -> None:
    asked, draw = texts(), random.Random(3)
    smallest = min(tokenizer.vocabulary_size for tokenizer in tokenizers)
    ids = [draw.choices(range(smallest), k=6) for _ in range(300)]
    models = [base64.b64encode(tokenizer.model_proto).decode() for tokenizer in tokenizers]
    question = json.dumps({"models": models, "texts": asked, "ids": ids})
    command = ["node", str(HERE / "tokenizers.mjs")]
    done = subprocess.run(command, input=question, capture_output=True, text=True, check=True)
    for tokenizer, given in zip(tokenizers, json.loads(done.stdout), strict=True):
        pieces = [tokenizer.split(text) for text in asked]
        expected = {
            "kind": tokenizer.kind,
            "pieces": tokenizer.pieces,
            "encode": [tokenizer.encode(text) for text in asked],
            "split": pieces,
            "together": [tokenizer.split(text, apart=False) for text in asked],
            "join": [tokenizer.join(each) for each in pieces],
            "decode": [tokenizer.decode(row) for row in ids],
        }
        for what, value in expected.items():
            if given[what] != value:
                differ = [each for each in zip(given[what], value, strict=True) if each[0] != each[1]]
                pytest.fail(f"{tokenizer.kind} {what}: {len(differ)} differ, first {differ[0]}")


def test_another_file_is_refused(tmp_path: Path, installed: None) -> None:
    (tmp_path / "other.onnx").write_bytes(b"\x08\x09")  # a protobuf message, without a description
    done = subprocess.run(
        ["node", str(HERE / "node.mjs"), str(tmp_path / "other.onnx")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "no ONNX file that kerass2s wrote" in done.stderr


def test_an_ensemble_reads_as_its_first_member_does(tokenizers: list[SentencePieceTokenizer], installed: None) -> None:
    words = next(tokenizer for tokenizer in tokenizers if tokenizer.kind == "word")
    member = {"architecture": "pointer_generator2017", "config": {}}
    ensemble = {"architecture": "ensemble", "config": json.dumps({"members": [member, member]})}
    alone = {"architecture": "luong2015", "config": "{}"}
    script = f"""
        import {{ Model, Tokenizer }} from "{(HERE / "../../kerass2s/deploy/web/model.mjs").resolve().as_uri()}";
        const words = new Tokenizer(Buffer.from("{base64.b64encode(words.model_proto).decode()}", "base64"));
        const models = {json.dumps([{**each, "inputs": "{}", "outputs": "{}"} for each in (alone, ensemble)])};
        const rows = models.map((each) => new Model(each, words, words).encode("the dodo and the dodo"));
        console.log(JSON.stringify(rows));
    """
    command = ["node", "--input-type=module", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    the, also = words.encode("the"), words.encode("and")
    dodo = words.vocabulary_size + 1  # its first position
    assert json.loads(done.stdout) == [[*the, 1, *also, *the, 1, 3], [*the, dodo, *also, *the, dodo, 3]]
