"""Changes the code of search and feedings in small ways, one at a time, and looks whether the quick tests notice.

    python .ci/mutants.py --seconds 1800

A mutant is one change: a comparison or an operator becomes its neighbour, a number one more, a condition its contrary,
`where` takes its branches the other way round. Mutants are drawn by a seed, file by file in turn, until the time is up.
The tests of the file run on each in a process that is forked after the long imports, and end at the first failure:
those with the first of their parameters before the others, and quick ones before slow ones. A line of JSON is printed
for each mutant, and the counts at the end. What survives is explained in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SEARCH = "tests/decoding/test_search.py"
SPEC = "tests/decoding/test_spec.py"
PLAN = {
    "kerass2s/decoding/search.py": [SEARCH, "tests/decoding/test_diverse.py", "tests/decoding/test_rollout.py"],
    "kerass2s/decoding/beam.py": [SPEC, SEARCH, "tests/decoding/test_diverse.py", "tests/decoding/test_ranking.py"],
    "kerass2s/decoding/rows.py": [SEARCH, "tests/decoding/test_sampling.py", "tests/decoding/test_ranking.py"],
    "kerass2s/decoding/greedy.py": [SPEC, SEARCH],
    "kerass2s/decoding/sampling.py": [SPEC, "tests/decoding/test_sampling.py"],
    "kerass2s/decoding/filters.py": [SPEC, "tests/decoding/test_filters.py"],
    "kerass2s/decoding/lexicon.py": ["tests/decoding/test_lexicon.py"],
    "kerass2s/decoding/ranking.py": [SPEC, "tests/decoding/test_ranking.py", SEARCH],
    "kerass2s/decoding/noise.py": ["tests/decoding/test_noise.py"],
    "kerass2s/decoding/copying.py": ["tests/decoding/test_copying.py"],
    "kerass2s/decoding/risk.py": [SPEC, "tests/decoding/test_risk.py"],
    "kerass2s/decoding/rollout.py": [SPEC, "tests/decoding/test_rollout.py"],
    "kerass2s/decoding/checks.py": [SPEC, SEARCH],
    "kerass2s/decoding/spec.py": [SPEC],
    "kerass2s/training/feeding.py": ["tests/training/test_feeding.py"],
    "kerass2s/training/feedback.py": ["tests/training/test_feeding.py"],
    "kerass2s/training/decay.py": ["tests/training/test_feeding.py"],
    "kerass2s/training/truncation.py": ["tests/training/test_truncation.py"],
}
"""The tests of each file, those that are likeliest to notice first."""

SLOW_IMPORTS = ("numpy", "tensorflow", "keras", "tensorflow_text", "sacrebleu", "onnx", "pytest")
PATIENCE = 20
"""Seconds that a test may compute beyond ten times what it does without a change; more is endless, which is noticed."""

OPERATORS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
CALLS = {
    "reduce_max": "reduce_min",
    "reduce_min": "reduce_max",
    "reduce_any": "reduce_all",
    "maximum": "minimum",
    "minimum": "maximum",
    "argmax": "argmin",
    "max": "min",
    "min": "max",
    "zeros": "ones",
    "ones": "zeros",
    "all": "any",
    "any": "all",
}


class Mutant(NamedTuple):
    """A file with one change."""

    file: str
    line: int
    before: str
    after: str
    source: bytes


# === Changes ===


def changed(node: ast.AST) -> ast.AST | None:
    """Returns another node that a mutant has in a node's place; None where there is none."""
    other: Any = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        other.ops[0] = OPERATORS[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OPERATORS:
        other.op = OPERATORS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp):
        other = other.operand
    elif isinstance(node, ast.IfExp):
        other.body, other.orelse = other.orelse, other.body
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        other.value += 1
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        other.value = not node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        if name == "where" and len(node.args) == 3:
            other.args[1:] = other.args[:0:-1]
        elif name in CALLS:
            setattr(other.func, "attr" if isinstance(node.func, ast.Attribute) else "id", CALLS[name])
        else:
            return None
    else:
        return None
    return other


