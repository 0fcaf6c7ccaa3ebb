"""Joey NMT's side of the comparison of decoding: its own greedy and beam search over its recurrent model.

Its weights are random, so it is told how many tokens to write: as many for each source as the other sides do on
average.
"""

from __future__ import annotations

import argparse
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from joeynmt.search import search
from joeynmt_training import make_batch, make_model
from turns import serve


def main() -> None:
    """Decodes as it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="has task.json and sources")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=int, default=1, help="of the beam; 1 is greedy")
    parser.add_argument("--steps", type=int, required=True, help="how many tokens to write")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = json.loads((options.directory / "task.json").read_text("utf-8"))
    model = make_model(options.directory, task).eval()
    with np.load(options.directory / "sources.npz") as kept:
        ids, lengths = kept["ids"], kept["lengths"]
    places = [slice(begin, begin + options.batch) for begin in range(0, len(ids), options.batch)]
    batches = [make_batch(ids[each, : lengths[each].max()]) for each in places]

    def decode() -> list[list[int]]:
        found: list[list[int]] = []
        for batch in batches:
            written, *_ = search(model, batch, options.steps, options.width, -1, min_output_length=options.steps)
            found += written.tolist()
        return found

    version = f"Joey NMT {metadata.version('joeynmt')}, PyTorch {torch.__version__}"
    serve({"shown": decode(), "version": version}, decode)


if __name__ == "__main__":
    main()
