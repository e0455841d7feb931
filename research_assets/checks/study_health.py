"""The checks of a whole study: its incomplete units, its present problems, and changes of its file.

Incomplete units are read from the published warehouse, problems from the files. Problems are quarantined and suspicious
units, stalled journals, damaged captures, and captures that were not loaded into the raw tables. Retries are bounded,
so a problem can stop causing failed runs; this check still reports it, with its age and the action to take. Not here:
rules for single entities (see rules.py).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from research_assets.checks.rules import IS_OPEN_SQL, RETRY_ADVICE
from research_assets.checks.runner import markdown_sample
from research_assets.planning.messages import pluralize
from research_assets.report.provenance import (
    change_sentences,
    changed_with_data,
    first_sentence,
    pending_change,
    preregistration_sentences,
)
from research_assets.settings import Settings
from research_assets.storage import capture_problems
from research_assets.storage.capture_problems import find_capture_problems, modified_at
from research_assets.storage.captures import DAMAGED_SUFFIX, CaptureError, manifest_path, read_events, sealed_path
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_reader import query_raw
from research_assets.study.provenance import ProvenanceError, contents_of, read_provenance, study_hash
from research_assets.study.spec import StudySpec
from research_assets.text import markdown_text
from research_assets.units.coverage import CURRENT_ATTEMPT_ORDER, count_held

JOURNAL_IDLE_LIMIT = timedelta(days=2)
"""Time without a new event after which an open journal is stalled. A pause ends at midnight, and a day without quota
may follow it."""

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
    from {{table}} where unit_kind not in ('canary', 'rename')
    qualify row_number() over (
        partition by entity, "partition", unit_kind, unit
        order by {CURRENT_ATTEMPT_ORDER}
    ) = 1
) where state in ('quarantined', 'suspicious') order by since, entity, "partition", unit
"""

_ADVICE: dict[str, str] = {
    "quarantined": "A quarantined unit is retried at its next try; to retry it now, materialize its partition alone.",
    "suspicious": "A suspicious unit is retried at its next try; if TikTok's app shows videos there, report it to the "
    "API's support.",
    "stalled journal": "Materialize the partition of the stalled journal: collection resumes after its last page.",
    "damaged journal": "The next run of its partition resumes before the damaged line and requests the rest again. To "
    "keep the rest, restore the journal from a backup before that.",
    "set aside": "A damaged file was set aside, and its content is collected or written again. Remove the file when "
    "you do not need it.",
    **capture_problems.ADVICE,
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


def provenance_result(settings: Settings, study: StudySpec) -> dg.AssetCheckResult:
    """Return the result for changes of the study file after the first data were stored; passes before."""
    try:
        record = read_provenance(settings, study.name)
    except ProvenanceError as error:
        return dg.AssetCheckResult(
            passed=False, severity=dg.AssetCheckSeverity.WARN, description=markdown_text(str(error))
        )
    if record.first is None:
        return dg.AssetCheckResult(passed=True, description="Collection has not begun.")
    current = contents_of(study)
    pending = bool(pending_change(record, current)) and bool(count_held(settings.raw, study.name).units)
    texts = [first_sentence(record.first), *change_sentences(record, current), *preregistration_sentences(record)]
    return dg.AssetCheckResult(
        passed=not changed_with_data(record) and not pending,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(map(markdown_text, texts)),
        metadata={
            "SHA-256 of the first collection": record.first.sha256,
            "SHA-256 of the study file": study_hash(current),
            "changes": len(record.collected) - 1,
        },
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
    for folder in sorted(matching_paths(settings.captures, f"*/study={study}")):
        for path in sorted(matching_paths(folder, f"*/*{DAMAGED_SUFFIX}")):
            yield Problem("set aside", str(path.relative_to(settings.captures)), modified_at(path), "")
        for path in sorted(matching_paths(folder, "*/[!.]*.jsonl")):
            yield from _journal_problems(path, settings.captures, now)
    for found in find_capture_problems(settings.captures, settings.raw, study, now):
        yield Problem(found.kind, str(found.path.relative_to(settings.captures)), found.since, found.reason)


def _journal_problems(path: Path, captures: Path, now: datetime) -> Iterator[Problem]:
    """Yield a problem if an open journal cannot be read, or if no run has resumed it for `JOURNAL_IDLE_LIMIT`."""
    where, since = str(path.relative_to(captures)), modified_at(path)
    if since is None or manifest_path(sealed_path(path)).exists():
        return
    try:
        pages = sum(event["event"] == "page" for event in read_events(path))
    except CaptureError as error:
        yield Problem("damaged journal", where, since, str(error))
    except FileNotFoundError:
        return
    else:
        if now - since > JOURNAL_IDLE_LIMIT:
            yield Problem("stalled journal", where, since, f"{pluralize(pages, 'page')}; no run resumed it")
