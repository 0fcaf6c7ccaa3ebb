"""The side of `g2p_en`, the package of PyPI that users install for pronunciations: its NumPy network, word by word.

What it looks up for known words (a dictionary, and a tagger for words of two pronunciations) is corpora that NLTK
downloads; they are left out, as the network alone is compared.
"""

from __future__ import annotations

import argparse
import json
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np
from turns import serve


def main() -> None:
    """Says the words of the other sides as often as it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="has sources.npz and the words that they are")
    parser.add_argument("--threads", type=int, default=1, help="NumPy has those of its environment")
    options = parser.parse_args()
    with mock.patch("nltk.download"), mock.patch("nltk.corpus.cmudict", mock.Mock()):
        from g2p_en import G2p

        network = G2p()
    words = json.loads((options.directory / "words.json").read_text("utf-8"))

    def say() -> list[list[str]]:
        return [network.predict(word) for word in words]

    serve({"shown": say(), "version": f"g2p_en {metadata.version('g2p_en')}, NumPy {np.__version__}"}, say)


if __name__ == "__main__":
    main()
