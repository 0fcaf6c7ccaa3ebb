"""The documentation site: every public name, every page and every notebook is on it, and its links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import kerass2s

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOOKS = runpy.run_path(str(DOCS / "site_hooks.py"))
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_every_public_name_is_on_a_page_of_the_reference() -> None:
    text = "\n".join(path.read_text("utf-8") for path in (DOCS / "api").glob("*.md"))
    shown = re.findall(r"^::: kerass2s\.(\S+)$", text, re.MULTILINE)
    assert len(shown) == len(set(shown))
    # UserError is on the page with the rest of its room.
    assert set(kerass2s.__all__) - {"UserError"} <= set(shown)
    assert "errors" in shown


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted([*PAGES, *HOOKS["PAGES"].values()])


def test_every_notebook_is_on_the_page_of_notebooks() -> None:
    linked = re.findall(r"\(\.\./notebooks/(\S+)\.ipynb\)", (DOCS / "notebooks.md").read_text("utf-8"))
    assert sorted(linked) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))


def test_links_are_set_as_the_site_has_them() -> None:
    with_links = HOOKS["with_links"]
    host = HOOKS["REPOSITORY"]
    assert with_links("[a](docs/zoo.md#which-one)", "index.md") == "[a](zoo.md#which-one)"
    assert with_links("![a](docs/images/demo.png)", "index.md") == "![a](images/demo.png)"
    assert with_links("[a](CHANGELOG.md)", "contributing.md") == "[a](changelog.md)"
    assert with_links("[a](../README.md)", "faq.md") == "[a](index.md)"
    assert with_links("[a](../search.md)", "api/data.md") == "[a](../search.md)"
    assert with_links("[a](../kerass2s/recipes)", "presets.md") == f"[a]({host}/tree/main/kerass2s/recipes)"
    assert with_links("[a](../setup.py)", "presets.md") == f"[a]({host}/blob/main/setup.py)"
    for left in ("[a](https://example.org)", "[a](#here)", 'f["a"](text)', "[a](no_such_file.md)"):
        assert with_links(left, "index.md") == left


def test_every_link_of_every_page_leads_to_a_file() -> None:
    for source in [*(f"docs/{page}" for page in PAGES), *HOOKS["PAGES"]]:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / source).read_text("utf-8"), flags=re.DOTALL)
        for path in re.findall(r"\]\(([^)\s:#]+)(?:#[^)\s]*)?\)", text):
            assert (ROOT / source).parent.joinpath(path).exists(), f"{source} links {path}"
