"""What a study lacks, by the published warehouse, and what is broken now, by the files.

Broken are units that were given up on, journals that nobody goes on with, and captures that are damaged or never became
tables. Bounded retries make failures quiet; this says what is still broken, since when, and what to do.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from research_assets.checks.rules import IS_OPEN_SQL, RETRY_ADVICE
from research_assets.checks.runner import markdown_sample
from research_assets.planning.messages import pluralize
from research_assets.settings import Settings
from research_assets.storage.captures import (
    CaptureError,
    DamagedCapture,
    Manifest,
    manifest_path,
    read_events,
    sealed_path,
)
from research_assets.storage.raw_reader import query_raw
from research_assets.units.coverage import CURRENT_ATTEMPT_ORDER

JOURNAL_IDLE_LIMIT = timedelta(days=2)
"""How long nothing must have been added to an open journal: a pause ends at midnight, and a night without quota may
follow it."""

PUBLISH_GRACE = timedelta(hours=1)
"""How long a capture may take from its seal to its tables."""

_OPEN_UNITS_SQL = f"""
select entity, cast(partition_day as varchar), unit_kind, unit, state, reason, next_try_at
from marts.coverage
where study = $study and {IS_OPEN_SQL}
order by entity, partition_day, unit
"""

_FAILED_UNITS_SQL = f"""
select entity, "partition", unit, state, reason, next_try, since from (
    select *, min(last_at) filter (state in ('quarantined', 'suspicious'))
        over (partition by entity, "partition", unit_kind, unit) as since
    from {{table}} where unit_kind <> 'canary'
    qualify row_number() over (
        partition by entity, "partition", unit_kind, unit
        order by {CURRENT_ATTEMPT_ORDER}
    ) = 1
) where state in ('quarantined', 'suspicious') order by since, entity, "partition", unit
"""

_ADVICE = {
    "quarantined": "What is quarantined is asked again at its next try; materialize its partition alone to ask now.",
    "suspicious": "What is suspicious is asked again at its next try; if TikTok's app shows videos there, report it.",
    "stalled journal": "Materialize the partition of an unfinished journal: the work goes on where it stopped.",
    "not loaded": "Materialize a partition of the entity, or run research-assets replay; no request is needed.",
    "damaged": "Restore a damaged file from a copy, or move it away and collect its partition with `again`.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is broken: what, where, since when (UTC), and why."""

    kind: str
    where: str
    since: datetime | None
    why: str


def completeness_result(warehouse: DuckDBResource, study: str) -> dg.AssetCheckResult:
    """What a study wants and lacks (see `IS_LACKING`), by the published warehouse; passes before the first build."""
    if not Path(warehouse.database).exists():
        # Connecting would try for minutes.
        return dg.AssetCheckResult(passed=True, description="The warehouse was not built yet.")
    with warehouse.get_connection() as connection:
        rows = connection.execute(_OPEN_UNITS_SQL, {"study": study}).fetchall()
    if not rows:
        return dg.AssetCheckResult(passed=True, metadata={"incomplete units": 0})
    states = Counter(row[4] for row in rows)
    counts = ", ".join(f"{number:,} {state.replace('_', ' ')}" for state, number in sorted(states.items()))
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(rows):,} units are not complete: {counts}. {RETRY_ADVICE}",
        metadata={
            "incomplete units": len(rows),
            "sample": dg.MetadataValue.md(
                markdown_sample(("entity", "partition", "kind", "unit", "state", "reason", "next try"), rows)
            ),
        },
    )


def failures_result(settings: Settings, study: str, now: datetime) -> dg.AssetCheckResult:
    """The inventory of what is broken now, oldest first."""
    found = sorted(find_problems(settings, study, now), key=lambda one: (one.since or now, one.where))
    counts = Counter(one.kind for one in found)
    metadata: dict[str, Any] = {"broken": len(found), **{what: counts[what] for what in _ADVICE}}
    if not found:
        return dg.AssetCheckResult(passed=True, metadata=metadata)
    listed = ", ".join(f"{number:,} {what}" for what, number in counts.items())
    advice = " ".join(_ADVICE[what] for what in counts)
    rows = [(one.kind, one.where, format_age(one.since, now), one.why) for one in found]
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Broken now: {listed}, such as {found[0].where}. {advice}",
        metadata=metadata | {"sample": dg.MetadataValue.md(markdown_sample(("what", "where", "for", "why"), rows))},
    )


def format_age(since: datetime | None, now: datetime) -> str:
    """How long ago something began, in words."""
    if since is None:
        return "unknown"
    hours = max(0, round((now - since) / timedelta(hours=1)))
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"


def find_problems(settings: Settings, study: str, now: datetime) -> Iterator[Problem]:
    """Everything of a study that is broken now."""
    for entity, partition, unit, state, reason, next_try, since in query_raw(
        settings.raw, "coverage", f"study={study}/day=*", _FAILED_UNITS_SQL
    ):
        where = f"{entity} {partition}" if unit == str(partition) else f"{entity} {partition}: {unit}"
        again = f" Next try: {next_try:%Y-%m-%d %H:%M} UTC." if next_try else ""
        yield Problem(state, where, since, f"{reason or ''}{again}".strip())
    for folder in sorted(settings.captures.glob(f"*/study={study}")):
        written = {path.stem for path in (settings.raw / "coverage" / folder.name).glob("day=*/*.parquet")}
        for path in sorted(folder.glob("*/[!.]*.jsonl")):
            yield from _journal_problems(path, settings.captures, now)
        for path in sorted(folder.glob("*/[!.]*.jsonl.zst")):
            yield from _capture_problems(path, settings.captures, written, now)


def _journal_problems(path: Path, captures: Path, now: datetime) -> Iterator[Problem]:
    """An open journal that cannot be read, or that nobody goes on with."""
    where, touched = str(path.relative_to(captures)), _modified_at(path)
    if touched is None or manifest_path(sealed_path(path)).exists():
        return
    try:
        pages = sum(event["event"] == "page" for event in read_events(path))
    except CaptureError as error:
        yield Problem("damaged", where, touched, str(error))
    except FileNotFoundError:
        return
    else:
        if now - touched > JOURNAL_IDLE_LIMIT:
            yield Problem("stalled journal", where, touched, f"{pluralize(pages, 'page')}, and nobody went on")


def _capture_problems(path: Path, captures: Path, written: set[str], now: datetime) -> Iterator[Problem]:
    """A capture whose manifest and file do not fit each other, or whose rows never came into the tables."""
    where, touched = str(path.relative_to(captures)), _modified_at(path)
    if touched is None or (not manifest_path(path).exists() and path.with_suffix("").exists()):
        # Gone, or sealing was cut short: the journal beside it is what counts.
        return
    try:
        manifest = Manifest.load(path)
    except DamagedCapture as error:
        yield Problem("damaged", where, touched, str(error))
        return
    if path.stat().st_size != manifest.size:
        yield Problem("damaged", where, touched, f"It has {path.stat().st_size:,} bytes, not {manifest.size:,}.")
    elif manifest.units and manifest.capture not in written and now - touched > PUBLISH_GRACE:
        yield Problem("not loaded", where, touched, f"{manifest.rows:,} rows wait")


def _modified_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
