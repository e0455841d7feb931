"""Runs as the Dagster instance records them: active runs, their budgets, and recent runs without progress.

Not here: the decisions that the sensors base on them (see collection.py and build_marts.py).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from research_assets.clock import MAX_CLOCK_SKEW
from research_assets.fields import ENTITIES
from research_assets.planning.types import StudyEntity
from research_assets.resources import ASSET_TAG

CODE_LOCATION = "research_assets"
"""Name of the code location in workspace.yaml, for commands. A sensor knows that of its own."""

VERIFICATION_JOB = "verify_due_items"
"""Name of the job that verifies stored ids. Its runs collect no asset, although they have no selection."""

STATE_TAG, TICK_TAG = ".dagster/research_state", ".dagster/research_tick"
"""Tags of a planned run: digest of the state of its study and entity when it was planned, and the time of the plan.
The UI hides tags with this prefix."""
REQUESTS_TAG = "research/estimated_requests"
"""Tag with the estimated number of requests, for readers. The budget of a run is in its config."""

ACTIVE_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.MANAGED,
    dg.DagsterRunStatus.CANCELING,
]
MIN_BACKOFF, MAX_BACKOFF = timedelta(minutes=15), timedelta(hours=4)
"""Wait after a run without progress. It doubles with each further one, up to the maximum."""

WILL_RETRY_TAG = "dagster/will_retry"
"""Dagster's tag of a crashed run that it retries by itself."""

_RETRIED_TAG = "dagster/auto_retry_run_id"
_RETRY_GRACE_SECONDS = 120
"""Time in which Dagster retries a crashed run. It looks for crashed runs every 5 seconds."""
_MAX_RUNS = 16


def selected_keys(run: dg.DagsterRun, keys: Iterable[dg.AssetKey]) -> set[dg.AssetKey]:
    """Return the `keys` that a run materializes. A run without a selection materializes all."""
    return set(keys) if run.asset_selection is None else set(keys) & set(run.asset_selection)


_REPOSITORY_TAG = ".dagster/repository"
"""Dagster's tag of a launched run: `<repository>@<code location>`. A run inside a process of its own has none."""


def location_of(context: dg.SensorEvaluationContext) -> str | None:
    """Return the name of the code location whose sensor is evaluated; None in a test without one."""
    origin = context.code_location_origin
    return origin.location_name if origin is not None else None


def read_cursor(context: dg.SensorEvaluationContext) -> Any:
    """Return the JSON value of a sensor's cursor; None for a first tick or a text that a person has set in the UI."""
    try:
        return json.loads(context.cursor or "null")
    except ValueError:
        return None


def is_of_location(run: dg.DagsterRun, location: str | None) -> bool:
    """Return whether a run belongs to a code location. An instance may have several, of several projects."""
    repository = run.tags.get(_REPOSITORY_TAG)
    return location is None or repository is None or repository.rpartition("@")[2] == location


def active_runs(instance: dg.DagsterInstance, now: datetime, location: str | None = None) -> Sequence[dg.DagsterRun]:
    """Return runs of a code location that are queued or running, by any cause, or crashed and about to be retried.

    Without runs of verification, which change no asset.

    `now` is the machine's time, because Dagster records the end of a run in it.
    """
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    # Dagster sets the tag shortly after the failure. Until then a crashed run counts as retried if retries are enabled.
    without_tag = "true" if instance.run_retries_enabled else "false"
    runs = [
        *instance.get_runs(filters=dg.RunsFilter(statuses=ACTIVE_STATUSES)),
        *(
            record.dagster_run
            for record in instance.get_run_records(filters=failed, limit=_MAX_RUNS)
            if _RETRIED_TAG not in record.dagster_run.tags
            and record.dagster_run.tags.get(WILL_RETRY_TAG, without_tag) == "true"
            and record.end_time is not None
            and abs(now.timestamp() - record.end_time) < _RETRY_GRACE_SECONDS
        ),
    ]
    # A run of another project without a selection would otherwise seem to materialize every asset of this one.
    return [run for run in runs if is_of_location(run, location) and run.job_name != VERIFICATION_JOB]


def step_name(study: str, entity: str) -> str:
    """Return the name of the step that collects an entity; a step collects all content of a study."""
    return f"{study}__{'content' if ENTITIES[entity].time_axis == 'content' else entity}"


def running_requests(
    runs: Iterable[tuple[dg.DagsterRun, Mapping[StudyEntity, int]]], keys: Sequence[dg.AssetKey]
) -> dict[StudyEntity, int]:
    """Return the requests that the runs may still send, by study and entity; 0 for runs without a budget.

    `runs` are runs with the requests that each has taken from its budget. Entities of one step share its budget, which
    is counted for one of them.
    """
    requests: dict[StudyEntity, int] = {}
    for run, used in runs:
        budgets = _budgets(run)
        for key in sorted(selected_keys(run, keys)):
            study, entity = key.path
            requests.setdefault((study, entity), 0)
            step = step_name(study, entity)
            budget = budgets.pop(step, None)
            if budget is not None:
                used_by_step = sum(n for (name, other), n in used.items() if step_name(name, other) == step)
                requests[study, entity] += max(0, budget - used_by_step)
    return requests


def _budgets(run: dg.DagsterRun) -> dict[str, int]:
    """Return the budgets in the config of a run by step."""
    config: Mapping[str, Any] = run.run_config
    steps = {step: (values or {}).get("config") or {} for step, values in config.get("ops", {}).items()}
    return {step: values["max_requests"] for step, values in steps.items() if values.get("max_requests") is not None}


def runs_without_progress(
    instance: dg.DagsterInstance,
    key: StudyEntity,
    state_digest: str,
    location: str | None = None,
    *,
    count_cancelled: bool = True,
) -> tuple[int, datetime | None, str]:
    """Return the number of ticks whose runs ended without changing the state, and the end of the last of these runs.

    Also return the id of the newest run of a tick, whatever its state; empty if there is none.

    A cancelled run counts with `count_cancelled`: a sensor does not start again at once what a person has cancelled.
    """
    records = instance.get_run_records(filters=dg.RunsFilter(tags={ASSET_TAG: "/".join(key)}), limit=_MAX_RUNS)
    ticks, ended_at, newest = set(), None, ""
    for record in records:
        run = record.dagster_run
        if not is_of_location(run, location):
            continue
        newest = newest or run.run_id
        if run.tags.get(STATE_TAG) != state_digest:
            break
        if run.is_finished and (count_cancelled or run.status is not dg.DagsterRunStatus.CANCELED):
            ticks.add(run.tags.get(TICK_TAG))
            if ended_at is None and record.end_time is not None:
                ended_at = datetime.fromtimestamp(record.end_time, UTC)
    return len(ticks), ended_at, newest


def backoff_ends_at(n_failed: int, ended_at: datetime, now: datetime) -> datetime | None:
    """Return when the wait after failed runs ends; None if it has ended. Both times are the machine's.

    A longer wait means that the run ended while the machine's clock was ahead: then nothing waits.
    """
    wait = ended_at + backoff(n_failed) - now
    return now + wait if timedelta(0) < wait <= backoff(n_failed) + MAX_CLOCK_SKEW else None


def backoff(n_ticks: int) -> timedelta:
    """Return the wait after a number of ticks without progress: 15, 30, 60 … minutes, at most 4 hours."""
    return min(MIN_BACKOFF * (1 << min(n_ticks - 1, 16)), MAX_BACKOFF)
