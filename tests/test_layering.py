"""The house keeps its order: imports go down only, and every file says in one sentence what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kerass2s"

# From the ground up; docs/architecture.md shows the same order. A room may import only the rooms above it in this list.
ORDER = [
    "errors",
    "files",
    "downloads",
    "text",
    "attention",
    "context",
    "dropout",
    "fused",
    "projection",
    "recurrence",
    "elements",
    "positions",
    "transformer",
    "convolution",
    "data",
    "cmudict",
    "scan",
    "tatoeba",
    "multi30k",
    "dates",
    "numerals",
    "datasets",
    "evaluation",
    "significance",
    "analysis",
    "decoding",
    "encoders",
    "decoders",
    "training",
    "codec",
    "inference",
    "seq2seq",
    "zoo",
    "confidence",
    "ensemble",
    "hub",
    "bundled",
    "presets",
    "export",
    "deploy",
    "plots",
    "diagrams",
    "report",
    "recipes",
    "release",
    "quickstart",
    "cli",
]

# Imports inside functions that look up, each for a method of the model that is a door to a higher room.
DOORS = {
    ("inference", "export"),  # Inference.export
    ("inference", "presets"),  # Inference.save_to_preset
    ("ensemble", "presets"),  # Ensemble.from_presets
    ("seq2seq", "presets"),  # Seq2Seq.from_preset
    ("seq2seq", "zoo"),  # Seq2Seq.from_config builds what the config names
}

FILES = sorted(PACKAGE.rglob("*.py"))


def room(module: str) -> str:
    """Return the room of a dotted module: `kerass2s.text.sentencepiece` is in `text`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def name_of(path: Path) -> str:
    """Return the dotted module name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    """Tell whether a node is `if TYPE_CHECKING:`, whose body never runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports(node: ast.AST, package: str, *, deferred: bool = False) -> Iterator[tuple[str, bool, int]]:
    """Yield (module, is inside a function, line) of each import of the package below a node."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, deferred, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - child.level + 1], *filter(None, [child.module])])
            yield from ((f"{base}.{alias.name}", deferred, child.lineno) for alias in child.names)
        elif is_type_checking(child):
            yield from imports(ast.Module(child.orelse, []), package, deferred=deferred)
        else:
            inside = deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, package, deferred=inside)


def own_imports(path: Path) -> list[tuple[str, bool, int]]:
    """Return the imports of a file that stay inside the package."""
    module = name_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = imports(ast.parse(path.read_text("utf-8")), package)
    return [item for item in found if item[0].split(".")[0] == "kerass2s"]


def test_every_room_has_its_place_in_the_order():
    rooms = {room(name_of(path)) for path in FILES} - {"", "__main__"}
    assert rooms <= set(ORDER), f"add to ORDER and to docs/architecture.md: {sorted(rooms - set(ORDER))}"


def test_the_architecture_page_shows_every_room_in_this_order():
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = {room(name_of(path)) for path in FILES}
    listed = page.split("<!-- order -->")[1].replace("`", " ").replace(",", " ").split()
    assert [name for name in listed if name in ORDER] == [name for name in ORDER if name in rooms]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down_only(path: Path):
    here = room(name_of(path))
    if here == "__main__":
        return
    for module, deferred, line in own_imports(path):
        there = room(module)
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        if there == here or module == "kerass2s" or there.startswith("__"):  # the last two: for kerass2s.__version__
            continue
        assert there in ORDER, f"{where}: name the room it comes from"
        if here == "":
            assert deferred, f"{where}: the front door imports nothing until a name is asked for"
        elif ORDER.index(there) > ORDER.index(here):
            assert deferred and (here, there) in DOORS, f"{where}: that is up"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_room_goes_through_the_front_door(path: Path):
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "kerass2s"}
    assert used <= {"__version__"}, "import what you need from its own room"


@pytest.mark.parametrize("path", sorted([*FILES, *(ROOT / "tests").rglob("*.py"), ROOT / "setup.py"]), ids=name_of)
def test_every_file_says_in_one_sentence_what_it_is(path: Path):
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = docstring.split("\n")[0]
    assert first.endswith("."), f"the first line of {path} is no sentence. Received: {first!r}"


def test_no_room_for_odds_and_ends():
    assert [path for path in FILES if path.stem in {"utils", "util", "helpers", "misc", "common"}] == []
