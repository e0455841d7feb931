"""The schedules that run checks once a day: `run_checks_daily` all checks of the studies, `verify_files` that of files.

The first covers the cases in which no run includes the checks, so that a problem is found within a day. Not here: the
checks (see checks/).
"""

from collections.abc import Sequence

import dagster as dg

DESCRIPTION = """Runs all checks of the collected assets and of the studies each morning.

The results include the present problems of each study: quarantined and suspicious units, stalled journals, damaged and
unloaded captures. Runs that pause or leave a day incomplete skip the check steps; this schedule runs them.

Cost: no request.

Terms: docs/glossary.md"""

CRON = "0 6 * * *"
"""06:00 UTC. By then most of what the new day's quota allows is collected."""


VERIFY_FILES_DESCRIPTION = """Reads a share of the stored files each day and compares them with their checksums.

The shares of 30 days cover all captures and raw tables; open journals and the quota ledger are read every day. Damaged
raw tables are built again from their captures. The check files_are_intact names every other damaged file, what it
contained and how to restore it.

Cost: no request. To read all files at once, run research-assets verify-files.

Terms: docs/glossary.md"""

VERIFY_FILES_CRON = "0 5 * * *"
"""05:00 UTC, so that `run_checks_daily` sees the rebuilt tables."""


def verify_files_daily(check: dg.AssetCheckKey) -> dg.ScheduleDefinition:
    """Return the schedule `verify_files` over the check of all files."""
    return dg.ScheduleDefinition(
        name="verify_files",
        target=dg.AssetSelection.checks(check),
        cron_schedule=VERIFY_FILES_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=VERIFY_FILES_DESCRIPTION,
    )


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
