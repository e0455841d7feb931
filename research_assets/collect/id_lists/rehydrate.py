"""Rows anew from a list of ids: into the raw tables, under a name of their own, with a coverage row for every id."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from research_assets.collect.id_lists.reader import ListedVideo, upload_time
from research_assets.collect.id_lists.run import IdListProgress, IdState
from research_assets.collect.lists.run import ListPartitionRun
from research_assets.collect.publish import publish_capture
from research_assets.collect.sender import RequestSender
from research_assets.collect.types import CollectionTask, CollectorContext, Paused, RunCounter
from research_assets.settings import Settings
from research_assets.storage.captures import Journal
from research_assets.storage.locks import lock_partitions
from research_assets.storage.raw_reader import query_raw
from research_assets.study.spec import StudySpec
from research_assets.units.coverage import Attempt, UnitState, read_unit_status
from research_assets.units.targets import Target

UNIT_STATE_OF: Mapping[IdState, UnitState] = {"returned": "complete", "absent": "missing", "unanswered": "quarantined"}
REASON_OF: Mapping[IdState, str | None] = {
    "returned": None,
    "absent": "The API does not return this video: removed, private, or never public.",
    "unanswered": "The API did not answer for this video.",
}


def publish_rehydrated(raw: Path, journal: Journal, listed: Iterable[ListedVideo], known: IdListProgress) -> None:
    """Publish what a journal brought; `raw/coverage` gets one row per id, of the unit kind `video`."""
    publish_capture(raw, journal, _attempts(journal.capture, listed, known))


def _attempts(capture: str, listed: Iterable[ListedVideo], known: IdListProgress) -> Iterator[Attempt]:
    each = known.requests / max(1, len(known.states))
    for one in listed:
        found = known.states[one.id]
        yield Attempt(
            entity="videos",
            partition=one.day or upload_time(one.id).date(),
            unit_kind="video",
            unit=str(one.id),
            state=UNIT_STATE_OF[found],
            first_at=known.first_at,
            last_at=known.last_at,
            asked=1,
            offered=int(found == "returned"),
            kept=int(found == "returned"),
            requests=each,
            reason=known.reasons.get(one.id) or REASON_OF[found],
            capture=capture,
        )


def already_rehydrated(settings: Settings, name: str) -> set[int]:
    """The ids whose videos an earlier rebuild of this name brought."""
    records = read_unit_status(settings.raw, "videos", study=name, captures=settings.captures)
    return {
        int(record.attempt.unit)
        for record in records
        if record.attempt.unit_kind == "video" and record.attempt.state == "complete"
    }


@dataclass(frozen=True, slots=True)
class RehydratedComments:
    """What came of listed comments: those that are held now, and the pause that left videos unasked."""

    returned: frozenset[int]
    paused: Paused | None


async def rehydrate_comments(
    name: str, listed: Mapping[int, Set[int]], context: CollectorContext
) -> RehydratedComments:
    """Ask for the comments of all videos that listed ones belong to, since single ones cannot be asked for.

    They go where a study's comments go, with what else those videos have. What is held is not asked again. Raises Busy
    if another process does the same.
    """
    settings = context.settings
    by_day: dict[date, list[Target]] = {}
    for video in sorted(listed):
        target = Target("comments", "video", str(video), {"asked_video_id": video})
        by_day.setdefault(upload_time(video).date(), []).append(target)
    task = CollectionTask(StudySpec(name, min(by_day), {}), "comments", tuple(by_day))
    sender = RequestSender(
        context.client, context.ledger, context.clock, rate=settings.rate_limit, concurrency=settings.concurrency
    )
    pause = None
    with lock_partitions(settings.state, name, "comments", task.partitions):
        for day, targets in by_day.items():
            records = read_unit_status(
                settings.raw, "comments", study=name, partitions=[day], captures=settings.captures
            )
            status = {record.attempt.unit: record for record in records}
            counter = RunCounter(task, context.progress)
            result = await ListPartitionRun(task, context, sender, counter, day, status, {}).run(targets)
            if isinstance(result, Paused):
                pause = result
                break
    rows = query_raw(settings.raw, "comments", f"study={name}/day=*", "SELECT DISTINCT id FROM {table}")
    wanted = {comment for own in listed.values() for comment in own}
    return RehydratedComments(frozenset(comment for (comment,) in rows if comment in wanted), pause)
