"""What the Dagster instance knows of runs: which collect now, and which of late changed nothing."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from research_assets.collect.agenda_model import StudyEntity

BATCH, WORK, TICK = ".dagster/research_batch", ".dagster/research_work", ".dagster/research_tick"
"""Tags of a run that the quota window asked for: study and entity; a digest of how they stood then; the tick. They tell
people nothing, and the UI hides tags of this prefix."""
REQUESTS = "research/requests"
"""Tag with the requests that were estimated."""

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.MANAGED,
    dg.DagsterRunStatus.CANCELING,
]
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=15), timedelta(hours=4)
"""The pause after a run that changed nothing; it doubles with each further one."""

WILL_RETRY = "dagster/will_retry"
"""Dagster's tag of a run that crashed and is started once more, without a hand."""

_RETRIED = "dagster/auto_retry_run_id"
_SOON = 120  # seconds; Dagster looks for crashed runs every 5
_LOOK_BACK = 16


def keys_of(run: dg.DagsterRun, keys: Iterable[dg.AssetKey]) -> set[dg.AssetKey]:
    """Which of `keys` a run materializes; one without a selection takes all."""
    return set(keys) if run.asset_selection is None else set(keys) & set(run.asset_selection)


def active(instance: dg.DagsterInstance, now: datetime) -> Sequence[dg.DagsterRun]:
    """Runs that wait, start or go on, whoever asked for them, and crashed ones that Dagster is about to start again.

    `now` is the machine's time, by which runs end.
    """
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    # The tag comes a moment after the failure.
    unsaid = "true" if instance.run_retries_enabled else "false"
    return [
        *instance.get_runs(filters=dg.RunsFilter(statuses=ACTIVE)),
        *(
            record.dagster_run
            for record in instance.get_run_records(filters=failed, limit=_LOOK_BACK)
            if _RETRIED not in record.dagster_run.tags
            and record.dagster_run.tags.get(WILL_RETRY, unsaid) == "true"
            and record.end_time is not None
            and now.timestamp() - record.end_time < _SOON
        ),
    ]


def running(runs: Iterable[dg.DagsterRun], keys: Sequence[dg.AssetKey]) -> dict[StudyEntity, int]:
    """Study and entity of what runs, with the requests that were estimated for it (0 where nobody estimated)."""
    found: dict[StudyEntity, int] = {}
    for run in runs:
        for key in keys_of(run, keys):
            study, entity = key.path
            found[study, entity] = found.get((study, entity), 0) + int(run.tags.get(REQUESTS, 0))
    return found


def in_vain(instance: dg.DagsterInstance, key: StudyEntity, work: str) -> tuple[int, datetime | None]:
    """How often work was asked for that stands just as it stood then, and when the last of these runs ended."""
    records = instance.get_run_records(filters=dg.RunsFilter(tags={BATCH: "/".join(key)}), limit=_LOOK_BACK)
    ticks, ended = set(), None
    for record in records:
        run = record.dagster_run
        if run.tags.get(WORK) != work:
            break
        if run.is_finished:
            ticks.add(run.tags.get(TICK))
            if ended is None and record.end_time is not None:
                ended = datetime.fromtimestamp(record.end_time, UTC)
    return len(ticks), ended


def pause(times: int) -> timedelta:
    """How long nothing is asked after so many ticks in vain."""
    return min(FIRST_PAUSE * (1 << min(times - 1, 16)), LONGEST_PAUSE)