def expressions(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what computes anything: no annotation, no text, no message of an error, no decorator, no type variable."""
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            yield from expressions(part)
        return
    if isinstance(node, ast.AnnAssign):
        yield from expressions(node.value) if node.value else ()
        return
    if isinstance(node, ast.FunctionDef):
        for part in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            yield from expressions(part)
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from expressions(child)


def mutants(file: str) -> list[Mutant]:
    """Returns all mutants of a file."""
    source = (ROOT / file).read_bytes()
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    found = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and any(isinstance(each, ast.Constant) for each in [statement.value]):
            continue  # a limit of this package's own choice
        for node in expressions(statement):
            other = changed(node)
            if other is None:
                continue
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            before, after = source[begin:end].decode(), ast.unparse(other)
            mutated = source[:begin] + f"({after})".encode() + source[end:]
            if isinstance(node, ast.Compare | ast.BinOp) and len(before) > 200:
                continue  # a type made of others
            found.append(Mutant(file, node.lineno, " ".join(before.split()), after, mutated))
    return found


def drawn(seed: int, only: str) -> Iterator[Mutant]:
    """Yields the mutants of all files in turn, of each in an order that the seed decides."""
    draw = random.Random(seed)
    queues = [draw.sample(found, len(found)) for file in PLAN if only in file for found in [mutants(file)]]
    while queues := [queue for queue in queues if queue]:
        for queue in queues:
            yield queue.pop()


# === Running ===


class Few:
    """Lets pytest run each test with the first of its parameters alone, and notes the seconds that it took."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leaves out the others."""
        first = {test_of(item): item for item in reversed(items)}
        items[:] = [item for item in items if item is first[test_of(item)]]

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """Adds what preparing, running and tidying took."""
        self.seconds[test_of(item)] = self.seconds.get(test_of(item), 0.0) + call.duration

    def pytest_sessionfinish(self) -> None:
        """Leaves the notes to the process that this one was forked from."""
        self.notes.write_text(json.dumps(self.seconds))


class QuickFirst:
    """Lets pytest run what may notice soonest first, each test for no longer than it may take."""

    def __init__(self, seconds: dict[str, float], few: bool) -> None:
        self.seconds = seconds
        self.few = few

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Puts the first parameters of all tests before the others, or alone, the quickest tests first."""
        first = {test_of(item): item for item in reversed(items)}
        items.sort(key=lambda item: (item is not first[test_of(item)], self.seconds[test_of(item)]))
        if self.few:
            del items[len(first) :]

    def pytest_runtest_setup(self, item: Any) -> None:
        """Ends the process when the test has computed for far longer than it does without a change."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        longest = used.ru_utime + used.ru_stime + PATIENCE + 10 * self.seconds[test_of(item)]
        resource.setrlimit(resource.RLIMIT_CPU, (int(longest), resource.RLIM_INFINITY))
        signal.alarm(10 * PATIENCE)  # for one that waits


def test_of(item: Any) -> str:
    """Returns the name of a test without its parameters."""
    return f"{item.path.name}::{item.originalname}"


def tried(tests: list[str], plugin: object) -> str:
    """Returns what tests make of the code as it stands: "killed", "survived" or "endless"."""
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests], [plugin])))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "survived" if status == 0 else "killed" if status > 0 else "endless"


def copied(place: Path) -> None:
    """Copies what the tests need, so that nothing here changes; TensorFlow reads the source of a function anew."""
    for name in ("kerass2s", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copy(ROOT / "pyproject.toml", place)
    for file in PLAN:  # what Python has compiled would be taken for a mutant of the same length
        for compiled in (place / file).parent.glob(f"__pycache__/{Path(file).stem}.*"):
            compiled.unlink()
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(place))
    os.chdir(place)


def run(asked: argparse.Namespace) -> dict[str, Counter[str]]:
    """Tries mutants in the copy until the time is up, and returns how many were what."""
    end = time.monotonic() + asked.seconds
    counts: dict[str, Counter[str]] = {file: Counter() for file in PLAN if asked.only in file}
    everything = sorted({test for file in counts for test in PLAN[file]})
    notes = Path("seconds.json")
    if tried(everything, Few(notes)) != "survived":
        raise SystemExit(f"These tests fail without any change: {everything}")
    quick_first = QuickFirst(json.loads(notes.read_text()), asked.few)
    for mutant in drawn(asked.seed, asked.only):
        if time.monotonic() > end:
            break
        if asked.line not in (None, mutant.line):
            continue
        Path(mutant.file).write_bytes(mutant.source)
        found = tried(PLAN[mutant.file], quick_first)
        Path(mutant.file).write_bytes((ROOT / mutant.file).read_bytes())
        counts[mutant.file][found] += 1
        print(json.dumps({"found": found, **mutant._asdict(), "source": None}, ensure_ascii=False), flush=True)
    return counts


def main() -> int:
    """Tries mutants until the time is up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=2014)
    parser.add_argument("--only", default="", help="a part of the files' paths, such as decoding/beam")
    parser.add_argument("--line", type=int, help="the mutants of this line alone")
    parser.add_argument("--few", action="store_true", help="leave out all but the first parameters of each test")
    asked = parser.parse_args()
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as place:
        copied(Path(place))
        counts = run(asked)
    for file, count in counts.items():
        print(f"{file}: {dict(count)} of {len(mutants(file))}")
    total = sum(counts.values(), Counter())
    print(f"noticed {total.total() - total['survived']} of {total.total()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
