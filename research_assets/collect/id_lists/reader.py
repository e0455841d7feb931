"""A list of ids as people have it: a CSV file with ids or links, from an export, a data donation or a spreadsheet."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

FIRST_UPLOAD = datetime(2014, 1, 1, tzinfo=UTC)
"""No id is older: whatever stands for an earlier moment is none."""

_LINK = re.compile(r"/(?:video|photo|v)/(\d{6,20})")
_ROUNDED = re.compile(r"\d+([.,]\d+)?[eE]\+?\d+|\d{15,20}[.,]0*")
_NAMES = ("id", "video_id", "aweme_id", "link", "url", "video_link")
_SHOWN = 3


class IdListError(ValueError):
    """A list of ids that cannot be used. Nothing was asked."""


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """One video of a list: its id, the UTC day of its publication if the list says so, and its class if it has one."""

    id: int
    day: date | None = None
    group: str = ""

    @property
    def month(self) -> str:
        """The month of its upload, such as `2026-02`."""
        return f"{upload_time(self.id):%Y-%m}"


@dataclass(frozen=True, slots=True)
class IdList:
    """What a file holds: videos, each once; comments by their video; and what is neither, as lines with their text."""

    path: Path
    videos: tuple[ListedVideo, ...]
    comments: dict[int, set[int]]
    n_duplicates: int
    invalid_lines: tuple[tuple[int, str], ...]


def upload_time(identifier: int) -> datetime:
    """The moment of upload that an id holds, UTC (reference 3.1.3, id anatomy)."""
    return datetime.fromtimestamp(min(identifier >> 32, 2**33), UTC)


def read_id_list(path: Path, now: datetime, *, column: str | None = None, group: str | None = None) -> IdList:
    """Read a CSV file of video ids or links, with or without a header; ids may begin with `id_`, as in exports.

    `column` names where they stand; without it, a column of a usual name is taken, or the only one. `group` names the
    column of the classes, such as how a video came into a data donation. Raises IdListError if the file cannot be
    read, holds no id, or was rounded by a spreadsheet.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise IdListError(f"The list {path} cannot be read ({error}). Give a CSV file in UTF-8.") from error
    rows = list(_rows(text))
    if not rows:
        raise IdListError(f"The list {path} is empty. Give a CSV file with one id or link in each line.")
    header = [] if any(map(_is_certain_id, rows[0][1])) else [name.strip() for name in rows.pop(0)[1]]
    place = _find_column(path, header, column, rows)
    places = {name: header.index(name) for name in ("entity", "video_id", "date") if name in header}
    if group is not None:
        if group not in header:
            raise IdListError(f"The list {path} has no column {group!r}; it has {', '.join(header) or 'no header'}.")
        places["group"] = header.index(group)
    return _parse_rows(path, rows, place, places, now)


def _parse_rows(
    path: Path, rows: Sequence[tuple[int, list[str]]], place: int, places: dict[str, int], now: datetime
) -> IdList:
    videos: dict[int, ListedVideo] = {}
    comments: dict[int, set[int]] = {}
    unusable: list[tuple[int, str]] = []
    repeated = 0
    for line, row in rows:

        def cell(name: str, row: list[str] = row) -> str:
            return row[places[name]].strip() if name in places and places[name] < len(row) else ""

        text = row[place].strip() if place < len(row) else ""
        if _ROUNDED.fullmatch(text):
            raise IdListError(
                f"Line {line} of {path} holds {text}: a spreadsheet has rounded the ids, so they point nowhere. "
                "Take the list from its source again, with the ids as text."
            )
        if cell("entity") == "comments":
            if (own := _id(text)) and (video := _id(cell("video_id"))):
                comments.setdefault(video, set()).add(own)
            else:
                unusable.append((line, text))
            continue
        identifier = _id(text)
        if identifier is None or not FIRST_UPLOAD <= upload_time(identifier) <= now + timedelta(days=1):
            unusable.append((line, text))
        elif identifier in videos:
            repeated += 1
        else:
            videos[identifier] = ListedVideo(identifier, _day(cell("date")), cell("group"))
    if not videos and not comments:
        some = "; ".join(f"line {line}: {text!r}" for line, text in unusable[:_SHOWN])
        raise IdListError(
            f"The list {path} holds no id of a video ({some or 'no line'}). An id is a number of about 19 digits; "
            "a link holds it after /video/. Name the column that has them with --column."
        )
    return IdList(path, tuple(videos.values()), comments, repeated, tuple(unusable))


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of all lines that are not empty; separated by comma, semicolon or tab."""
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
    for name in _NAMES:
        for place, other in enumerate(header):
            if other.lower() == name:
                return place
    first = rows[0][1] if rows else header
    found = [place for place, cell in enumerate(first) if _is_certain_id(cell)]
    if len(found) == 1 or (found and not header):
        return found[0]
    raise IdListError(
        f"The list {path} does not say which of its columns holds the ids: {', '.join(header) or 'no header'}. "
        "Name it with --column."
    )


def _id(text: str) -> int | None:
    found = _LINK.search(text)
    digits = found[1] if found else text.strip().removeprefix("id_")
    return int(digits) if digits.isascii() and digits.isdecimal() and 0 < int(digits) < 2**63 else None


def _is_certain_id(text: str) -> bool:
    """Whether a cell holds an id for sure, and not just a number."""
    return bool(_LINK.search(text) or re.fullmatch(r"(id_)?\d{15,20}", text.strip()))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None
