"""The items that a request for erasure concerns: the named ones, and those that go with them.

With an account go its videos, with a video its comments, with a comment its replies. They are found in the captures and
in the raw tables, because a capture may be damaged and an open journal is in no raw table. Not here: their removal (see
removal.py).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from research_assets.settings import Settings
from research_assets.storage.captures import DamagedCapture, read_events
from research_assets.storage.listing import matching_paths
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

    `pseudonyms` are those of the handles in pseudonymous studies. `comments_with_them` are the comments of the videos
    and the replies to comments. They are not withdrawn themselves, because their video or comment is. With
    `only_profiles`, the profiles and lists of the accounts go and their videos stay.
    """

    handles: frozenset[str] = frozenset()
    pseudonyms: frozenset[str] = frozenset()
    videos: frozenset[int] = frozenset()
    comments: frozenset[int] = frozenset()
    comments_with_them: frozenset[int] = frozenset()
    only_profiles: bool = False


def select_items(
    settings: Settings,
    *,
    handles: Iterable[str] = (),
    videos: Iterable[int] = (),
    comments: Iterable[int] = (),
    only_profiles: bool = False,
) -> Selection:
    """Return the named items with those that go with them.

    A handle is also found under its pseudonym, and an account may be named by it. Raises PseudonymKeyError if there are
    pseudonymous data, and their key is missing or another one.
    """
    folded = frozenset(handle.casefold() for handle in handles)
    pseudonyms = _pseudonyms_of(settings, folded)
    all_videos, all_comments = set(videos), frozenset(comments)
    if folded and not only_profiles:
        all_videos |= set(_videos_of(settings, folded | pseudonyms))
    with_them = _comments_with(settings, all_videos, all_comments) if all_videos or all_comments else set[int]()
    with_them -= all_comments
    return Selection(folded, pseudonyms, frozenset(all_videos), all_comments, frozenset(with_them), only_profiles)


def _pseudonyms_of(settings: Settings, handles: frozenset[str]) -> frozenset[str]:
    """Return the pseudonyms of handles in pseudonymous studies, as far as the handles are none themselves."""
    named = [handle for handle in handles if not is_pseudonym(handle)]
    key = matching_key(settings) if named else None
    return frozenset(map(Pseudonyms(key).of, named)) if key is not None else frozenset()


def capture_files(captures: Path, entities: Iterable[str] = ("*",)) -> list[Path]:
    """Return the sealed captures and the open journals; of a journal that is being sealed, only the journal."""
    found = [path for entity in entities for path in matching_paths(captures, f"{entity}/study=*/*/[!.]*.jsonl*")]
    names = {path.name for path in found}
    sealed = {path for path in found if path.name.endswith(".jsonl.zst") and path.stem not in names}
    return sorted(sealed | {path for path in found if path.suffix == ".jsonl"})


def is_capture_file(captures: Path, path: Path) -> bool:
    """Return whether a file is where `capture_files` looks. A copy at another depth, such as a backup, is not."""
    parts = path.relative_to(captures).parts
    return len(parts) == 4 and parts[1].startswith("study=")


def _videos_of(settings: Settings, handles: frozenset[str]) -> Iterator[int]:
    for entity in VIDEO_ENTITIES:
        for record in _records(settings, entity):
            name = record.get("username")
            if isinstance(name, str) and name.casefold() in handles:
                yield from _ids(record.get("id"), record.get("video_id"))
        yield from _raw_ids(settings, entity, "id", "lower(username) IN (SELECT unnest(?::VARCHAR[]))", sorted(handles))


def _comments_with(settings: Settings, videos: set[int], comments: frozenset[int]) -> set[int]:
    """Return the comments of videos, the replies to comments, and the replies to these."""
    gone = set(comments)
    for event in _events(settings, "comments"):
        context = {parse_id(value) for value in (event.get("context") or {}).values()}
        is_in_thread = not gone.isdisjoint(context) or not videos.isdisjoint(context)
        for record in records_of("comments", event.get("answer")):
            if (
                is_in_thread
                or parse_id(record.get("video_id")) in videos
                or parse_id(record.get("parent_comment_id")) in gone
            ):
                gone.update(_ids(record.get("id")))
    columns = {"video_id": videos, "asked_video_id": videos, "parent_comment_id": gone, "asked_comment_id": gone}
    condition = " OR ".join(f"{column} IN (SELECT unnest(?::BIGINT[]))" for column in columns)
    while new := {*_raw_ids(settings, "comments", "id", condition, *map(sorted, columns.values()))} - gone:
        gone |= new
    return gone


def _records(settings: Settings, entity: str) -> Iterator[dict[str, Any]]:
    for event in _events(settings, entity):
        yield from records_of(entity, event.get("answer"))


def _events(settings: Settings, entity: str) -> Iterator[Mapping[str, Any]]:
    for path in capture_files(settings.captures, (entity,)):
        try:
            yield from read_events(path)
        except DamagedCapture:
            # The raw tables may still have its rows; the removal reports the file.
            continue


def _raw_ids(settings: Settings, table: str, column: str, condition: str, *values: list[Any]) -> Iterator[int]:
    with RawTables(settings.raw) as raw:
        sql = f"SELECT DISTINCT {column} FROM {{table}} WHERE {column} IS NOT NULL AND ({condition})"
        yield from (row[0] for row in raw.query(table, "study=*/day=*", sql, list(values), ()))


def _ids(*values: object) -> Iterator[int]:
    for value in values:
        if (identifier := parse_id(value)) is not None:
            yield identifier
