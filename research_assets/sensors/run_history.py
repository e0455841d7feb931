"""What the Dagster instance knows of runs: which collect now, and which of late changed nothing."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from research_assets.planning.types import StudyEntity

ASSET_TAG, STATE_TAG, TICK_TAG = ".dagster/research_asset", ".dagster/research_state", ".dagster/research_tick"
"""Tags of a run that the quota window asked for: study and entity; a digest of how they stood then; the tick. They tell
people nothing, and the UI hides tags of this prefix."""
REQUESTS_TAG = "research/estimated_requests"
"""Tag with the requests that were estimated."""

ACTIVE_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.MANAGED,
    dg.DagsterRunStatus.CANCELING,
]
MIN_BACKOFF, MAX_BACKOFF = timedelta(minutes=15), timedelta(hours=4)
"""The pause after a run that changed nothing; it doubles with each further one."""

WILL_RETRY_TAG = "dagster/will_retry"
"""Dagster's tag of a run that crashed and is started once more, without a hand."""

_RETRIED_TAG = "dagster/auto_retry_run_id"
_RETRY_GRACE_SECONDS = 120  # seconds; Dagster looks for crashed runs every 5
_MAX_RUNS = 16


def selected_keys(run: dg.DagsterRun, keys: Iterable[dg.AssetKey]) -> set[dg.AssetKey]:
    """Which of `keys` a run materializes; one without a selection takes all."""
    return set(keys) if run.asset_selection is None else set(keys) & set(run.asset_selection)


def active_runs(instance: dg.DagsterInstance, now: datetime) -> Sequence[dg.DagsterRun]:
    """Runs that wait, start or go on, whoever asked for them, and crashed ones that Dagster is about to start again.

    `now` is the machine's time, by which runs end.
    """
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    # The tag comes a moment after the failure.
    unsaid = "true" if instance.run_retries_enabled else "false"
    return [
        *instance.get_runs(filters=dg.RunsFilter(statuses=ACTIVE_STATUSES)),
        *(
            record.dagster_run
            for record in instance.get_run_records(filters=failed, limit=_MAX_RUNS)
            if _RETRIED_TAG not in record.dagster_run.tags
            and record.dagster_run.tags.get(WILL_RETRY_TAG, unsaid) == "true"
            and record.end_time is not None
            and now.timestamp() - record.end_time < _RETRY_GRACE_SECONDS
        ),
    ]


def running_requests(runs: Iterable[dg.DagsterRun], keys: Sequence[dg.AssetKey]) -> dict[StudyEntity, int]:
    """Study and entity of what runs, with the requests that were estimated for it (0 where nobody estimated)."""
    found: dict[StudyEntity, int] = {}
    for run in runs:
        for key in selected_keys(run, keys):
            study, entity = key.path
            found[study, entity] = found.get((study, entity), 0) + int(run.tags.get(REQUESTS_TAG, 0))
    return found


def runs_without_progress(instance: dg.DagsterInstance, key: StudyEntity, work: str) -> tuple[int, datetime | None]:
    """How often work was asked for that stands just as it stood then, and when the last of these runs ended."""
    records = instance.get_run_records(filters=dg.RunsFilter(tags={ASSET_TAG: "/".join(key)}), limit=_MAX_RUNS)
    ticks, ended = set(), None
    for record in records:
        run = record.dagster_run
        if run.tags.get(STATE_TAG) != work:
            break
        if run.is_finished:
            ticks.add(run.tags.get(TICK_TAG))
            if ended is None and record.end_time is not None:
                ended = datetime.fromtimestamp(record.end_time, UTC)
    return len(ticks), ended


def backoff(times: int) -> timedelta:
    """How long nothing is asked after so many ticks in vain."""
    return min(MIN_BACKOFF * (1 << min(times - 1, 16)), MAX_BACKOFF)
