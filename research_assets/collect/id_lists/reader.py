"""Reader of id lists: CSV and text files with ids or links, data downloads, and files of Zeeschuimer and 4CAT.

Not here: requesting the ids (see run.py); the structure of files that are no tables (see other_tools.py).
"""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from research_assets.clock import parse_iso_day
from research_assets.collect.id_lists.other_tools import (
    FileEntry,
    NotStructured,
    entries_of_archive,
    entries_of_text,
)
from research_assets.storage.withdrawals import Withdrawn
from research_assets.text import clean_text
from research_assets.text_files import TextFileError, read_table, read_text
from research_assets.tiktok.ids import find_rounded_ids, upload_time
from research_assets.tiktok.names import video_ids_in_links

FIRST_UPLOAD = datetime(2014, 1, 1, tzinfo=UTC)
"""Lower bound of upload times: a number that encodes an earlier time is no video id."""

_ROUNDED = re.compile(r"\d+([.,]\d+)?[eE]\+?\d+|\d{15,20}[.,]0*")
_ID = re.compile("(?:id_)?([1-9][0-9]{0,18})")
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?:([.,' \u2019])[0-9]{3})(?:\1[0-9]{3}){4,}")
_QUOTED = re.compile(r"""=?"([^"]*)"|'(.*?)'?""")
_COLUMN_NAMES = (
    *("id", "video_id", "videoid", "aweme_id", "item_id", "link", "url", "video_link", "videolink", "tiktok_url"),
    *("share_url", "web_video_url"),
)
_COMMENT_COLUMNS = ("comment_id", "cid")
_OTHER_IDS = re.compile("music|sound|author|user|account|effect|comment|cid|playlist|hashtag|challenge|channel|search")
_VIDEO_COLUMNS = ("video_id", "aweme_id", "thread_id")
_MAX_SHOWN = 3


class IdListError(ValueError):
    """An id list that cannot be used. No request was sent."""


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """One video of a list: its id, its UTC day of publication and its classes if the list has them.

    `groups` is the sorted set of the classes of all its lines. `cluster` is what it was drawn with, such as a donor:
    the first one in the alphabet of all its lines; None without one. `exposures` are the exposures to the video by
    class and cluster, in order; empty for a list without them.
    """

    id: int
    day: date | None = None
    groups: tuple[str, ...] = ()
    cluster: str | None = None
    exposures: tuple[tuple[str, str, float], ...] = ()

    @property
    def month(self) -> str:
        """Month of upload, such as `2026-02`."""
        return f"{upload_time(self.id):%Y-%m}"


@dataclass(frozen=True, slots=True)
class IdList:
    """Contents of a file: unique videos, comment ids by video, and what has no id, as its place and its text.

    `suspicious` are ids that end in zeros as rounded ids do, each with its place; true ids may end so by chance.
    """

    path: Path
    videos: tuple[ListedVideo, ...]
    comments: dict[int, set[int]]
    n_duplicates: int
    invalid: tuple[tuple[str, str], ...]
    suspicious: tuple[tuple[str, int], ...] = ()


def leave_out_withdrawn(listed: IdList, withdrawn: Withdrawn) -> tuple[IdList, int]:
    """Return a list without withdrawn videos and comments, which are never requested again, and their number."""
    videos = tuple(one for one in listed.videos if one.id not in withdrawn.videos)
    comments = {
        video: kept
        for video, ids in listed.comments.items()
        if video not in withdrawn.videos and (kept := ids - withdrawn.comments)
    }
    before, after = (sum(map(len, ids.values())) for ids in (listed.comments, comments))
    return replace(listed, videos=videos, comments=comments), len(listed.videos) - len(videos) + before - after


@dataclass(frozen=True, slots=True)
class _Entry:
    """A cell or a link of the file: its place, text, class and day, the video of a comment, cluster and exposures."""

    where: str
    text: str
    group: str = ""
    day: date | None = None
    video: str | None = None
    cluster: str = ""
    exposures: float | None = None


def read_id_list(
    path: Path,
    now: datetime,
    *,
    column: str | None = None,
    group: str | None = None,
    cluster: str | None = None,
    exposures: str | None = None,
    ids_are_exact: bool = False,
) -> IdList:
    """Read the videos of a file: a table of ids or links, TikTok's data download, or a file of Zeeschuimer or 4CAT.

    A table may have a header or not; ids may begin with `id_`, as in exports. `column` names the column with the ids;
    the default is a column with a usual name, or the only one with ids. `group` names the column with the classes, such
    as how a video came into a data donation; a data download has its lists as classes. `cluster` names the column with
    what videos were drawn with, such as a donor; `exposures` that with how often the video of a line was seen. Raise
    IdListError if the file cannot be read, has no id, or if its ids were rounded; `ids_are_exact` states that ids which
    look rounded are not.
    """
    try:
        entries = _read_entries(path, column, group, cluster, exposures)
    except (OSError, TextFileError, zipfile.BadZipFile) as error:
        reason = str(error) if isinstance(error, TextFileError) else f"cannot be read ({error})"
        raise IdListError(f"The list {path} {reason}. No request was sent.") from error
    return _parse_entries(path, entries, now, ids_are_exact)


def _read_entries(
    path: Path, column: str | None, group: str | None, cluster: str | None, exposures: str | None
) -> list[_Entry]:
    try:
        if zipfile.is_zipfile(path):
            found = entries_of_archive(path)
        else:
            text = read_text(path)
            found = entries_of_text(text, path.stem)
    except NotStructured:
        return _table_entries(path, text, column, group, cluster, exposures)
    if column is not None:
        raise IdListError(f"The list {path} is no table and has no column {column!r}. Leave out --column.")
    for option, name in (("--cluster", cluster), ("--exposures", exposures)):
        if name is not None:
            raise IdListError(f"The list {path} is no table and has no column {name!r}. Leave out {option}.")
    if group is not None and not any(entry.group for entry in found):
        raise IdListError(f"The list {path} is no table and has no column {group!r}. Leave out --group-by.")
    return [_entry(one) for one in found]


def _entry(found: FileEntry) -> _Entry:
    return _Entry(found.where, found.text, found.group, video=found.video or None)


def _table_entries(
    path: Path, text: str, column: str | None, group: str | None, cluster: str | None, exposures: str | None
) -> list[_Entry]:
    rows = read_table(text, is_wanted=lambda cell: _is_certain_id(cell) and len(_parse_ids(cell)) == 1)
    if not rows:
        raise IdListError(f"The list {path} is empty. Use a CSV file with one id or link per line.")
    if any(map(_is_certain_id, rows[0][1])):
        if named := column or group or cluster or exposures:
            raise IdListError(f"The list {path} has no column {named!r}; it has no header.")
        return [_Entry(f"line {line}", _id_cells(row)) for line, row in rows]
    header = [clean_text(name) for name in rows.pop(0)[1]]
    id_column = _find_column(path, header, column, rows)
    group_column = None if group is None else _index(path, header, group)
    cluster_column = None if cluster is None else _index(path, header, cluster)
    exposures_column = None if exposures is None else _index(path, header, exposures)
    titles = [_normalized(name) for name in header]
    video_column = next((titles.index(name) for name in _VIDEO_COLUMNS if name in titles), None)
    comment_column = next((titles.index(name) for name in _COMMENT_COLUMNS if name in titles), None)
    has_entities = "entity" in titles
    entries = []
    for line, row in rows:
        cells = dict(enumerate(row))

        def cell(index: int | None, cells: dict[int, str] = cells) -> str:
            return "" if index is None else clean_text(cells.get(index, ""))

        entry = _Entry(f"line {line}", cells.get(id_column, ""), cell(group_column), cluster=cell(cluster_column))
        if any(extra.strip() for extra in row[len(header) :]):
            # A caption with a separator that is not in quotes has moved the cells after it.
            entries.append(replace(entry, text=f"{len(row)} cells instead of {len(header)}"))
            continue
        if exposures_column is not None:
            number = _parse_exposures(cell(exposures_column))
            if number is None:
                text = f"{cell(exposures_column)!r} in the column {header[exposures_column]!r} is no number"
                entries.append(replace(entry, text=text))
                continue
            entry = replace(entry, exposures=number)
        if has_entities:
            day = parse_iso_day(cell(titles.index("date"))[:10]) if "date" in titles else None
            is_comment = cell(titles.index("entity")) == "comments"
            entry = replace(entry, day=day, video=cell(video_column) if is_comment else None)
        elif column is None and comment_column is not None and video_column is not None and cell(comment_column):
            entry = replace(entry, text=cell(comment_column), video=cell(video_column))
        elif column is None and video_column not in (None, id_column) and _is_comment(entry.text, cell(video_column)):
            entry = replace(entry, video=cell(video_column))
        entries.append(entry)
    return entries


def _parse_exposures(text: str) -> float | None:
    """Return a number of exposures, 0 or more; None for any other text."""
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text) else None


def _is_comment(identifier: str, video: str) -> bool:
    """Return whether an id beside the id of a video is another one, as in tables of comments."""
    one, other = _parse_ids(identifier), _parse_ids(video)
    return bool(one and other and one != other)


def _id_cells(row: Sequence[str]) -> str:
    """Return the cells with ids of a row without a header; all cells if none has one."""
    return " ".join([cell for cell in row if _is_certain_id(cell)] or row)


def _parse_entries(path: Path, entries: Sequence[_Entry], now: datetime, ids_are_exact: bool) -> IdList:
    videos: dict[int, ListedVideo] = {}
    comments: dict[int, set[int]] = {}
    places: dict[int, str] = {}
    invalid: list[tuple[str, str]] = []
    n_duplicates = 0
    for entry in entries:
        text = clean_text(entry.text)
        if _ROUNDED.fullmatch(text):
            raise IdListError(
                f"{_capitalized(entry.where)} of {path} contains {text}: a program has rounded the ids, so they match "
                "no video. No request was sent. Export the list again from its source, with the ids as text, or name "
                "another column with --column."
            )
        ids = _parse_ids(text)
        if entry.video is not None:
            video = _parse_ids(entry.video)
            if len(ids) == len(video) == 1:
                comments.setdefault(video[0], set()).add(ids[0])
                places |= dict.fromkeys((*ids, *video), entry.where)
            else:
                invalid.append((entry.where, text))
            continue
        if not ids or not all(FIRST_UPLOAD <= upload_time(one) <= now + timedelta(days=1) for one in ids):
            invalid.append((entry.where, text))
            continue
        for one in ids:
            places.setdefault(one, entry.where)
            known = videos.get(one)
            n_duplicates += known is not None
            known = known or ListedVideo(one)
            # The order of the lines has no effect.
            videos[one] = ListedVideo(
                one,
                min((day for day in (known.day, entry.day) if day), default=None),
                tuple(sorted({*known.groups, *([entry.group] if entry.group else [])})),
                min((cluster for cluster in (known.cluster, entry.cluster) if cluster), default=None),
                _add_exposures(known.exposures, entry),
            )
    if not videos and not comments:
        some = "; ".join(f"{where}: {text[:80]!r}" for where, text in invalid[:_MAX_SHOWN])
        raise IdListError(
            f"The list {path} contains no video id ({some or 'no line'}). An id is a number of about 19 digits; "
            "a link has it after /video/. Name the column with the ids with --column."
        )
    suspicious = () if ids_are_exact else _refuse_rounded(path, places)
    return IdList(path, tuple(videos.values()), comments, n_duplicates, tuple(invalid), suspicious)


def _add_exposures(exposures: tuple[tuple[str, str, float], ...], entry: _Entry) -> tuple[tuple[str, str, float], ...]:
    """Return the exposures to a video with those of another line."""
    if entry.exposures is None:
        return exposures
    numbers = {(group, cluster): number for group, cluster, number in exposures}
    key = (entry.group, entry.cluster)
    numbers[key] = numbers.get(key, 0.0) + entry.exposures
    return tuple((*key, number) for key, number in sorted(numbers.items()))


def _refuse_rounded(path: Path, places: dict[int, str]) -> tuple[tuple[str, int], ...]:
    """Return ids that may have been rounded, with their places. Raise IdListError if ids certainly were."""
    rounded = find_rounded_ids(places)
    if rounded is None:
        return ()
    if rounded.is_certain:
        some = "; ".join(f"{places[one]}: {one}" for one in rounded.ids[:_MAX_SHOWN])
        raise IdListError(
            f"{len(rounded.ids):,} of {len(places):,} ids in {path} end in zeros, in decimal or binary form ({some}), "
            f"so they were rounded: {rounded}. No request was sent. If they are the true ids, add --ids-are-exact."
        )
    return tuple((places[one], one) for one in rounded.ids)


def _find_column(path: Path, header: Sequence[str], column: str | None, rows: Sequence[tuple[int, list[str]]]) -> int:
    if column is not None:
        return _index(path, header, column)
    samples = [row for _, row in rows[:20]]
    shares = {
        index: sum(index < len(row) and _is_certain_id(row[index]) for row in samples) for index in range(len(header))
    }
    titles = [_normalized(name) for name in header]
    named = [index for name in _COLUMN_NAMES for index, title in enumerate(titles) if title == name]
    # A column `id` may number the rows.
    for index in sorted(named, key=lambda index: shares[index] == 0):
        if titles.count(titles[index]) > 1:
            raise IdListError(f"The list {path} has two columns {header[index]!r}. Rename one.")
        return index
    candidates = [index for index, hits in shares.items() if hits and not _OTHER_IDS.search(titles[index])]
    if len(candidates) == 1:
        return candidates[0]
    raise IdListError(
        f"The column with the ids in the list {path} is unclear: {', '.join(header) or 'no header'}. "
        "Name it with --column."
    )


def _index(path: Path, header: Sequence[str], name: str) -> int:
    found = [index for index, title in enumerate(header) if title == name]
    found = found or [index for index, title in enumerate(header) if _normalized(title) == _normalized(name)]
    if len(found) > 1:
        raise IdListError(f"The list {path} has two columns {name!r}. Rename one.")
    if not found:
        raise IdListError(f"The list {path} has no column {name!r}; it has {', '.join(header) or 'no header'}.")
    return found[0]


def _normalized(title: str) -> str:
    return re.sub(r"[\s-]+", "_", clean_text(title).lower())


def _parse_ids(text: str) -> list[int]:
    """Return the different ids in a cell: of its links and between them, or the ids that it consists of."""
    text = clean_text(text)
    if quoted := _QUOTED.fullmatch(text):
        text = quoted[1] or quoted[2] or ""
    if _GROUPED.fullmatch(text):
        text = re.sub(r"\D", "", text)
    links = video_ids_in_links(text)
    found = [_ID.fullmatch(part) for part in re.split(r"[\s,;|]+", text) if part]
    if not links and not all(found):
        return []
    ids = [*links, *(int(one[1]) for one in found if one)]
    return [number for number in dict.fromkeys(ids) if number < 2**63]


def _is_certain_id(text: str) -> bool:
    """Return whether a cell is a link or a number with the length of an id, not any other number."""
    text = clean_text(text)
    return bool(_ROUNDED.fullmatch(text)) or any(number >= 10**14 for number in _parse_ids(text))


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
