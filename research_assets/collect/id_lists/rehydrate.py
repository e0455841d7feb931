"""Rehydration of an id list: rows in the raw tables under a name of their own, and a coverage row for every id.

Not here: requesting the ids of videos (see run.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.collect.id_lists.run import IdListProgress, IdState
from research_assets.collect.lists.run import ListPartitionRun
from research_assets.collect.publish import publish_capture, recover_unpublished
from research_assets.collect.session import RunState
from research_assets.collect.types import CollectionTask, CollectorContext, Paused
from research_assets.settings import Settings
from research_assets.storage.captures import Journal
from research_assets.storage.locks import lock_partitions
from research_assets.storage.raw_reader import query_raw
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.ids import upload_time
from research_assets.tiktok.pseudonyms import Pseudonyms
from research_assets.units.coverage import Attempt, UnitState, read_unit_status
from research_assets.units.targets import Target

UNIT_STATE_OF: Mapping[IdState, UnitState] = {"returned": "complete", "absent": "missing", "unanswered": "quarantined"}
"""State of the unit by the state of its id."""

REASON_OF: Mapping[IdState, str | None] = {
    "returned": None,
    "absent": "The API does not return this video: removed, private, or never public.",
    "unanswered": "The API did not answer for this video.",
}
"""Default reason by the state of an id."""


def publish_rehydrated(raw: Path, journal: Journal, listed: Iterable[ListedVideo], progress: IdListProgress) -> None:
    """Publish the rows of a journal; `raw/coverage` gets one row per id, of the unit kind `video`."""
    publish_capture(raw, journal, _attempts(journal.capture, listed, progress))


def _attempts(capture: str, listed: Iterable[ListedVideo], progress: IdListProgress) -> Iterator[Attempt]:
    requests_per_id = progress.requests / max(1, len(progress.states))
    for one in listed:
        id_state = progress.states[one.id]
        yield Attempt(
            entity="videos",
            partition=one.day or upload_time(one.id).date(),
            unit_kind="video",
            unit=str(one.id),
            state=UNIT_STATE_OF[id_state],
            first_at=progress.first_at,
            last_at=progress.last_at,
            asked=1,
            offered=int(id_state == "returned"),
            kept=int(id_state == "returned"),
            requests=requests_per_id,
            reason=progress.reasons.get(one.id) or REASON_OF[id_state],
            capture=capture,
        )


def already_rehydrated(settings: Settings, name: str) -> set[int]:
    """Return the ids whose videos an earlier rehydration with this name returned.

    Raises DamagedCapture if one of its captures cannot be read: its ids would be requested again.
    """
    _recover(settings, "videos", name)
    records = read_unit_status(settings.raw, "videos", study=name, captures=settings.captures)
    return {
        int(record.attempt.unit)
        for record in records
        if record.attempt.unit_kind == "video" and record.attempt.state == "complete"
    }


def _recover(settings: Settings, entity: str, name: str) -> None:
    """Publish what a killed rehydration left sealed but unwritten. Raises DamagedCapture if that is impossible."""
    for error in recover_unpublished(settings.captures, settings.raw, entity, name):
        raise error


@dataclass(frozen=True, slots=True)
class RehydratedComments:
    """The listed comments that are collected now, and the pause that left videos open, if any."""

    returned: frozenset[int]
    paused: Paused | None


async def rehydrate_comments(
    name: str, listed: Mapping[int, Set[int]], context: CollectorContext, pseudonyms: Pseudonyms | None = None
) -> RehydratedComments:
    """Collect the comments of all videos with listed comments; the API cannot return single comments.

    All comments of these videos are stored in the raw tables under `name`, with `pseudonyms` without handles. Settled
    videos are not requested again.
    Raise PartitionBusy if another process collects under the same name, and DamagedCapture if a capture of an earlier
    rehydration cannot be read.
    """
    settings = context.settings
    by_day: dict[date, list[Target]] = {}
    for video in sorted(listed):
        target = Target("comments", "video", str(video), {"asked_video_id": video})
        by_day.setdefault(upload_time(video).date(), []).append(target)
    task = CollectionTask(StudySpec(name, min(by_day), {}), "comments", tuple(by_day))
    run = RunState(name, "comments", BY_ENTITY["comments"].pool, context, pseudonyms=pseudonyms)
    pause = None
    with lock_partitions(settings.state, name, "comments", task.partitions):
        _recover(settings, "comments", name)
        for day, targets in by_day.items():
            records = read_unit_status(
                settings.raw, "comments", study=name, partitions=[day], captures=settings.captures
            )
            status = {record.attempt.unit: record for record in records}
            result = await ListPartitionRun(task, run, day, status, {}, {}).run(targets)
            run.raise_failure()
            if isinstance(result, Paused):
                pause = result
                break
    rows = query_raw(settings.raw, "comments", f"study={name}/day=*", "SELECT DISTINCT id FROM {table}")
    comments = {comment for of_video in listed.values() for comment in of_video}
    return RehydratedComments(frozenset(comment for (comment,) in rows if comment in comments), pause)
