"""The job and the sensor `verify_due_items`, which verify stored items with the API and withdraw what is gone.

Not here: the steps (see compliance/verification/step.py).
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from research_assets.alerts import append_alert, post_webhook
from research_assets.compliance.verification.planning import studies_by_lookup
from research_assets.compliance.verification.schedule import Schedule
from research_assets.compliance.verification.step import give_word, take_step
from research_assets.compliance.verification.tasks import TaskJournal, describe, describe_refusal
from research_assets.quota.server_time import SandboxUnreachable
from research_assets.resources import CollectorResource
from research_assets.sensors.run_history import (
    ACTIVE_STATUSES,
    VERIFICATION_JOB,
    backoff_ends_at,
    is_of_location,
    location_of,
)
from research_assets.settings import SettingsError
from research_assets.storage.listing import matching_paths

_MAX_RUNS = 16

DESCRIPTION = """Verifies that stored videos, comments and profiles exist, and removes the others.

A run makes the steps that are possible now: it sends ids that fall due (RESEARCH_VERIFY_DAYS) in files of up to
10,000, requests the status of open tasks, downloads results and withdraws what is missing. Profiles, and videos of
studies with `verify_by: lookup`, are requested one by one or in groups of 100. They are missing once they were not
returned on two UTC days. No run waits for the API.

An answer that is empty, short or foreign, look-ups whose controls are not returned, or more missing items than
RESEARCH_VERIFY_MAX_SHARE withdraw nothing and wait for a person. Launch the job verify_due_items with the name of the
task under `confirm` or `reject`, or run research-assets verify.

Cost: at least 3 requests per file of ids; 1 request per account or per 100 videos that are looked up, at most
RESEARCH_VERIFY_LOOKUP_SHARE of the daily quota.

Terms: docs/glossary.md"""


class VerificationConfig(dg.Config):
    """Words of a person about tasks that wait for one."""

    confirm: list[str] = Field([], description="Tasks whose missing items are withdrawn")
    reject: list[str] = Field([], description="Tasks whose answer is discarded; their items are verified again")


@dg.op(
    description="Makes the steps of verification that are possible now.",
    required_resource_keys={"research_api"},
    out=dg.Out(dg.Nothing),
)
def take_verification_step(context: dg.OpExecutionContext, config: VerificationConfig) -> None:
    """Record the words of a person, take a step, and add what it did to the output."""
    collector: CollectorResource = context.resources.research_api
    settings, clock = collector.settings, collector.server_clock()
    for name in config.confirm:
        give_word(settings, name, "confirmed", clock.now())
    for name in config.reject:
        give_word(settings, name, "rejected", clock.now())
    report = take_step(settings, collector.open, clock.now, studies=studies_by_lookup(settings))
    for task in report.held_back:
        text = describe(task)
        context.log.warning("%s", text)
        webhook = post_webhook(settings, f"research-assets: the verification task {task.name} waits for a person.")
        # By the clock of the machine, as all alerts.
        at = collector.clock.now().isoformat(timespec="seconds")
        append_alert(settings, {"at": at, "sensor": VERIFICATION_JOB, "message": [text], "webhook": webhook})
    problems = [problem for receipt in report.receipts for problem in receipt.problems]
    context.add_output_metadata(
        {
            "due": report.n_due,
            "tasks created": report.n_created,
            "verified": report.n_verified,
            "withdrawn": report.n_withdrawn,
            "held back": len(report.waiting),
            **({"waiting for a word": "\n".join(map(describe, report.waiting))} if report.waiting else {}),
            **({"paused": report.pause} if report.pause else {}),
            **({"batch compliance": report.refusal} if report.refusal else {}),
            **({"not cleaned": "\n".join(problems)} if problems else {}),
        }
    )


@dg.job(name=VERIFICATION_JOB, description=DESCRIPTION)
def verification_job() -> None:
    """Take one step."""
    take_verification_step()


def verify_due_items(collector: CollectorResource) -> dg.SensorDefinition:
    """Return the sensor, whose tick reads two small files."""
    settings = collector.settings

    @dg.sensor(
        name="verify_due_items",
        job=verification_job,
        minimum_interval_seconds=2 * settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        # The folder itself exists as soon as the project has been opened.
        if next(matching_paths(settings.raw, "*/study=*"), None) is None:
            return dg.SkipReason("No data collected yet.")
        reason = _blocker(context.instance, collector.clock.now(), location_of(context))
        if reason is None:
            try:
                now = collector.server_clock().now()
            except (SettingsError, SandboxUnreachable) as error:
                return dg.SkipReason(str(error))
            reason = step_blocker(Schedule.load(settings), TaskJournal(settings), now)
        return dg.SkipReason(reason) if reason is not None else dg.RunRequest(tags={"dagster/priority": "1"})

    return sensor


def step_blocker(schedule: Schedule, journal: TaskJournal, now: datetime) -> str | None:
    """Return why no step is possible now, None if one is."""
    at = schedule.next_step(journal, now)
    if at is not None and at <= now:
        return None
    waiting = " ".join(describe(task) for task in journal.open_tasks if task.phase == "word")
    refusal = describe_refusal(journal, now)
    pause = f"Paused: {schedule.pause_reason} " if schedule.paused_until and schedule.paused_until > now else ""
    following = f"Next step: {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC." if at is not None else ""
    return " ".join(one for one in (pause.strip(), refusal, waiting, following) if one)


def _blocker(instance: dg.DagsterInstance, now: datetime, location: str | None) -> str | None:
    """Return why the runs of the job let no other begin: one is active, or the last ones failed. `now` is local."""
    of_job = dg.RunsFilter(job_name=VERIFICATION_JOB, statuses=ACTIVE_STATUSES)
    if any(is_of_location(run, location) for run in instance.get_runs(filters=of_job)):
        return "A step of verification is running."
    records = instance.get_run_records(filters=dg.RunsFilter(job_name=VERIFICATION_JOB), limit=_MAX_RUNS)
    n_failed, ended_at = _failures([one for one in records if is_of_location(one.dagster_run, location)])
    if n_failed and ended_at is not None and (again := backoff_ends_at(n_failed, ended_at, now)) is not None:
        return f"The last {n_failed} runs failed. Next attempt: {again:%Y-%m-%d %H:%M} UTC."
    return None


def _failures(records: Sequence[dg.RunRecord]) -> tuple[int, datetime | None]:
    """Return the number of failed runs since the last success, and the end of the newest of them."""
    n_failed, ended_at = 0, None
    for record in records:
        if record.dagster_run.status != dg.DagsterRunStatus.FAILURE:
            break
        n_failed += 1
        if ended_at is None and record.end_time is not None:
            ended_at = datetime.fromtimestamp(record.end_time, UTC)
    return n_failed, ended_at
