"""The sensor `quota_window`, which turns free quota into collection runs.

A tick reads the plan, starts the planned runs, and records days that are already collected as materialized. Not here:
the plan (see collection_plan.py).
"""

from collections.abc import Callable, Sequence

import dagster as dg

from research_assets.planning.messages import describe_run, plan_table, pluralize
from research_assets.quota.server_time import SandboxUnreachable
from research_assets.resources import CollectorResource
from research_assets.sensors.collection_plan import Periods, read_collection_plan
from research_assets.sensors.run_history import location_of
from research_assets.sensors.study_files import describe_changed_files
from research_assets.settings import SettingsError
from research_assets.study.spec import StudySpec

DESCRIPTION = """Starts collection runs while the day's quota has free requests, in order of priority.

Order: first days that have just settled, days that have reached an age of reobserve_days, and units whose next
try is due; then paused work, comments (also those that the newer counts of re-observed videos show to be missing) and
the accounts of the running period; then earlier days. Studies share the
quota by their quota_weight. Once a week, one request per study checks whether previously collected videos are still
found (canary check).

Plan: Cursor on this page lists what starts now and what follows later, with units, requests and time. Each run
has its cost in the tag research/estimated_requests.

Cost: no more requests than the quota has left. If no run fits, the tick says how many requests remain, how many
units wait, and when quota is available.

Re-run: the sensor resumes paused runs. Switch it off to collect by hand only.

Terms: docs/glossary.md"""


def quota_window(
    studies: Sequence[StudySpec],
    collector: CollectorResource,
    periods: Periods | None = None,
    read_studies: Callable[[], Sequence[StudySpec]] | None = None,
) -> dg.SensorDefinition:
    """Return the sensor over all collected assets of some studies.

    `periods` are the partitions that Dagster knows. `read_studies` reads the study files, which may have changed since
    the code location was loaded; each tick says what is not loaded, and fails while a file is invalid.
    """

    @dg.sensor(
        name="quota_window",
        # A `target` would require the same partitions for all assets.
        # Groups rather than assets, because the list of sensors shows the selection.
        asset_selection=dg.AssetSelection.groups(*(f"studies/{study.name}" for study in studies)),
        minimum_interval_seconds=collector.settings.sensor_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=DESCRIPTION,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        changes = "" if read_studies is None else describe_changed_files(studies, read_studies)
        try:
            clock = collector.server_clock()
        except (SettingsError, SandboxUnreachable) as error:
            return dg.SkipReason(str(error))
        plan = read_collection_plan(
            context.instance, studies, collector, clock, location=location_of(context), periods=periods
        )
        for key, unknown in plan.unknown_periods.items():
            context.log.warning(
                "%s is due for %s, which is no partition yet: reload the code location under Deployment.",
                "/".join(key),
                ", ".join(map(str, unknown)),
            )
        if changes:
            context.log.warning(changes)
        requests = [plan.run_request(item) for item in plan.runs]
        for item in plan.agenda.items:
            context.log.info(describe_run(item))
        planned = "; ".join(map(describe_run, plan.runs)) if requests else plan.describe_deferred()
        message = f"{changes} {planned}" if changes else planned
        return dg.SensorResult(
            run_requests=requests,
            asset_events=[*plan.materializations(collector.settings)],
            skip_reason=None if requests else message,
            # For readers only: the UI shows the cursor at the sensor. Each tick reads its inputs again.
            cursor=cursor_text(
                f"{plan.now:%Y-%m-%d %H:%M} UTC",
                f"{changes} {pluralize(len(requests), 'run')} requested.".strip() if requests else message,
                plan_table(plan.agenda, plan.now),
            ),
        )

    return sensor


CURSOR_COLUMNS = 90
"""Width of a line of the cursor in characters. At window widths of 1280 to 2000 pixels, one such line fits and two do
not."""


_UNBREAKABLE = str.maketrans({" ": "\N{NO-BREAK SPACE}", "-": "-\N{WORD JOINER}"})
"""Texts in which a browser breaks no line, for those in which it does; the joiner has no width."""


def cursor_text(time: str, message: str, plan: str) -> str:
    """Return a message and the plan as the UI shows a table in a cursor.

    The UI joins the lines of a cursor. It breaks them at ordinary spaces, and a browser also after the
    hyphens of a date.
    """
    lines = ["", *(line for line in plan.splitlines() if line)] if plan else []
    table = [line.ljust(CURSOR_COLUMNS).translate(_UNBREAKABLE) for line in lines]
    return " ".join([f"{time}: {message}", *table])
