"""Reader of id lists: CSV files with ids or links, from an export, a data donation or a spreadsheet.

Not here: requesting the ids (see run.py).
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from research_assets.tiktok.ids import upload_time

FIRST_UPLOAD = datetime(2014, 1, 1, tzinfo=UTC)
"""Lower bound of upload times: a number that encodes an earlier time is no video id."""

_LINK = re.compile(r"/(?:video|photo|v)/(\d{6,20})")
_ROUNDED = re.compile(r"\d+([.,]\d+)?[eE]\+?\d+|\d{15,20}[.,]0*")
_COLUMN_NAMES = ("id", "video_id", "aweme_id", "link", "url", "video_link")
_MAX_SHOWN = 3


class IdListError(ValueError):
    """An id list that cannot be used. No request was sent."""


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """One video of a list: its id, and its UTC day of publication and group if the list has them."""

    id: int
    day: date | None = None
    group: str = ""

    @property
    def month(self) -> str:
        """Month of upload, such as `2026-02`."""
        return f"{upload_time(self.id):%Y-%m}"


@dataclass(frozen=True, slots=True)
class IdList:
    """Contents of a file: unique videos, comment ids by video, and invalid lines as line number and text."""

    path: Path
    videos: tuple[ListedVideo, ...]
    comments: dict[int, set[int]]
    n_duplicates: int
    invalid_lines: tuple[tuple[int, str], ...]


def read_id_list(path: Path, now: datetime, *, column: str | None = None, group: str | None = None) -> IdList:
    """Read a CSV file of video ids or links, with or without a header; ids may begin with `id_`, as in exports.

    `column` names the column with the ids; the default is a column with a usual name, or the only one with ids. `group`
    names the column with the groups, such as how a video came into a data donation. Raise IdListError if the file
    cannot be read, has no id, or was rounded by a spreadsheet.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise IdListError(f"The list {path} cannot be read ({error}). Use a CSV file in UTF-8.") from error
    rows = list(_rows(text))
    if not rows:
        raise IdListError(f"The list {path} is empty. Use a CSV file with one id or link per line.")
    header = [] if any(map(_is_certain_id, rows[0][1])) else [name.strip() for name in rows.pop(0)[1]]
    id_column = _find_column(path, header, column, rows)
    columns = {name: header.index(name) for name in ("entity", "video_id", "date") if name in header}
    if group is not None:
        if group not in header:
            raise IdListError(f"The list {path} has no column {group!r}; it has {', '.join(header) or 'no header'}.")
        columns["group"] = header.index(group)
    return _parse_rows(path, rows, id_column, columns, now)


def _parse_rows(
    path: Path, rows: Sequence[tuple[int, list[str]]], id_column: int, columns: dict[str, int], now: datetime
) -> IdList:
    videos: dict[int, ListedVideo] = {}
    comments: dict[int, set[int]] = {}
    invalid_lines: list[tuple[int, str]] = []
    n_duplicates = 0
    for line, row in rows:

        def cell(name: str, row: list[str] = row) -> str:
            return row[columns[name]].strip() if name in columns and columns[name] < len(row) else ""

        text = row[id_column].strip() if id_column < len(row) else ""
        if _ROUNDED.fullmatch(text):
            raise IdListError(
                f"Line {line} of {path} contains {text}: a spreadsheet has rounded the ids, so they match no video. "
                "Export the list again from its source, with the ids as text."
            )
        if cell("entity") == "comments":
            if (comment := _parse_id(text)) and (video := _parse_id(cell("video_id"))):
                comments.setdefault(video, set()).add(comment)
            else:
                invalid_lines.append((line, text))
            continue
        identifier = _parse_id(text)
        if identifier is None or not FIRST_UPLOAD <= upload_time(identifier) <= now + timedelta(days=1):
            invalid_lines.append((line, text))
        elif identifier in videos:
            n_duplicates += 1
        else:
            videos[identifier] = ListedVideo(identifier, _parse_day(cell("date")), cell("group"))
    if not videos and not comments:
        some = "; ".join(f"line {line}: {text!r}" for line, text in invalid_lines[:_MAX_SHOWN])
        raise IdListError(
            f"The list {path} contains no video id ({some or 'no line'}). An id is a number of about 19 digits; "
            "a link has it after /video/. Name the column with the ids with --column."
        )
    return IdList(path, tuple(videos.values()), comments, n_duplicates, tuple(invalid_lines))


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each non-empty line; the separator is a comma, semicolon or tab."""
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def _find_column(path: Path, header: Sequence[str], column: str | None, rows: Sequence[tuple[int, list[str]]]) -> int:
    if column is not None:
        if column not in header:
            raise IdListError(f"The list {path} has no column {column!r}; it has {', '.join(header) or 'no header'}.")
        return header.index(column)
    for name in _COLUMN_NAMES:
        for index, other in enumerate(header):
            if other.lower() == name:
                return index
    first = rows[0][1] if rows else header
    candidates = [index for index, cell in enumerate(first) if _is_certain_id(cell)]
    if len(candidates) == 1 or (candidates and not header):
        return candidates[0]
    raise IdListError(
        f"The column with the ids in the list {path} is unclear: {', '.join(header) or 'no header'}. "
        "Name it with --column."
    )


def _parse_id(text: str) -> int | None:
    link = _LINK.search(text)
    digits = link[1] if link else text.strip().removeprefix("id_")
    return int(digits) if digits.isascii() and digits.isdecimal() and 0 < int(digits) < 2**63 else None


def _is_certain_id(text: str) -> bool:
    """Return whether a cell is a link or a number with the length of an id, not any other number."""
    return bool(_LINK.search(text) or re.fullmatch(r"(id_)?\d{15,20}", text.strip()))


def _parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None
