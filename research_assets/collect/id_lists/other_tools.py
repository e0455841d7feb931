"""Videos in files of other tools: TikTok's data download, Zeeschuimer, 4CAT, and lists in JSON.

Each function yields entries: where something is that should be a video, its text, and its class. Not here: tables, and
which text is an id (see reader.py).
"""

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from research_assets.text_files import TextFileError, decode_text, split_lines

MAX_ARCHIVE_BYTES = 2**30
"""Bytes of the unpacked files of an archive that are read."""

_LIST_CLASSES = {
    "favoritevideolist": "favourites",
    "itemfavoritelist": "likes",
    "likevideolist": "likes",
    "sharehistorylist": "shares",
}
_SECTION_CLASSES = (
    (re.compile(r"brows|watch", re.IGNORECASE), "browsing history"),
    (re.compile(r"^fav", re.IGNORECASE), "favourites"),
    (re.compile(r"^like", re.IGNORECASE), "likes"),
    (re.compile(r"^share", re.IGNORECASE), "shares"),
    (re.compile(r"^repost", re.IGNORECASE), "reposts"),
    (re.compile(r"deleted", re.IGNORECASE), "deleted posts"),
    (re.compile(r"^(videos?|posts?)$", re.IGNORECASE), "own posts"),
)
_HEADINGS = frozenset(
    {
        *("favorite videos", "like list", "share history", "video browsing history", "browsing history"),
        *("watch history", "reposts", "posts", "videos"),
    }
)
_LINK_KEYS = frozenset({"link", "videolink", "url", "videourl"})
_ID_KEYS = ("video_id", "aweme_id", "item_id", "id", "link", "url", "tiktok_url", "video_link")
_TEXT_FIELD = re.compile(r"\s*([^:,;\t|]{1,40}):\s+(\S.*)")
_LOOKS_LIKE_ID = re.compile(r"\d{15}|\de\+?\d", re.IGNORECASE)
_VIDEO_LINK = re.compile(r"tiktok\S*/(?:video|photo)/\d", re.IGNORECASE)
_TIKTOK = re.compile(r"tiktok", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Something that should be a video, or with `video` a comment on it: where it is, its text, and its class."""

    where: str
    text: str
    group: str = ""
    video: str = ""


class NotStructured(Exception):
    """The text is a table or a plain list."""


def entries_of_archive(path: Path) -> list[FileEntry]:
    """Return the entries of a zipped data download. Raise TextFileError if it is another archive."""
    found: list[FileEntry] = []
    with zipfile.ZipFile(path) as archive:
        members = [one for one in archive.infolist() if not one.is_dir() and _is_part(one.filename)]
        if not members or any(one.filename in ("[Content_Types].xml", "mimetype") for one in archive.infolist()):
            raise TextFileError("is an Excel file or another archive. Save the table as CSV in UTF-8, with ids as text")
        if sum(one.file_size for one in members) > MAX_ARCHIVE_BYTES:
            raise TextFileError(f"has more than {MAX_ARCHIVE_BYTES:,} bytes. Unpack it and use the file in it")
        for member in members:
            try:
                text = decode_text(archive.read(member))
            except (RuntimeError, zipfile.BadZipFile, NotImplementedError) as error:
                raise TextFileError(f"cannot be unpacked ({error}). Unpack it and use the file in it") from error
            name = Path(member.filename)
            try:
                entries = entries_of_text(text, name.stem)
            except NotStructured:
                continue
            found += [FileEntry(f"{name.name}, {one.where}", one.text, one.group, one.video) for one in entries]
    return found


def _is_part(name: str) -> bool:
    path = Path(name)
    if "__MACOSX" in path.parts or path.name.startswith("."):
        return False
    is_list = any(pattern.search(path.stem) for pattern, _ in _SECTION_CLASSES)
    return path.suffix.lower() == ".json" or (path.suffix.lower() == ".txt" and is_list)


def entries_of_text(text: str, stem: str) -> list[FileEntry]:
    """Return the entries of a JSON text, of lines of JSON, or of a text file of a data download.

    `stem` is the name of the file without its suffix, which names the class of a text file. Raise NotStructured for
    other texts, and TextFileError if the JSON is damaged.
    """
    start = text.lstrip()
    if start.startswith(("{", "[")):
        return list(_json_entries(text))
    lines = split_lines(text)
    fields = [field for line in [line for line in lines if line.strip()][:20] if (field := _TEXT_FIELD.fullmatch(line))]
    if any(_key(field[1]) in _LINK_KEYS | {"date"} or _VIDEO_LINK.search(field[2]) for field in fields):
        return list(_text_entries(lines, _class_of_section(stem) or stem.strip().lower()))
    raise NotStructured


def _text_entries(lines: list[str], group: str) -> Iterator[FileEntry]:
    for number, line in enumerate(lines, 1):
        if field := _TEXT_FIELD.fullmatch(line):
            if _key(field[1]) in _LINK_KEYS or _VIDEO_LINK.search(field[2]):
                yield FileEntry(f"line {number}", field[2].strip(), group)
        elif line.strip().lower() in _HEADINGS:
            group = _class_of_section(line) or group


def _json_entries(text: str) -> Iterator[FileEntry]:
    try:
        value = _parse(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise TextFileError(f"is damaged JSON (line {error.lineno}: {error.msg})", error.lineno) from error
        yield from _ndjson_entries(split_lines(text))
        return
    sections = list(_sections(value, ()))
    if any(_key(path[-1]) in _LIST_CLASSES or _key(path[-1]) == "videolist" for path, _ in sections if path):
        yield from _download_entries(sections)
        return
    single = _item_entry(value, "the object") if isinstance(value, dict) else None
    if single is not None and _LOOKS_LIKE_ID.search(single.text):
        yield single
        return
    for path, rows in sections:
        entries = [_item_entry(row, f"{'.'.join((*path, 'entry'))} {number}") for number, row in enumerate(rows, 1)]
        # Other lists hold hashtags, counts and other things that are no videos.
        if any(_LOOKS_LIKE_ID.search(entry.text) for entry in entries):
            yield from entries


def _ndjson_entries(lines: list[str]) -> Iterator[FileEntry]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _parse(line)
        except json.JSONDecodeError:
            row = None
        yield _item_entry(row, f"line {number}", line)


def _parse(text: str) -> Any:
    """Return a JSON value. Floats stay text, so that an id in the form 7.5e18 is recognized as rounded."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            keys = [key for key, _ in pairs]
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise TextFileError(f"has the key {repeated[:40]!r} twice in one object, so one of its values is lost")
        return members

    try:
        return json.loads(text.replace("\0", ""), object_pairs_hook=unique, parse_float=str, parse_int=_integer)
    except RecursionError as error:
        raise TextFileError("is nested too deep to be a list of videos") from error


def _integer(text: str) -> int | str:
    # Python refuses to convert thousands of digits.
    return int(text) if len(text) < 40 else text


def _sections(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Yield each list that is not within another one, with the keys above it."""
    if isinstance(value, list):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _sections(item, (*path, key))


def _download_entries(sections: list[tuple[tuple[str, ...], list[Any]]]) -> Iterator[FileEntry]:
    """Yield the entries of TikTok's data download: lists of objects with a date and a link, by the section they are in.

    The key of a list names its class in all versions of the file, the sections around it differ: `Activity`, `Your
    Activity`, `Likes and Favorites`, `Post`.
    """
    for path, rows in sections:
        group = _LIST_CLASSES.get(_key(path[-1])) if path else None
        is_known = group is not None or (path and _key(path[-1]) == "videolist")
        group = group or next((known for name in reversed(path[:-1]) if (known := _class_of_section(name))), None)
        group = group or (path[-2].lower() if len(path) > 1 else "")
        links = [_link_of(row) for row in rows]
        if is_known or any(re.search(r"/video/\d", link or "") for link in links):
            name = path[-2] if len(path) > 1 else path[-1]
            for number, (row, link) in enumerate(zip(rows, links, strict=True), 1):
                yield FileEntry(f"{name}, entry {number}", str(row) if link is None else link, group)


def _link_of(row: Any) -> str | None:
    if not isinstance(row, dict):
        return None
    return next((str(item) for key, item in row.items() if _key(key) in _LINK_KEYS), None)


def _item_entry(row: Any, where: str, line: str = "") -> FileEntry:
    """Return the entry of one object: a post as Zeeschuimer and 4CAT store it, a video of the API, or a plain id."""
    if isinstance(row, str | int):
        return FileEntry(where, str(row))
    if not isinstance(row, dict):
        return FileEntry(where, line or str(row))
    platform = str(row.get("source_platform", "tiktok"))
    item = row["data"] if isinstance(row.get("data"), dict) else row
    if not _TIKTOK.search(platform):
        return FileEntry(where, f"an item of {platform}")
    if "cid" in item and "aweme_id" in item:
        return FileEntry(where, str(item["cid"]), video=str(item["aweme_id"]))
    if "parent_comment_id" in item and "id" in item and "video_id" in item:
        return FileEntry(where, str(item["id"]), video=str(item["video_id"]))
    text = next((str(item[key]) for key in _ID_KEYS if item.get(key) not in (None, "")), line or str(sorted(item))[:80])
    return FileEntry(where, text)


def _class_of_section(name: str) -> str | None:
    return next((group for pattern, group in _SECTION_CLASSES if pattern.search(name.strip())), None)


def _key(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
