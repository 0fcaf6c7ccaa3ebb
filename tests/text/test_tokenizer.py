"""The tokenizers: the same ids in Python, tf.data and graph, normalised text back, mistakes refused."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kerass2s.errors import ConfigError, DataError, UserError
from kerass2s.text import END_ID, KINDS, PAD_ID, START_ID, UNKNOWN_ID, Sampling, SentencePieceTokenizer

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "K AE1 T",
    "dogs and cats and dogs",
    "naïve café, 3.14 – «l’été»",
    "日本語 и русский",
    "مرحبا בעולם",
    "😀 a b",
]
TORTURE = [
    "",
    " ",
    "\0",
    "a\0b",
    "\t\r\n",
    "a\nb",
    "  dogs   and  ",
    "dogs\u00a0and\u202fcats\u2028dogs\u2029\u3000x",
    "\u2581",
    "a\u2581\u2581b",
    "ｆｕｌｌ　ｗｉｄｔｈ ①②③ ﬁ ﬂ ㌔",
    "e\u0301 \u00e9",
    "\u0301\u0301\u0301",
    "👩‍👩‍👧‍👦 🏳️‍🌈 😀",
    "\u200b\u200c\u200d\ufeff",
    "\u202eright\u202c to left",
    "\ufffd\ufffe\uffff\U0010ffff",
    "\x01\x02\x7f\x85\x9f",
    "<s></s><pad><unk>",
    "<|pad|><|unknown|><|start|><|end|>",
    "<|start|> <|end|>",
    "日本語のテキスト",
    "İıŞß ΣΑΣ",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
    "word " * 2000,
]
TEXT = st.text(max_size=40) | st.text(alphabet="abc \t\0\u2581é😀K<s>/|", max_size=40)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, SentencePieceTokenizer]:
    sizes = {"char": None, "word": None, "unigram": 100, "bpe": 120}
    return {kind: SentencePieceTokenizer.train(CORPUS, kind, sizes[kind]) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, SentencePieceTokenizer]) -> SentencePieceTokenizer:
    return tokenizers[request.param]


def graph_ids(tokenizer: SentencePieceTokenizer, texts: list[str]) -> list[list[int]]:
    function = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    return function(tf.constant([text.encode() for text in texts], tf.string)).to_list()


def dataset_ids(tokenizer: SentencePieceTokenizer, texts: list[str]) -> list[list[int]]:
    dataset = tf.data.Dataset.from_tensor_slices([text.encode() for text in texts]).batch(7).map(tokenizer.tokenize)
    return [ids for batch in dataset for ids in batch.to_list()]


def test_special_ids(tokenizer: SentencePieceTokenizer) -> None:
    assert (PAD_ID, UNKNOWN_ID, START_ID, END_ID) == (0, 1, 2, 3)
    assert tokenizer.pieces[:4] == ["<|pad|>", "<|unknown|>", "<|start|>", "<|end|>"]
    assert len(tokenizer.pieces) == len(set(tokenizer.pieces)) == tokenizer.vocabulary_size


def test_ids_agree_on_the_torture_list(tokenizer: SentencePieceTokenizer) -> None:
    expected = [tokenizer.encode(text) for text in TORTURE]
    assert graph_ids(tokenizer, TORTURE) == expected
    assert dataset_ids(tokenizer, TORTURE) == expected
    assert expected[0] == []
    assert not {PAD_ID, START_ID, END_ID} & {index for ids in expected for index in ids}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(TEXT, min_size=1, max_size=8))
@example(["<|end|>", "x<|end|>"])
def test_ids_agree_and_text_comes_back_for_any_unicode(
    tokenizers: dict[str, SentencePieceTokenizer], texts: list[str]
) -> None:
    batch = tf.constant([text.encode() for text in texts], tf.string)
    for tokenizer in tokenizers.values():
        expected = [tokenizer.encode(text) for text in texts]
        ragged = tokenizer.tokenize(batch)
        assert ragged.to_list() == expected
        back = [text.decode() for text in tokenizer.detokenize(ragged.to_tensor(PAD_ID)).numpy()]
        assert back == [tokenizer.decode(ids) for ids in expected]
        for text, ids, again in zip(texts, expected, back, strict=True):
            if UNKNOWN_ID not in ids:
                assert again == tokenizer.normalize(text)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_python_and_graph_agree_on_any_ids(tokenizers: dict[str, SentencePieceTokenizer], data: st.DataObject) -> None:
    tokenizer = tokenizers[data.draw(st.sampled_from(KINDS))]
    rows = data.draw(
        st.lists(
            st.lists(st.integers(0, tokenizer.vocabulary_size - 1), min_size=5, max_size=5), min_size=1, max_size=4
        )
    )
    graph = tokenizer.detokenize(tf.constant(rows, tf.int32)).numpy()
    assert [text.decode() for text in graph] == [tokenizer.decode(row) for row in rows]


def test_decode_stops_at_end_and_drops_pad_and_start(tokenizer: SentencePieceTokenizer) -> None:
    ids = tokenizer.encode("dogs and cats")
    row = [START_ID, PAD_ID, *ids, END_ID, *ids]
    assert tokenizer.decode(row) == "dogs and cats"
    assert tokenizer.detokenize(tf.constant([row])).numpy().tolist() == [b"dogs and cats"]


def test_an_empty_batch(tokenizer: SentencePieceTokenizer) -> None:
    assert tokenizer.tokenize(tf.constant([], tf.string)).to_list() == []
    assert tokenizer.detokenize(tf.zeros([0, 3], tf.int32)).shape == [0]
    assert tokenizer.detokenize(tf.zeros([2, 0], tf.int32)).numpy().tolist() == [b"", b""]


def test_tracing_is_quiet(source_tokenizer: SentencePieceTokenizer) -> None:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    tf.data.Dataset.from_tensor_slices(["cat"]).batch(1).map(lambda texts: source_tokenizer.tokenize(texts).to_tensor())
    tf.get_logger().removeHandler(handler)
    assert said == []


def test_normalisation_is_what_the_docstring_says(tokenizers: dict[str, SentencePieceTokenizer]) -> None:
    for tokenizer in tokenizers.values():
        assert tokenizer.normalize(" ａ\u00a0 ﬁ\u2028B\te\u0301\u2581x ") == "a fi B é x"
    assert tokenizers["char"].encode("ａ") == tokenizers["char"].encode("a")


def test_case_is_folded_in_python_and_in_the_graph_alike() -> None:
    folding = SentencePieceTokenizer.train(["ABC STRASSE", "Ωmega"], "char", fold_case=True)
    assert folding.normalize("Abc Straße ΩMEGA") == "abc straße ωmega"
    assert folding.encode("ABC") == folding.encode("abc") and UNKNOWN_ID not in folding.encode("STRASSE Ω")
    assert graph_ids(folding, TORTURE) == [folding.encode(text) for text in TORTURE]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_digits_are_pieces_of_their_own_if_asked(kind: str) -> None:
    texts = ["room 2014", "room 2015", "room 2016b"] * 20
    together = SentencePieceTokenizer.train(texts, kind, 24)
    apart = SentencePieceTokenizer.train(texts, kind, 24, split_digits=True)
    assert any(len(piece) > 1 and any(map(str.isdigit, piece)) for piece in together.pieces)
    assert not any(len(piece) > 1 and any(map(str.isdigit, piece)) for piece in apart.pieces)
    assert apart.split("room 2014")[-4:] == list("2014")
    assert apart.decode(apart.encode("room 2014")) == "room 2014"
    assert graph_ids(apart, texts[:3]) == [apart.encode(text) for text in texts[:3]]


def test_bytes_that_are_not_utf8_are_unknown_in_the_graph(tokenizer: SentencePieceTokenizer) -> None:
    for ids in tokenizer.tokenize(tf.constant([b"a\xffb", b"\xc3", b"\xed\xa0\x80"])).to_list():
        assert UNKNOWN_ID in ids


def test_all_symbols_of_a_large_uneven_alphabet_are_kept() -> None:
    letters = [chr(0x4E00 + index) for index in range(9000)]
    tokenizer = SentencePieceTokenizer.train(["a" * 100_000, *letters], kind="char")
    assert UNKNOWN_ID not in tokenizer.encode("".join(letters))
    words = [f"w{index}" for index in range(8999)] + ["\ufdfa" * 200]
    assert UNKNOWN_ID not in SentencePieceTokenizer.train(words, kind="word").encode(" ".join(words))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "corpus", [["a"], ["ab", "", "  "], ["😀"], ["a\0b", "c"], ["x<s>y <|end|>"], ["a" * 10_000, "b"]]
)
def test_tiny_corpora(kind: str, corpus: list[str]) -> None:
    tokenizer = SentencePieceTokenizer.train(corpus, kind)
    for text in corpus:
        if UNKNOWN_ID not in tokenizer.encode(text):
            assert tokenizer.decode(tokenizer.encode(text)) == text.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_deterministic_and_quiet(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = SentencePieceTokenizer.train(iter(CORPUS), kind, 90)
    assert first.model_proto == SentencePieceTokenizer.train(CORPUS, kind, 90).model_proto
    assert capfd.readouterr() == ("", "")


def test_another_process_trains_the_same_bytes(tokenizers: dict[str, SentencePieceTokenizer]) -> None:
    program = (
        "import hashlib, json, sys; from kerass2s.text import SentencePieceTokenizer as T; "
        "print(hashlib.sha256(T.train(json.loads(sys.argv[1]), 'unigram', 100).model_proto).hexdigest())"
    )
    command = [sys.executable, "-c", program, json.dumps(CORPUS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(tokenizers["unigram"].model_proto).hexdigest()
    assert done.stderr == ""


def test_vocabulary_size_is_a_limit() -> None:
    assert SentencePieceTokenizer.train(["abcdefgh"], "char", 7).vocabulary_size == 7
    assert SentencePieceTokenizer.train(CORPUS, "bpe", 150).vocabulary_size <= 150


def test_save_and_load(tokenizer: SentencePieceTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "source.spm"
    tokenizer.save(path)
    again = SentencePieceTokenizer.load(path)
    assert (again.pieces, again.kind) == (tokenizer.pieces, tokenizer.kind)
    assert pickle.loads(pickle.dumps(tokenizer)).model_proto == tokenizer.model_proto


def test_a_saved_model_carries_the_tokenizer(tokenizer: SentencePieceTokenizer, tmp_path: Path) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def round_trip(texts: tf.Tensor) -> tf.Tensor:
        return tokenizer.detokenize(tokenizer.tokenize(texts).to_tensor(PAD_ID))

    module.round_trip = round_trip
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for seed in (1, 2):
        tf.random.set_seed(seed)
        assert loaded.round_trip(tf.constant(["dogs  and cats", ""])).numpy().tolist() == [b"dogs and cats", b""]


def test_first_use_inside_a_traced_function(tokenizer: SentencePieceTokenizer) -> None:
    fresh = SentencePieceTokenizer(tokenizer.model_proto)
    assert graph_ids(fresh, ["dogs"]) == fresh.tokenize(tf.constant(["dogs"])).to_list()


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_sampling_gives_other_segmentations_of_the_same_text(
    kind: str, tokenizers: dict[str, SentencePieceTokenizer]
) -> None:
    text = "dogs and cats and dogs"
    sampled = tokenizers[kind].with_sampling(Sampling(alpha=0.5))
    seen = [tuple(sampled.tokenize(tf.constant([text])).to_list()[0]) for _ in range(30)]
    assert len(set(seen)) > 1
    assert {sampled.decode(ids) for ids in seen} == {text}
    assert sampled.encode(text) == tokenizers[kind].encode(text)
    assert sampled.with_sampling(None).tokenize(tf.constant([text])).to_list() == [sampled.encode(text)]
    assert pickle.loads(pickle.dumps(sampled)).sampling == sampled.sampling


def test_setting_the_seed_does_not_lose_the_model(tokenizer: SentencePieceTokenizer) -> None:
    fresh = SentencePieceTokenizer(tokenizer.model_proto)
    function = tf.function(fresh.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    dataset = tf.data.Dataset.from_tensors(["dogs"]).map(fresh.tokenize)
    expected = [fresh.encode("dogs")]
    assert function(tf.constant(["dogs"])).to_list() == expected
    tf.random.set_seed(1)
    keras.utils.set_random_seed(2)
    assert function(tf.constant(["dogs"])).to_list() == expected
    assert next(iter(dataset)).to_list() == expected
    assert fresh.tokenize(tf.constant(["dogs"])).to_list() == expected


# === Mistakes ===


@pytest.mark.parametrize("kind", ["", "Char", "chars", "sentence"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="one of char, word, unigram, bpe. Received: "):
        SentencePieceTokenizer.train(["a"], kind)


@pytest.mark.parametrize("kind", ["char", "word"])
def test_digits_are_split_by_subwords_alone(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"split_digits is for unigram and bpe. Received: kind '{kind}'"):
        SentencePieceTokenizer.train(["a 12"], kind, split_digits=True)


@pytest.mark.parametrize(("kind", "size"), [("char", 0), ("char", 4), ("word", -1), ("unigram", 6), ("bpe", 6)])
def test_a_vocabulary_too_small_is_refused(kind: str, size: int) -> None:
    with pytest.raises(ConfigError, match=f"Received: {size}"):
        SentencePieceTokenizer.train(["abcdefghijk"], kind, size)


@pytest.mark.parametrize("corpus", [[], [""], ["", " \t", "\0"], ["\u2028"], ["\u200b"]])
@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_without_text_is_refused(kind: str, corpus: list[str]) -> None:
    with pytest.raises(UserError, match="Received: "):
        SentencePieceTokenizer.train(corpus, kind)


@pytest.mark.parametrize("corpus", [["\ud800"], ["a", "b\udfff"]])
def test_a_lone_surrogate_is_refused(corpus: list[str], tokenizer: SentencePieceTokenizer) -> None:
    with pytest.raises(DataError, match="lone surrogates. Received: "):
        SentencePieceTokenizer.train(corpus)
    with pytest.raises(DataError, match="lone surrogates. Received: "):
        tokenizer.encode(corpus[-1])


@pytest.mark.parametrize("ids", [[99_999], [-1], [4, 5, 99_999]])
def test_an_id_outside_the_vocabulary_is_refused(ids: list[int], tokenizer: SentencePieceTokenizer) -> None:
    with pytest.raises(DataError, match="Ids must be in"):
        tokenizer.decode(ids)


@pytest.mark.parametrize("sampling", [{"alpha": -0.1}, {"alpha": 1.5}, {"nbest_size": 0}, {"nbest_size": -2}])
def test_a_bad_sampling_is_refused(sampling: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Sampling needs"):
        Sampling(**sampling)


@pytest.mark.parametrize("kind", ["char", "word"])
def test_sampling_needs_subwords(kind: str, tokenizers: dict[str, SentencePieceTokenizer]) -> None:
    with pytest.raises(ConfigError, match=f"Received: {kind}"):
        tokenizers[kind].with_sampling(Sampling())


@pytest.mark.parametrize("proto", [b"", b"garbage", b"\0" * 99, bytes(range(256)), b"PK\x03\x04" * 50])
def test_a_proto_that_is_no_model_is_refused(proto: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=f"not a whole SentencePiece model. Received: {len(proto)} bytes"):
        SentencePieceTokenizer(proto)
    path = tmp_path / "source.spm"
    path.write_bytes(proto)
    with pytest.raises(DataError, match="source.spm: "):
        SentencePieceTokenizer.load(path)
    assert capfd.readouterr() == ("", "")


def test_a_proto_cut_short_anywhere_is_refused(tokenizers: dict[str, SentencePieceTokenizer]) -> None:
    proto = tokenizers["char"].model_proto
    for length in range(0, len(proto) - 1, max(len(proto) // 300, 1)):
        with pytest.raises(DataError):
            SentencePieceTokenizer(proto[:length])


def test_a_model_with_other_special_ids_is_refused() -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a"]), model_writer=model, model_type="char", vocab_size=5, minloglevel=2
    )
    with pytest.raises(DataError, match=r"Received: \(-1, 0, 1, 2\)"):
        SentencePieceTokenizer(model.getvalue())


def test_a_missing_model_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none.spm: this file cannot be read: No such file"):
        SentencePieceTokenizer.load(tmp_path / "none.spm")
