"""The items that a request for erasure concerns: the named ones, and those that go with them.

With an account go its videos, with a video its comments. Both are found in the captures and in the raw tables, because
a capture may be damaged and an open journal is in no raw table. Not here: their removal (see purge.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from research_assets.settings import Settings
from research_assets.storage.captures import DamagedCapture, read_events
from research_assets.storage.pseudonym_keys import matching_key
from research_assets.storage.raw_reader import RawTables
from research_assets.storage.withheld import records_of
from research_assets.tiktok.ids import parse_id
from research_assets.tiktok.pseudonyms import Pseudonyms, is_pseudonym

VIDEO_ENTITIES = ("videos", "liked_videos", "reposted_videos", "pinned_videos")
"""Entities whose records are videos."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Items to remove: handles in lower case, ids of videos (also those of the accounts), and ids of comments.

    `pseudonyms` are those of the handles in pseudonymous studies. `comments_of_videos` are the comments of the videos.
    They are not withdrawn themselves, because their video is.
    """

    handles: frozenset[str] = frozenset()
    pseudonyms: frozenset[str] = frozenset()
    videos: frozenset[int] = frozenset()
    comments: frozenset[int] = frozenset()
    comments_of_videos: frozenset[int] = frozenset()


def select_items(
    settings: Settings, *, handles: Iterable[str] = (), videos: Iterable[int] = (), comments: Iterable[int] = ()
) -> Selection:
    """Return the named items with those that go with them.

    A handle is also found under its pseudonym, and an account may be named by it. Raises PseudonymKeyError if there are
    pseudonymous data, and their key is missing or another one.
    """
    folded = frozenset(handle.casefold() for handle in handles)
    pseudonyms = _pseudonyms_of(settings, folded)
    all_videos, all_comments = set(videos), frozenset(comments)
    if folded:
        all_videos |= set(_videos_of(settings, folded | pseudonyms))
    of_videos = set(_comments_of(settings, all_videos)) if all_videos else set[int]()
    return Selection(folded, pseudonyms, frozenset(all_videos), all_comments, frozenset(of_videos) - all_comments)


def _pseudonyms_of(settings: Settings, handles: frozenset[str]) -> frozenset[str]:
    """Return the pseudonyms of handles in pseudonymous studies, as far as the handles are none themselves."""
    named = [handle for handle in handles if not is_pseudonym(handle)]
    key = matching_key(settings) if named else None
    return frozenset(map(Pseudonyms(key).of, named)) if key is not None else frozenset()


def capture_files(captures: Path, entities: Iterable[str] = ("*",)) -> list[Path]:
    """Return the sealed captures and the open journals; of a journal that is being sealed, only the journal."""
    found = [path for entity in entities for path in captures.glob(f"{entity}/study=*/*/[!.]*.jsonl*")]
    names = {path.name for path in found}
    sealed = {path for path in found if path.name.endswith(".jsonl.zst") and path.stem not in names}
    return sorted(sealed | {path for path in found if path.suffix == ".jsonl"})


def _videos_of(settings: Settings, handles: frozenset[str]) -> Iterator[int]:
    for entity in VIDEO_ENTITIES:
        for record in _records(settings, entity):
            name = record.get("username")
            if isinstance(name, str) and name.casefold() in handles:
                yield from _ids(record.get("id"), record.get("video_id"))
        yield from _raw_ids(settings, entity, "id", "lower(username) IN (SELECT unnest(?::VARCHAR[]))", sorted(handles))


def _comments_of(settings: Settings, videos: set[int]) -> Iterator[int]:
    for record in _records(settings, "comments"):
        if parse_id(record.get("video_id")) in videos:
            yield from _ids(record.get("id"))
    condition = "video_id IN (SELECT unnest(?::BIGINT[])) OR asked_video_id IN (SELECT unnest(?::BIGINT[]))"
    yield from _raw_ids(settings, "comments", "id", condition, sorted(videos), sorted(videos))


def _records(settings: Settings, entity: str) -> Iterator[dict[str, Any]]:
    for path in capture_files(settings.captures, (entity,)):
        try:
            for event in read_events(path):
                yield from records_of(entity, event.get("answer"))
        except DamagedCapture:
            # The raw tables may still have its rows; the purge reports the file.
            continue


def _raw_ids(settings: Settings, table: str, column: str, condition: str, *values: list[Any]) -> Iterator[int]:
    with RawTables(settings.raw) as raw:
        sql = f"SELECT DISTINCT {column} FROM {{table}} WHERE {column} IS NOT NULL AND ({condition})"
        yield from (row[0] for row in raw.query(table, "study=*/day=*", sql, list(values), ()))


def _ids(*values: object) -> Iterator[int]:
    for value in values:
        if (identifier := parse_id(value)) is not None:
            yield identifier
