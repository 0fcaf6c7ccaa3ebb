"""Text to ids and back by what an export says of itself: what the other hosts in Python share, without kerass2s."""

import base64
import sys
import zlib
from collections.abc import Callable

import numpy as np
import sentencepiece


class Text:
    """The two tokenizers of an export.

    Args:
        description: metadata_props of an ONNX file, or the JSON in a SavedModel's assets.extra/kerass2s.json.
    """

    def __init__(self, description: dict[str, str]) -> None:
        self.end = int(description["end_id"])
        self.source, self.target = (
            sentencepiece.SentencePieceProcessor(model_proto=zlib.decompress(base64.b64decode(description[key])))
            for key in ("source_sentencepiece", "target_sentencepiece")
        )

    def feeds(self, texts: list[str]) -> dict[str, np.ndarray]:
        """Returns `source_ids` int32 [B, S], each row with its END and then padding, and `source_lengths` int32 [B]."""
        rows = [[*self.source.encode(text), self.end] for text in texts]
        ids = np.zeros([len(rows), max(map(len, rows))], np.int32)  # pad is 0
        for row, into in zip(rows, ids, strict=True):
            into[: len(row)] = row
        return {"source_ids": ids, "source_lengths": np.array([len(row) for row in rows], np.int32)}

    def best(self, target_ids: np.ndarray, target_lengths: np.ndarray) -> list[str]:
        """Returns the text of each row's first hypothesis: `target_ids` [B, K, T], `target_lengths` [B, K]."""
        rows = zip(target_ids[:, 0].tolist(), target_lengths[:, 0].tolist(), strict=True)
        return self.target.decode([ids[:length] for ids, length in rows])


def answer_lines(answer: Callable[[list[str]], list[str]], batch: int = 50) -> None:
    """Answers each line of the standard input, a batch at a time."""
    lines = sys.stdin.read().split("\n")[:-1]
    for start in range(0, len(lines), batch):
        print("\n".join(answer(lines[start : start + batch])))
