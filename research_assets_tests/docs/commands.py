"""The commands and snippets that a page of the documentation shows, as its fenced blocks have them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from research_assets.settings import PROJECT_DIR

PAGES = (PROJECT_DIR / "README.md", *sorted((PROJECT_DIR / "docs").glob("*.md")))

_BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]+)?\)")


def blocks(page: Path, language: str) -> list[str]:
    """The page's blocks of a language."""
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def commands(page: Path) -> Iterator[list[str]]:
    """Each command of the page's shell blocks, as words; what follows a # is not part of it."""
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            if words := shlex.split(line, comments=True):
                words[0] = words[0].removeprefix(".venv/bin/")
                yield words


def links(page: Path) -> Iterator[str]:
    """The places in the project that the page points to."""
    for target, _ in _LINK.findall(page.read_text()):
        if "://" not in target:
            yield target
