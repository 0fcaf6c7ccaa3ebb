"""Joey NMT's side of the comparison of training steps: its recurrent model with attention and its loss.

A model of another make (no bias before the softmax, one state for h and c of the decoder), so its losses are its own;
sizes, batches and the number of tokens are those of the other sides. Its encoder reads both ways only: where theirs
reads one way, it has half as many units each way. A step is what its trainer does with a batch.
"""

from __future__ import annotations

import itertools
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from joeynmt.batch import Batch
from joeynmt.model import Model, build_model
from joeynmt.vocabulary import Vocabulary
from torch_training import asked
from turns import held_mib, serve
from work import vocabularies

UNKNOWN, PAD, START, END = range(4)
"""Its order of the special ids; the other sides have the padding first."""
SPECIALS = {"unk": UNKNOWN, "pad": PAD, "bos": START, "eos": END}


def make_model(directory: Path, task: dict[str, Any]) -> Model:
    """Makes a model of the task's sizes with random weights."""
    config = task["config"]
    with np.load(directory / "weights.npz") as kept:
        sizes = vocabularies(task, list(kept.values()))
    torch.manual_seed(1)
    embeddings = {"embeddings": {"embedding_dim": config["embedding_size"]}, "rnn_type": "lstm"}
    units = config["units"]
    encoder = {"type": "recurrent", "hidden_size": units if config["bidirectional"] else units // 2, **embeddings}
    decoder = {"type": "recurrent", "hidden_size": units, "attention": "luong", "input_feeding": False, **embeddings}
    model = build_model({"encoder": encoder, "decoder": decoder}, *(_vocabulary(size) for size in sizes))
    model.loss_function = ("crossentropy", 0.0)
    return model


def _vocabulary(size: int) -> Vocabulary:
    ids = {f"{name}_id": id for name, id in SPECIALS.items()}
    names = SimpleNamespace(**ids, **{f"{name}_token": name for name in SPECIALS}, sep_token=None, lang_tags=[])
    return Vocabulary([f"token {number}" for number in range(len(SPECIALS), size)], names)


def make_batch(source: np.ndarray, labels: np.ndarray | None = None) -> Batch:
    """Makes one of its batches of `source [B, S]` and `labels [B, T]`, sorted by length as its trainer does."""
    source_ids, target = torch.tensor(_with_its_ids(source)), None
    if labels is not None:
        target = torch.tensor(_with_its_ids(np.pad(labels, [[0, 0], [1, 0]], constant_values=START)))
    lengths = (source_ids != PAD).sum(1)
    numbers = torch.arange(len(source_ids))
    batch = Batch(source_ids, lengths, None, target, None, numbers, torch.device("cpu"), PAD, END)
    batch.sort_by_src_length()
    return batch


def _with_its_ids(ids: np.ndarray) -> np.ndarray:
    return np.where(ids == 0, PAD, np.where(ids == 1, UNKNOWN, ids)).astype(np.int64)


def main() -> None:
    """Trains as it is asked to."""
    directory, task, narrow = asked(__doc__)
    with np.load(directory / "batches.npz") as kept:
        numbers = range(len(kept.files) // 3)
        batches = [make_batch(kept[f"source_ids_{each}"], kept[f"labels_{each}"]) for each in numbers]
    model = make_model(directory, task).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-12, fused=True)
    held, order = held_mib(), itertools.cycle(batches)

    def train() -> float:
        batch = next(order)
        with narrow:
            summed, *_ = model(return_type="loss", **vars(batch))
        loss = batch.normalize(summed, normalization="tokens")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    losses = [train() for _ in range(3)]
    tokens = float(np.mean([batch.ntokens for batch in batches]))
    version = f"Joey NMT {metadata.version('joeynmt')}, PyTorch {torch.__version__}"
    serve({"shown": losses, "held_mib": held, "tokens": tokens, "version": version}, train)


if __name__ == "__main__":
    main()
