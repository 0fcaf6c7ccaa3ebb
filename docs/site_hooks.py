"""What mkdocs.yml asks for while it builds the site: pages of files outside docs/, and links that lead out of it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/kerass2s/kerass2s"
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
LINK = re.compile(r"\]\((?P<path>[^)\s:#]+)(?P<place>#[^)\s]*)?\)")
MERMAID = "assets/mermaid.min.js"


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages whose text stands at the root of the repository."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Sets links as the site has them."""
    return with_links(markdown, page.file.src_uri)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Brings our own copy of Mermaid to pages with diagrams: the theme would fetch one from elsewhere."""
    if 'class="mermaid"' not in output:
        return output
    address = posixpath.relpath(MERMAID, posixpath.dirname(page.url) or ".")
    return output.replace("</head>", f'<script src="{address}"></script></head>', 1)


def with_links(markdown: str, page: str) -> str:
    """Returns a page's text with its links to files of the repository as the site has them.

    A link to another page or picture stays one, and any other file is shown by the repository's host. What is no file
    is left as it is: an address, or code that looks like a link.

    Args:
        markdown: the text.
        page: the page's place in the site, such as `index.md` or `api/data.md`.
    """
    source = {place: name for name, place in PAGES.items()}.get(page, f"docs/{page}")

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), found["path"]))
        if not (ROOT / path).exists():
            return found[0]
        inside = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        place = (
            posixpath.relpath(inside, posixpath.dirname(page) or ".") if inside else f"{REPOSITORY}/{kind}/main/{path}"
        )
        return f"]({place}{found['place'] or ''})"

    return LINK.sub(link, markdown)
