"""Writes the generated parts of docs/zoo.md: the table of figures, and each architecture's section with its diagram.

Run `python docs/make_zoo.py` after a change of the zoo or of docs/zoo_results.json; `--check` only tells if
that is due. What stands outside the two pairs of markers is written by hand and left alone.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kerass2s import zoo
from kerass2s.diagrams import mermaid
from kerass2s.text import SentencePieceTokenizer

PAGE = Path(__file__).parent / "zoo.md"
RESULTS = Path(__file__).parent / "zoo_results.json"


def replaced(page: str, part: str, text: str) -> str:
    """Returns the page with the text between the markers of a part."""
    before, begin, rest = page.partition(f"<!-- {part} -->\n")
    _, end, after = rest.partition(f"<!-- end of {part} -->")
    if not begin or not end:
        raise SystemExit(f"docs/zoo.md lacks the markers of the part {part!r}.")
    return before + begin + "\n" + text.strip() + "\n\n" + end + after


def table(results: dict[str, Any]) -> str:
    """The figures of each architecture on both tasks, best first on pronunciations."""
    lines = [
        "| architecture | SCAN: exact match | pronunciations: word error rate | phone error rate | weights (both) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, tasks in sorted(results.items(), key=lambda item: -item[1]["pronunciations"]["sequence_accuracy"]):
        scan, pron = tasks["scan"], tasks["pronunciations"]
        lines.append(
            f"| [`{name}`](#{name}) | {scan['sequence_accuracy']:.1%} | {1 - pron['sequence_accuracy']:.1%} "
            f"| {pron['token_error_rate']:.1%} | {scan['weights'] / 1e6:.2f} M, {pron['weights'] / 1e6:.2f} M |"
        )
    one = next(iter(results.values()))
    dates = sorted({task["date"] for tasks in results.values() for task in tasks.values()})
    lines += [
        "",
        f"Dev figures of {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}, greedy search, one seed: "
        f"{one['scan']['steps']:,} steps on SCAN simple ({one['scan']['dev_pairs']:,} dev commands), "
        f"{one['pronunciations']['steps']:,} steps on pronunciations ({one['pronunciations']['dev_pairs']:,} dev "
        "words), 64 pairs a step.",
    ]
    return "\n".join(lines)


def section(name: str) -> str:
    """One architecture: what it is, when to use it, its paper, settings and diagram."""
    module = zoo.entry(name)
    _, _, about = inspect.getdoc(module).partition("\n")
    title = inspect.getdoc(module).partition("\n")[0].removeprefix(f"{name}: ")
    default, paper = asdict(module.Config()), asdict(module.PRESETS["paper"])
    rows = [f"| `{key}` | `{value!r}` | `{paper[key]!r}` |" for key, value in default.items()]
    tokenizer = SentencePieceTokenizer.train(["abcd"], "char")
    model = zoo.build(name, source_tokenizer=tokenizer, target_tokenizer=tokenizer)
    return "\n".join(
        [
            f"## {name}",
            "",
            title[0].upper() + title[1:],
            "",
            about.strip(),
            "",
            module.CITATION,
            "",
            "| setting | default | paper |",
            "| --- | --- | --- |",
            *rows,
            "",
            "```mermaid",
            mermaid(model).strip(),
            "```",
            "",
        ]
    )


def main() -> int:
    """Writes the page; with --check, returns 1 if it would change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    before = PAGE.read_text("utf-8")
    page = replaced(before, "figures", table(json.loads(RESULTS.read_text("utf-8"))))
    page = replaced(page, "architectures", "\n".join(section(name) for name in zoo.names()))
    if options.check:
        return int(page != before)
    PAGE.write_text(page, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
