"""PyTorch's side of the comparison of decoding: loops for greedy and beam search with everything made once that can be.

Made once are, of a source, the keys and memory of its attention, and of the model the decoder's input projection of
each token, so that a step looks its input up and multiplies by the recurrent weights alone. Buffers have their full
length from the beginning; a search ends when all its hypotheses have.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch_training import Translator, make_model
from turns import serve

START_ID, END_ID = 2, 3
IMPOSSIBLE_IDS = [0, START_ID]
IMPOSSIBLE = -1e9
State = tuple[torch.Tensor, torch.Tensor]


class Searcher:
    """Decodes with a model.

    Args:
        model: the model, in evaluation.
        limit: the most tokens of an output, its end included.
    """

    def __init__(self, model: Translator, limit: int) -> None:
        decoder = model.decoder
        self.model = model
        self.limit = limit
        self.table = model.target.weight @ decoder.weight_ih_l0.T + decoder.bias_ih_l0 + decoder.bias_hh_l0
        self.recurrent = decoder.weight_hh_l0.T.contiguous()

    def begin(self, source: torch.Tensor) -> tuple[State, tuple[torch.Tensor, ...]]:
        """Encodes `source [B, S]`: the first state, and what a step asks of the source."""
        memory, (h, c) = self.model.encode(source)
        asked = () if self.model.key is None else (self.model.key(memory), memory, source == 0)
        return (h[0], c[0]), asked

    def step(self, ids: torch.Tensor, state: State, asked: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, State]:
        """Steps, `ids [N] -> logits [N, V], next state`; with K beams N is B K, and what is asked stays [B, ...]."""
        h, c = state
        i, f, g, o = torch.addmm(self.table[ids], h, self.recurrent).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        hidden = h = torch.sigmoid(o) * torch.tanh(c)
        if asked:
            keys, memory, padding = asked
            query = h.view(len(keys), -1, h.shape[1])
            scores = torch.bmm(query, keys.transpose(1, 2)).masked_fill(padding[:, None], IMPOSSIBLE)
            context = torch.bmm(scores.softmax(-1), memory).view(len(h), -1)
            hidden = torch.tanh(self.model.combine(torch.cat([context, h], 1)))
        return self.model.logits(hidden), (h, c)

    def greedy(self, source: torch.Tensor) -> torch.Tensor:
        """Takes the likeliest token at each step, `[B, S] -> [B, at most limit]`, 0 after the end."""
        state, asked = self.begin(source)
        ids = torch.full([len(source)], START_ID)
        found, ended = torch.zeros([len(source), self.limit], dtype=torch.long), torch.zeros_like(ids, dtype=torch.bool)
        for t in range(self.limit):
            logits, state = self.step(ids, state, asked)
            logits[:, IMPOSSIBLE_IDS] = IMPOSSIBLE
            ids = logits.argmax(1).masked_fill(ended, 0)
            found[:, t] = ids
            ended |= ids == END_ID
            if bool(ended.all()):
                break
        return found

    def beam(self, source: torch.Tensor, width: int) -> torch.Tensor:
        """Searches with K beams and a pool of the K best that have ended, `[B, S] -> the best [B, limit]`."""
        (h, c), asked = self.begin(source)
        rows = len(source)
        h, c = h.repeat_interleave(width, 0), c.repeat_interleave(width, 0)
        first = torch.arange(rows)[:, None] * width
        scores = torch.full([rows, width], IMPOSSIBLE)
        scores[:, 0] = 0
        ids = torch.full([rows * width], START_ID)
        tokens = torch.zeros([rows, width, self.limit], dtype=torch.long)
        pool, pooled = torch.full([rows, width], IMPOSSIBLE), tokens
        for t in range(self.limit):
            logits, (h, c) = self.step(ids, (h, c), asked)
            size = logits.shape[1]
            log_probs = logits.log_softmax(1)
            log_probs[:, IMPOSSIBLE_IDS] = IMPOSSIBLE
            sums = scores[:, :, None] + log_probs.view(rows, width, size)
            best, picks = sums.flatten(1).topk(width)
            parents, chosen = picks // size, picks % size
            order = (parents + first).flatten()
            h, c, ids = h[order], c[order], chosen.flatten()
            tokens = tokens.view(rows * width, -1)[order].view(rows, width, -1)
            tokens[:, :, t] = chosen
            exists = best > IMPOSSIBLE / 2
            ends = (chosen == END_ID) | (t + 1 == self.limit)
            pool, kept = torch.cat([pool, best.masked_fill(~(exists & ends), IMPOSSIBLE)], 1).topk(width)
            pooled = torch.cat([pooled, tokens], 1).gather(1, kept[:, :, None].expand(-1, -1, self.limit))
            live = best.masked_fill(ends | ~exists, IMPOSSIBLE)
            scores = live.masked_fill(live.amax(1, keepdim=True) <= pool[:, -1:], IMPOSSIBLE)
            if not bool((scores > IMPOSSIBLE / 2).any()):
                break
        return pooled[:, 0]


def main() -> None:
    """Decodes as it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="has task.json, weights and sources")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=int, default=1, help="of the beam; 1 is greedy")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = json.loads((options.directory / "task.json").read_text("utf-8"))
    with np.load(options.directory / "weights.npz") as kept:
        model = make_model(task, list(kept.values())).eval()
    with np.load(options.directory / "sources.npz") as kept:
        source = torch.tensor(kept["ids"], dtype=torch.long)
    batches = [cut(each) for each in source.split(options.batch)]
    with torch.inference_mode():
        searcher = Searcher(model, task["limit"])

    @torch.inference_mode()
    def decode() -> list[list[int]]:
        found: list[list[int]] = []
        for batch in batches:
            ids = searcher.greedy(batch) if options.width == 1 else searcher.beam(batch, options.width)
            found += ids.tolist()
        return found

    shown = [[each for each in row if each > END_ID] for row in decode()]
    serve({"shown": shown, "version": f"PyTorch {torch.__version__}"}, decode)


def cut(rows: torch.Tensor) -> torch.Tensor:
    """Cuts off what is padding in all rows."""
    return rows[:, : int((rows != 0).sum(1).max())]


if __name__ == "__main__":
    main()
