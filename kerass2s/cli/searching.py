"""What `--search` and `--lexicon` mean, wherever a command has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kerass2s.cli.app import quiet_tensorflow
from kerass2s.errors import DataError

if TYPE_CHECKING:
    from kerass2s.codec import Codec
    from kerass2s.decoding import Lexicon

__all__ = ["FILTERS", "SEARCHES", "LexiconOption", "SearchOption", "check_search", "read_lexicon", "searches"]

SearchOption = Annotated[
    str | None,
    typer.Option("--search", metavar="S", help="How to decode: greedy, beam:5, sample:4,top_p=0.9 ...; see below."),
]
LexiconOption = Annotated[
    str | None,
    typer.Option("--lexicon", metavar="FILE", help="Allow these outputs alone, one a line; an export keeps its own."),
]

SEARCHES = {
    "greedy": "the likeliest token at every step",
    "greedy:max_length=40": "at most so many tokens, not 256; for every search",
    "beam:5": "the likeliest outputs, 5 side by side",
    "beam:5,length_penalty=0.6": "sums over ((5 + length) / 6) to this power",
    "beam:5,length_penalty=1,normalization=plain": "sums over the length: means",
    "beam:5,word_reward=0.2": "nats for each token, where outputs are too short",
    "beam:5,coverage_penalty=0.2": "costs what attention left out of the source",
    "beam:6,groups=3,diversity=0.5": "groups of beams that avoid each other's tokens",
    "sample:4,temperature=0.8": "4 draws, the likeliest first",
    "sample:temperature=0.8,top_k=40,top_p=0.9,seed=7": "one draw, of the likeliest tokens alone",
    "mbr:16,metric=chrf,temperature=0.8,seed=1": "of 16 draws the one most like the others",
    "mbr:16,metric=token_error_rate": "likewise, by edits of tokens",
    "rollout:24": "24 steps, where targets are vectors",
}
"""Every strategy and its settings, each with what it does."""

FILTERS = {
    "min_length=2": "at least so many tokens",
    "min_ratio=0.5": "at least so many for each of the source, its end counted",
    "max_ratio=2": "at most so many for each",
    "no_unknown": "never the unknown token",
    "banned=7+12": "never these token ids",
    "forced=7+12": "all of these, anywhere",
    "prefix=7+12": "these first",
    "no_repeat_ngram=3": "no 3 tokens twice in the same order",
    "repetition_penalty=1.2": "what was said costs so many times more",
    "monotonic=3+1": "attention moves on: from 1 back to 3 ahead",
    "copy_unknown": "for an unknown token what attention points to",
}
"""Every setting that goes after any search of tokens; a lexicon has an option of its own."""


def searches() -> str:
    """Returns the end of the help of a command with `--search`: what S may be, by example."""
    after = {f"greedy:{key}": what for key, what in FILTERS.items()}
    blocks = [("S is one of", SEARCHES), ("Rules and copying go with any S but rollout", after)]
    lines = [f"{title}:\n\n\b\n" + "\n".join(map(_line, rows, rows.values())) for title, rows in blocks]
    return "\n\n".join([*lines, "Token ids are those of `model.target_tokenizer.encode(text)` in Python."])


def _line(spec: str, what: str) -> str:
    return f"  {spec:<49} {what}"


def check_search(search: str | None) -> None:
    """Refuses a wrong search before anything is loaded."""
    if search is not None:
        quiet_tensorflow()
        from kerass2s.decoding import parse_search

        parse_search(search)


def read_lexicon(file: str, codec: Codec) -> Lexicon:
    """Reads the outputs that are allowed, one a line.

    Raises:
        ConfigError: the targets are no tokens.
        DataError: a line is empty, or the target vocabulary cannot spell it; the message names the file and the line.
    """
    from kerass2s.data import read_sources
    from kerass2s.decoding import Lexicon
    from kerass2s.text import UNKNOWN_ID

    codec.need_tokens("--lexicon")
    tokenizer, texts = codec.target_tokenizer, read_sources(file)
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise DataError(f"{file}:{number}: the line is empty. Received: {text!r}")
        if UNKNOWN_ID in tokenizer.encode(text):
            raise DataError(f"{file}:{number}: the target vocabulary cannot spell it. Received: {text!r}")
    return Lexicon.of(tokenizer, texts)
