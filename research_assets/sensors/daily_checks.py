"""The schedule that makes the checks once a day, also where no run makes them: what breaks is found in a day."""

from collections.abc import Sequence

import dagster as dg

DESCRIPTION = """Makes all checks of the collected assets each morning, with the inventory of what is broken now: units
given up on, journals that nobody goes on with, damaged captures. Nothing is asked and nothing is collected. Runs that
pause, or leave a day that is not complete, make no checks themselves; here they are made up for."""

CRON = "0 6 * * *"
"""06:00 UTC: what the new day's quota allows has mostly been collected by then."""


def run_checks_daily(checks: Sequence[dg.AssetCheckKey]) -> dg.ScheduleDefinition:
    """The schedule over some checks."""
    return dg.ScheduleDefinition(
        name="run_checks_daily",
        target=dg.AssetSelection.checks(*checks),
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=DESCRIPTION,
    )
