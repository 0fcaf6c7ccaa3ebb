"""Diagrams show the layers that are there, and how the two halves hang together."""

from __future__ import annotations

import re

from kerass2s import SentencePieceTokenizer, zoo
from kerass2s.diagrams import mermaid


def edges(text: str) -> set[tuple[str, str]]:
    """The arrows of a flowchart, by the names of the layers."""
    names = dict(re.findall(r"^ +(\w+)\(?\[\"?(\w+)", text, re.MULTILINE))
    return {(names[one], names[other]) for one, other in re.findall(r"(\w+) --> (\w+)", text)}


def test_the_layers_of_luong2015(source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer):
    model = zoo.build("luong2015", source_tokenizer=source_tokenizer, target_tokenizer=target_tokenizer, preset="tiny")
    text = mermaid(model)
    assert "Bidirectional LSTM" in text and "Dropout" not in text
    assert edges(text) == {
        ("source_ids", "source_embedding"),
        ("source_embedding", "bidirectional_0"),
        ("bidirectional_0", "bridge"),
        ("bidirectional_0", "key"),
        ("bidirectional_0", "attention"),
        ("target_ids", "target_embedding"),
        ("target_embedding", "lstm_0"),
        ("bridge", "lstm_0"),
        ("lstm_0", "attention"),
        ("key", "attention"),
        ("attention", "combine"),
        ("lstm_0", "combine"),
        ("combine", "logits"),
        ("logits", "prediction"),
    }


def test_a_recurrence_is_named_by_its_cell(
    source_tokenizer: SentencePieceTokenizer, target_tokenizer: SentencePieceTokenizer
):
    model = zoo.build(
        "bahdanau2015", source_tokenizer=source_tokenizer, target_tokenizer=target_tokenizer, preset="tiny"
    )
    assert "recurrence<br/>RNN of PreviousStateCell" in mermaid(model)
