"""PyTorch's side of the comparison of training steps: `nn.LSTM`, packed where rows differ, autocast, fused Adam.

It starts from the weights that the other side wrote, and trains on the same batches. `nn.LSTM` has two biases that are
added to each other; the second stays at zero, or the sum would learn twice as fast.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from turns import held_mib, serve
from work import vocabularies


class Translator(nn.Module):
    """An LSTM encoder and an LSTM decoder, with Luong's "general" attention after it or without any."""

    def __init__(self, sizes: tuple[int, int], width: int, units: int, attention: bool, both_ways: bool) -> None:
        super().__init__()
        memory = units * (1 + both_ways)
        self.source = nn.Embedding(sizes[0], width)
        self.encoder = nn.LSTM(width, units, batch_first=True, bidirectional=both_ways)
        self.target = nn.Embedding(sizes[1], width)
        self.decoder = nn.LSTM(width, units, batch_first=True)
        self.key = nn.Linear(memory, units, bias=False) if attention else None
        self.combine = nn.Linear(memory + units, units) if attention else None
        self.logits = nn.Linear(units, sizes[1])
        self.bridge = nn.Linear(2 * memory, 2 * units) if both_ways else None

    def encode(self, source: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Reads `source [B, S]` into a memory `[B, S, M]` and the decoder's first state."""
        lengths = (source != 0).sum(1)
        embedded = self.source(source)
        if bool((lengths == source.shape[1]).all()):
            memory, (h, c) = self.encoder(embedded)
        else:
            packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
            memory, (h, c) = self.encoder(packed)
            memory, _ = pad_packed_sequence(memory, batch_first=True, total_length=source.shape[1])
        if self.bridge is not None:
            summary = torch.stack([h, c], 1).flatten(0, 1).transpose(0, 1).flatten(1)  # h, c of each direction
            h, c = (each[None].contiguous() for each in torch.tanh(self.bridge(summary)).chunk(2, 1))
        return memory, (h, c)

    def attend(
        self, hidden: torch.Tensor, keys: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Asks the memory, `hidden [B, T, U], mask [B, 1, S], true at padding -> [B, T, U]`."""
        scores = (hidden @ keys.transpose(1, 2)).float().masked_fill(mask, -1e9)
        context = scores.softmax(-1).to(memory.dtype) @ memory
        return torch.tanh(self.combine(torch.cat([context, hidden], -1)))

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Runs teacher forced, `[B, S], [B, T] -> logits [B, T, V]`."""
        memory, state = self.encode(source)
        hidden, _ = self.decoder(self.target(target), state)
        if self.key is not None:
            hidden = self.attend(hidden, self.key(memory), memory, (source == 0)[:, None])
        return self.logits(hidden)


def load(model: Translator, arrays: list[np.ndarray]) -> None:
    """Takes over the weights of the other side, in its order."""
    given = iter(torch.tensor(each) for each in arrays)

    def lstm(layer: nn.LSTM, suffix: str = "") -> None:
        for name in ("weight_ih_l0", "weight_hh_l0"):
            getattr(layer, name + suffix).copy_(next(given).T)
        getattr(layer, "bias_ih_l0" + suffix).copy_(next(given))
        getattr(layer, "bias_hh_l0" + suffix).zero_().requires_grad_(False)

    def linear(layer: nn.Linear) -> None:
        layer.weight.copy_(next(given).T)
        if layer.bias is not None:
            layer.bias.copy_(next(given))

    with torch.no_grad():
        model.source.weight.copy_(next(given))
        lstm(model.encoder)
        if model.encoder.bidirectional:
            lstm(model.encoder, "_reverse")
        model.target.weight.copy_(next(given))
        lstm(model.decoder)
        for layer in (model.key, model.combine, model.logits, model.bridge):
            if layer is not None:
                linear(layer)
    left = len(list(given))
    if left:
        raise ValueError(f"All weights must have found their place. Received: {left} too many")


def asked(description: str | None) -> tuple[Path, dict[str, Any], Any]:
    """Reads the command line: where the files are, the task, and the context of its precision; sets the threads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("directory", type=Path, help="has task.json, weights and batches")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = json.loads((options.directory / "task.json").read_text("utf-8"))
    narrow = torch.autocast("cpu", torch.bfloat16) if options.precision == "bfloat16" else contextlib.nullcontext()
    return options.directory, task, narrow


def main() -> None:
    """Trains as it is asked to."""
    directory, task, narrow = asked(__doc__)
    with np.load(directory / "weights.npz") as kept:
        arrays = list(kept.values())
    with np.load(directory / "batches.npz") as kept:
        batches = [
            tuple(
                torch.tensor(kept[f"{name}_{number}"], dtype=torch.long)
                for name in ("source_ids", "target_ids", "labels")
            )
            for number in range(len(kept.files) // 3)
        ]
    model = make_model(task, arrays)
    optimizer = torch.optim.Adam(
        [each for each in model.parameters() if each.requires_grad], 1e-3, eps=1e-12, fused=True
    )
    held, order = held_mib(), itertools.cycle(batches)

    def train() -> float:
        source, target, labels = next(order)
        optimizer.zero_grad()
        with narrow:
            logits = model(source, target)
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=0)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    losses = [train() for _ in range(3)]
    tokens = float(np.mean([int((labels != 0).sum()) for *_, labels in batches]))
    serve({"shown": losses, "held_mib": held, "tokens": tokens, "version": f"PyTorch {torch.__version__}"}, train)


def make_model(task: dict[str, Any], arrays: list[np.ndarray]) -> Translator:
    """Makes the model of a task with the other side's weights."""
    config = task["config"]
    both_ways = bool(config.get("bidirectional"))
    model = Translator(
        vocabularies(task, arrays), config["embedding_size"], config["units"], task["attention"], both_ways
    )
    load(model, arrays)
    return model


if __name__ == "__main__":
    main()
