"""Panel files: the accounts of a panel as csv or plain text, and the form of a handle.

Not here: which lists of the panel a study collects (see units/targets.py).
"""

import csv
from pathlib import Path

USERNAME_COLUMN = "username"


class PanelError(ValueError):
    """A handle or a panel file is invalid."""


def parse_username(text: str) -> str:
    """Return a handle as the API expects it, without `@`. Raise PanelError if the text is not a handle."""
    name = text.strip().removeprefix("@")
    if not name or any(not (character.isalnum() or character in "._") for character in name):
        raise PanelError(f"{text!r} is not a handle: only letters, digits, `_` and `.` are allowed, without blanks")
    return name


def _cells(path: Path, text: str) -> list[tuple[int, str]]:
    lines = text.splitlines()
    if path.suffix.lower() == ".txt":
        return [(number, line) for number, line in enumerate(lines, 1) if not line.lstrip().startswith("#")]
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(lines, delimiter=delimiter)
    titles = [title.strip().lower() for title in next(reader, [])]
    if USERNAME_COLUMN not in titles:
        raise PanelError(
            f"the panel file {path} has no column {USERNAME_COLUMN!r} in its first line, "
            f"only: {', '.join(titles) or 'nothing'}"
        )
    column = titles.index(USERNAME_COLUMN)
    return [(reader.line_num, row[column]) for row in reader if len(row) > column]


def read_panel(path: Path) -> tuple[str, ...]:
    """Return the handles of a panel file in its order, without duplicates.

    A `.csv` file needs a column `username`; other columns are ignored. A `.txt` file has one handle per line; a line
    that starts with `#` is a comment. Raise PanelError with the file, and with the line of an invalid handle.
    """
    if path.suffix.lower() not in {".csv", ".txt"}:
        raise PanelError(f"the panel file {path} must end in .csv or .txt")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PanelError(
            f"the panel file {path} cannot be read: {error.strerror}. Its path is relative to the study's folder"
        ) from error
    except UnicodeDecodeError as error:
        raise PanelError(f"the panel file {path} is not UTF-8 text; save it as UTF-8") from error
    names = []
    for line, cell in _cells(path, text):
        if cell.strip():
            try:
                names.append(parse_username(cell))
            except PanelError as error:
                raise PanelError(f"{path}:{line}: {error}") from error
    if not names:
        raise PanelError(f"the panel file {path} contains no account")
    return tuple(dict.fromkeys(names))
