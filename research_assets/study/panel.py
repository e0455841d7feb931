"""Panel files: the accounts of a panel as csv or plain text.

Not here: which lists of the panel a study collects (see units/targets.py); the spellings of a handle (see
tiktok/names.py).
"""

from dataclasses import dataclass
from pathlib import Path

from research_assets.text import clean_text
from research_assets.text_files import TextFileError, read_table, read_text, split_lines
from research_assets.tiktok.names import parse_handle

USERNAME_COLUMN = "username"
_TABLES = frozenset({".csv", ".tsv"})
_LISTS = frozenset({".txt"})


class PanelError(ValueError):
    """A handle or a panel file is invalid."""


@dataclass(frozen=True, slots=True)
class PanelEntry:
    """An account of a panel file: its line, its text in the file, and its handle."""

    line: int
    text: str
    name: str


def parse_username(text: str) -> str:
    """Return a handle as the API expects it (see `parse_handle`). Raise PanelError if the text is not a handle."""
    try:
        return parse_handle(text)
    except ValueError as error:
        raise PanelError(str(error)) from error


def _cells(path: Path, text: str) -> list[tuple[int, str]]:
    if path.suffix.lower() in _LISTS:
        return [(number, line) for number, line in enumerate(split_lines(text), 1) if clean_text(line)[:1] != "#"]
    rows = read_table(text)
    header = rows.pop(0)[1] if rows else []
    titles = [clean_text(title).lower() for title in header]
    if titles.count(USERNAME_COLUMN) != 1:
        number = "two columns" if USERNAME_COLUMN in titles else "no column"
        raise PanelError(
            f"the panel file {path} has {number} {USERNAME_COLUMN!r} in its first line, "
            f"only: {', '.join(titles) or 'nothing'}"
        )
    for line, row in rows:
        if any(cell.strip() for cell in row[len(titles) :]):
            raise PanelError(
                f"{path}:{line}: has {len(row)} cells, but the first line has {len(titles)}. "
                "Write cells that contain a separator in quotes"
            )
    column = titles.index(USERNAME_COLUMN)
    return [(line, row[column]) for line, row in rows if len(row) > column]


def read_panel(path: Path) -> tuple[PanelEntry, ...]:
    """Return the accounts of a panel file in its order, without duplicates.

    A `.csv` or `.tsv` file needs a column `username`; other columns are ignored. A `.txt` file has one handle per line;
    a line that starts with `#` is a comment. Raise PanelError with the file, and with the line of an invalid handle.
    """
    if path.suffix.lower() not in _TABLES | _LISTS:
        raise PanelError(f"the panel file {path} must end in .csv, .tsv or .txt")
    try:
        cells = _cells(path, read_text(path))
    except (OSError, ValueError) as error:
        if isinstance(error, PanelError):
            raise
        if isinstance(error, TextFileError):
            raise PanelError(f"the panel file {path} {error}") from error
        reason = error.strerror if isinstance(error, OSError) else error
        raise PanelError(
            f"the panel file {path} cannot be read: {reason}. Its path is relative to the study's folder"
        ) from error
    entries: dict[str, PanelEntry] = {}
    for line, cell in cells:
        if clean_text(cell):
            try:
                entry = PanelEntry(line, cell, parse_username(cell))
            except PanelError as error:
                raise PanelError(f"{path}:{line}: {error}") from error
            entries.setdefault(entry.name, entry)
    if not entries:
        raise PanelError(f"the panel file {path} contains no account")
    return tuple(entries.values())
