"""Times decoding against PyTorch's: the same weights, sources and answers, all sides by turns.

    make benchmark                                               # installs PyTorch beside, and runs everything
    python benchmarks/peers/compare_decoding.py --task pronunciations --batch 1 --width 1 --threads 1

Every side is a process of its own: the live model, its SavedModel, its ONNX file in float32 and in int8, and a PyTorch
loop with everything made once that can be, with and without jemalloc preloaded where Debian's libjemalloc2 is
installed. All go from ids to ids, and all in float32 must give the same answers; how many int8 gives is shown. Then
they take turns: in one, all sources are decoded, so many at a time. The ratio of each round is one figure; shown are
their median and quartiles.

Joey NMT's own greedy and beam search run over its model of the same sizes, with random weights, and write as many
tokens for each source as ours do on average. For pronunciations there is `g2p_en` of PyPI too, the model that users
install for it: another model, in NumPy, one word at a time.

Two sides are a matmul of large matrices and a sum of arrays as large as the weights of a decoder's step: the rates that
they reach are what the machine can do at that moment, and `work.py` counts what the answers take.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from schedule import HERE, PEERS, ROOT, Running, Side, jemalloc, keep, ratio, start, take_turns
from work import Limits, Model, Work, decoding, told

RESULTS = ROOT / "docs" / "decoding_against_pytorch.json"
TASKS: dict[str, dict[str, Any]] = {
    "pronunciations": {
        "preset": str(ROOT / "tests" / "trained" / "g2p_quickstart"),
        "attention": True,
        "config": {"units": 128, "embedding_size": 64, "bidirectional": True},
        "sentences": 128,
        "limit": 40,
    },
    "sentences": {
        "vocabulary": 8000,
        "length": 20,
        "attention": True,
        "config": {"units": 512, "embedding_size": 256, "bidirectional": True, "bridge": "dense"},
        "sentences": 64,
        "limit": 24,
    },
}
"""A trained model on words that it never saw, and one of random weights of the size of a translator."""
FORMS = ("live", "saved_model", "onnx", "int8")
OTHER = "Joey NMT"
INEXACT = ("int8", "g2p_en", OTHER)
"""The sides that need not give the same answers."""


def sides(name: str, directory: Path, batch: int, width: int, options: argparse.Namespace) -> list[Side]:
    """Names the sides of a case; ONNX comes first, which the others are compared with."""
    given = (str(directory), "--batch", str(batch), "--width", str(width))
    order = sorted(FORMS, key=lambda form: form != "onnx")
    found = [Side(form, "keras_decoding.py", (*given, "--form", form)) for form in order]
    found.append(Side("PyTorch", "torch_decoding.py", given, str(options.peers)))
    if options.preload:
        found.append(Side("PyTorch, jemalloc", "torch_decoding.py", given, str(options.peers), options.preload))
    if name == "pronunciations" and (batch, width) == (1, 1) and options.g2p_en:
        found.append(Side("g2p_en", "g2p_en_decoding.py", (str(directory),), str(options.peers)))
    return found


def prepare(task: dict[str, Any], widths: list[int], directory: Path) -> None:
    """Writes what all cases of a task share."""
    (directory / "task.json").write_text(json.dumps({**task, "widths": widths}), "utf-8")
    command = [sys.executable, str(HERE / "keras_decoding.py"), str(directory), "--write"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def check_answers(running: list[Running]) -> dict[str, float]:
    """Returns the share of each side's answers that are the first one's; ends where a side differs that must not."""
    expected, shares = running[0].shown["shown"], {}
    for each in running:
        same = sum(one == other for one, other in zip(each.shown["shown"], expected, strict=True))
        shares[each.side.name] = round(same / len(expected), 3)
        if same < len(expected) and each.side.name not in INEXACT:
            raise SystemExit(
                f"All sides must give the same answers. Received: {same} of {len(expected)} by {each.side.name}"
            )
    return shares


def machine(
    task: dict[str, Any], directory: Path, batch: int, width: int, answers: list[list[int]]
) -> tuple[list[Side], Work]:
    """Names the two sides of the machine, and counts what all answers take; of what our side wrote."""
    with np.load(directory / "weights.npz") as kept:
        model = Model.of(task, list(kept.values()))
    with np.load(directory / "sources.npz") as kept:
        lengths, work = kept["lengths"], Work()
    for begin in range(0, len(lengths), batch):
        part = slice(begin, begin + batch)
        steps = min(max(map(len, answers[part])) + 1, task["limit"])
        work += decoding(model, len(lengths[part]), int(lengths[part].max()), steps, width)
    held = 4 * model.step_weights() / 2**20
    return [Side("matmul", "matmul.py", ()), Side("memory", "memory.py", ("--mib", f"{held:.2f}"))], work


def compare(name: str, directory: Path, batch: int, width: int, options: argparse.Namespace) -> dict[str, Any]:
    """Lets the sides of a case take turns and returns what came of it."""
    ours, *others = sides(name, directory, batch, width, options)
    running = [start(ours, options.threads)]
    written = sum(len(answer) + 1 for answer in running[0].shown["shown"]) / len(running[0].shown["shown"])
    steps = ("--batch", str(batch), "--width", str(width), "--steps", str(min(round(written), TASKS[name]["limit"])))
    others.append(Side(OTHER, "joeynmt_decoding.py", (str(directory), *steps), str(options.peers)))
    running += [start(side, options.threads) for side in others]
    shares = check_answers(running)
    limit_sides, work = machine(TASKS[name], directory, batch, width, running[0].shown["shown"])
    matmul, memory = (start(side, options.threads) for side in limit_sides)
    take_turns([*running, matmul, memory], options.rounds, 1)
    limits = Limits.of(matmul, memory, options.clock)
    sentences, found = TASKS[name]["sentences"], {}
    for each in running:
        found[each.side.name] = {
            "sentences_per_second": round(sentences / each.median(options.clock), 1),
            "wall_milliseconds": round(1000 * each.median("wall") * batch / sentences, 3),
            "processor_milliseconds": round(1000 * each.median("processor") * batch / sentences, 3),
            "same_answers": shares[each.side.name],
            "onnx_is_faster": ratio(running[0], each, options.clock),
        }
        if each.side.name not in INEXACT:
            found[each.side.name] |= limits.reached(work, each.median(options.clock))
    for each in [*running, matmul, memory]:
        each.close()
    return {**limits.shown(work * (batch / sentences)), "sides": found}


def main(arguments: list[str] | None = None) -> int:
    """Compares what is asked, shows it and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", choices=list(TASKS), help="all without it")
    parser.add_argument("--batch", action="append", type=int, help="sources at a time; 1 and 64 without it")
    parser.add_argument("--width", action="append", type=int, help="of the beam, 1 for greedy; 1 and 5 without it")
    parser.add_argument("--threads", action="append", type=int, help="of every side; 1 and 2 without it")
    parser.add_argument("--rounds", type=int, default=7, help="how often each side takes its turn")
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall", help="what the ratios are of")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the Python that has PyTorch")
    parser.add_argument("--preload", default=jemalloc(), help="libjemalloc.so.2; without it that side is left out")
    parser.add_argument("--g2p-en", action=argparse.BooleanOptionalAction, default=True, help="time that package too")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file to put them in")
    options = parser.parse_args(arguments)
    widths, asked_threads = options.width or [1, 5], options.threads or [1, 2]
    for name in options.task or TASKS:
        with tempfile.TemporaryDirectory() as folder:
            prepare(TASKS[name], widths, Path(folder))
            for width, batch, threads in itertools.product(widths, options.batch or [1, 64], asked_threads):
                options.threads = threads
                case = f"{name}, {'greedy' if width == 1 else f'beam {width}'}, batch {batch}, threads {threads}"
                run = compare(name, Path(folder), batch, width, options)
                keep(options.results, case, options, run)
                show(case, run)
    return 0


def show(case: str, run: dict[str, Any]) -> None:
    """Prints one case."""
    print(f"\n{case}; {told(run)}", flush=True)
    for side, figures in run["sides"].items():
        spread = "{ratio:.2f} ({low:.2f} to {high:.2f})".format(**figures["onnx_is_faster"])
        reached = ""
        if "of_matmul_rate" in figures:
            shares = "{of_matmul_rate:.0%} of the matmul rate, {of_memory_rate:.0%} of the bandwidth, "
            reached = shares.format(**figures)
        print(
            f"  {side:18} {figures['sentences_per_second']:8} sources/s, {figures['same_answers']:.0%} the same, "
            f"{reached}ONNX is {spread} times as fast",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
