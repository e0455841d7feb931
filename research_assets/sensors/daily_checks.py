"""The schedule `run_checks_daily`, which runs all checks once a day.

It covers the cases in which no run includes the checks, so that a problem is found within a day. Not here: the checks
(see checks/).
"""

from collections.abc import Sequence

import dagster as dg

DESCRIPTION = """Runs all checks of the collected assets and of the studies each morning.

The results include the present problems of each study: quarantined and suspicious units, stalled journals, damaged and
unloaded captures. Runs that pause or leave a day incomplete skip the check steps; this schedule runs them.

**Cost:** no request.

Terms: docs/glossary.md"""

CRON = "0 6 * * *"
"""06:00 UTC. By then most of what the new day's quota allows is collected."""


def run_checks_daily(checks: Sequence[dg.AssetCheckKey]) -> dg.ScheduleDefinition:
    """Return the schedule over some checks."""
    return dg.ScheduleDefinition(
        name="run_checks_daily",
        target=dg.AssetSelection.checks(*checks),
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=DESCRIPTION,
    )
