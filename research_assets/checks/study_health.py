"""The two checks of a whole study: its incomplete units, and its present problems.

Incomplete units are read from the published warehouse, problems from the files. Problems are quarantined and suspicious
units, stalled journals, damaged captures, and captures that were not loaded into the raw tables. Retries are bounded,
so a problem can stop causing failed runs; this check still reports it, with its age and the action to take. Not here:
rules for single entities (see rules.py).
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
from research_assets.text import markdown_text
from research_assets.units.coverage import CURRENT_ATTEMPT_ORDER

JOURNAL_IDLE_LIMIT = timedelta(days=2)
"""Time without a new event after which an open journal is stalled. A pause ends at midnight, and a day without quota
may follow it."""

PUBLISH_GRACE = timedelta(hours=1)
"""Time that a capture may take from its seal to its raw tables."""

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
    "quarantined": "A quarantined unit is retried at its next try; to retry it now, materialize its partition alone.",
    "suspicious": "A suspicious unit is retried at its next try; if TikTok's app shows videos there, report it to the "
    "API's support.",
    "stalled journal": "Materialize the partition of the stalled journal: collection resumes after its last page.",
    "not loaded": "Materialize a partition of the entity, or run `research-assets replay`; no request is needed.",
    "damaged file": "Restore the file from a backup; or move it away and materialize its partition with "
    "`recollect: true`.",
}
"""Advice by kind of problem."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A present problem: its kind, location, begin (UTC) and reason."""

    kind: str
    location: str
    since: datetime | None
    reason: str


def completeness_result(warehouse: DuckDBResource, study: str) -> dg.AssetCheckResult:
    """Return the result for the incomplete units of a study in the mart `coverage`; passes before the first build.

    A unit is incomplete if `IS_OPEN_SQL` is true for it.
    """
    if not Path(warehouse.database).exists():
        # Connecting to a file that does not exist would retry for minutes.
        return dg.AssetCheckResult(passed=True, description="The warehouse is not built yet.")
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
            "example rows": dg.MetadataValue.md(
                markdown_sample(("entity", "partition", "kind", "unit", "state", "reason", "next try"), rows)
            ),
        },
    )


def failures_result(settings: Settings, study: str, now: datetime) -> dg.AssetCheckResult:
    """Return the result for the present problems of a study, oldest first."""
    problems = sorted(find_problems(settings, study, now), key=lambda problem: (problem.since or now, problem.location))
    counts = Counter(problem.kind for problem in problems)
    metadata: dict[str, Any] = {"problems": len(problems), **{kind: counts[kind] for kind in _ADVICE}}
    if not problems:
        return dg.AssetCheckResult(passed=True, metadata=metadata)
    counts_text = ", ".join(f"{number:,} {kind}" for kind, number in counts.items())
    advice = " ".join(_ADVICE[kind] for kind in counts)
    rows = [(problem.kind, problem.location, format_age(problem.since, now), problem.reason) for problem in problems]
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Problems: {counts_text}. Oldest: {markdown_text(problems[0].location, 200)}. {advice}",
        metadata=metadata
        | {"example rows": dg.MetadataValue.md(markdown_sample(("kind", "location", "age", "reason"), rows))},
    )


def format_age(since: datetime | None, now: datetime) -> str:
    """Return the time since a problem began as text, such as `30 hours` or `12 days`."""
    if since is None:
        return "unknown"
    hours = max(0, round((now - since) / timedelta(hours=1)))
    return pluralize(hours, "hour") if hours < 48 else pluralize(hours // 24, "day")


def find_problems(settings: Settings, study: str, now: datetime) -> Iterator[Problem]:
    """Yield the present problems of a study."""
    for entity, partition, unit, state, reason, next_try, since in query_raw(
        settings.raw, "coverage", f"study={study}/day=*", _FAILED_UNITS_SQL
    ):
        where = f"{entity} {partition}" if unit == str(partition) else f"{entity} {partition}: {unit}"
        next_try_text = f" Next try: {next_try:%Y-%m-%d %H:%M} UTC." if next_try else ""
        yield Problem(state, where, since, f"{reason or ''}{next_try_text}".strip())
    for folder in sorted(settings.captures.glob(f"*/study={study}")):
        loaded = {path.stem for path in (settings.raw / "coverage" / folder.name).glob("day=*/*.parquet")}
        for path in sorted(folder.glob("*/[!.]*.jsonl")):
            yield from _journal_problems(path, settings.captures, now)
        for path in sorted(folder.glob("*/[!.]*.jsonl.zst")):
            yield from _capture_problems(path, settings.captures, loaded, now)


def _journal_problems(path: Path, captures: Path, now: datetime) -> Iterator[Problem]:
    """Yield a problem if an open journal cannot be read, or if no run has resumed it for `JOURNAL_IDLE_LIMIT`."""
    where, modified_at = str(path.relative_to(captures)), _modified_at(path)
    if modified_at is None or manifest_path(sealed_path(path)).exists():
        return
    try:
        pages = sum(event["event"] == "page" for event in read_events(path))
    except CaptureError as error:
        yield Problem("damaged file", where, modified_at, str(error))
    except FileNotFoundError:
        return
    else:
        if now - modified_at > JOURNAL_IDLE_LIMIT:
            yield Problem("stalled journal", where, modified_at, f"{pluralize(pages, 'page')}; no run resumed it")


def _capture_problems(path: Path, captures: Path, loaded: set[str], now: datetime) -> Iterator[Problem]:
    """Yield a problem if a capture does not match its manifest, or if its rows are not in the raw tables."""
    where, modified_at = str(path.relative_to(captures)), _modified_at(path)
    if modified_at is None or (not manifest_path(path).exists() and path.with_suffix("").exists()):
        # The file was removed, or sealing was interrupted: then the journal next to it is the valid one.
        return
    try:
        manifest = Manifest.load(path)
    except DamagedCapture as error:
        yield Problem("damaged file", where, modified_at, str(error))
        return
    size = path.stat().st_size
    if size != manifest.size:
        yield Problem(
            "damaged file", where, modified_at, f"The file has {size:,} bytes; its manifest states {manifest.size:,}."
        )
    elif manifest.units and manifest.capture not in loaded and now - modified_at > PUBLISH_GRACE:
        yield Problem("not loaded", where, modified_at, f"{pluralize(manifest.rows, 'row')} not in the raw tables")


def _modified_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
