"""A panel file: the accounts that a study watches, as csv or as plain text. Knows nothing of studies."""

import csv
from pathlib import Path

USERNAME_COLUMN = "username"


class PanelError(ValueError):
    """A handle or a panel file that cannot be used."""


def parse_username(text: str) -> str:
    """A handle as the API takes it, without `@`; PanelError if it cannot be one."""
    name = text.strip().removeprefix("@")
    if not name or any(not (letter.isalnum() or letter in "._") for letter in name):
        raise PanelError(f"{text!r} is no handle: letters, digits, `_` and `.` are allowed, without blanks")
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
            f"the panel file {path} has no column {USERNAME_COLUMN!r} in its first line, only: {', '.join(titles) or 'nothing'}"
        )
    column = titles.index(USERNAME_COLUMN)
    return [(reader.line_num, row[column]) for row in reader if len(row) > column]


def read_panel(path: Path) -> tuple[str, ...]:
    """The handles of a panel file in its order, each once.

    `.csv` needs a column `username`, other columns are left alone; `.txt` has one handle a line, `#` begins a remark.
    Raises PanelError naming the file, and the line where there is one.
    """
    if path.suffix.lower() not in {".csv", ".txt"}:
        raise PanelError(f"the panel file {path} must end in .csv or .txt")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PanelError(
            f"the panel file {path} cannot be read: {error.strerror}. Its path counts from the study's folder"
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
        raise PanelError(f"the panel file {path} names no account")
    return tuple(dict.fromkeys(names))
