"""Commands, snippets and links of the documentation's pages. Not here: how they are tested (see test_docs.py)."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from research_assets.settings import PROJECT_DIR

PAGES = (PROJECT_DIR / "README.md", *sorted((PROJECT_DIR / "docs").glob("*.md")))
"""Pages for users. Their commands and snippets run in the tests."""

LINKED_PAGES = (*PAGES, PROJECT_DIR / "CHANGELOG.md", PROJECT_DIR / "CONTRIBUTING.md")
"""All pages. Their links, paths and targets must exist."""

_BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page in a language."""
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def commands(page: Path) -> Iterator[list[str]]:
    """Yield each command of the page's shell blocks as a list of words, without its comment."""
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            if words := shlex.split(line, comments=True):
                words[0] = words[0].removeprefix(".venv/bin/")
                yield words


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor (or "") of each link of the page that stays in the project."""
    for target, anchor in _LINK.findall(page.read_text()):
        if "://" not in target:
            yield (page.parent / target if target else page), anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub writes them."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
