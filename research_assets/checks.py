"""What must hold for the data of a study, looked at after each run: in the raw tables, and in the published warehouse.

A check reads and judges, it mends nothing and asks nothing. Without data there is nothing wrong. What dbt can say
about its own models (keys, relations, values) is tested there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from research_assets.collect.spec import StudySpec
from research_assets.fields import ENTITIES, column_definitions, table_columns
from research_assets.resources import Collection

COVERAGE = dg.AssetKey(["marts", "coverage"])
"""The mart with one row per unit of work."""

SAMPLE = 10
"""Rows that a failed check shows."""

LATE = 7 * 86_400
"""Seconds after the upload at which a publication is doubtful: recorded were up to 2.5 days (reference §3.1.3)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows of a study's raw videos that should not be: `sql` finds them in `held`, `advice` says what to do."""

    name: str
    meaning: str
    sql: str
    advice: str


RULES = (
    Rule(
        "videos_lie_in_their_day",
        "Each video was published on the UTC day of its partition.",
        "select id, day, create_time, capture from held"
        " where create_time is not null and to_timestamp(create_time)::timestamp::date <> day",
        "Pages of one search came from other data. Materialize these days once more with `again`.",
    ),
    Rule(
        "ids_fit_their_time",
        "The moment of upload in a video's id (id >> 32) lies before its publication, by a week at most.",
        "select id, day, create_time - (id >> 32) as seconds_after_upload, capture from held"
        f" where create_time - (id >> 32) not between -60 and {LATE}",
        "Single videos may be drafts that were kept for long; many mean that ids or times arrived damaged.",
    ),
    Rule(
        "no_video_stands_twice",
        "A video stands in one day only, and once in each capture.",
        "select id, count(*) as rows, count(distinct day) as days, count(distinct capture) as captures from held"
        " group by id having count(distinct day) > 1 or count(*) > count(distinct capture)",
        "Build the raw tables anew from the captures: research-assets replay.",
    ),
)


def _told(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> dg.MetadataValue:
    """A sample of rows as a table in Markdown; ids as text, because the browser would round them."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in rows[:SAMPLE]]
    return dg.MetadataValue.md("\n".join(lines))


def broken(raw: Path, study: str, rule: Rule) -> dg.AssetCheckResult:
    """Hold one rule against the videos of a study; passes where nothing is held."""
    folder = raw / "videos" / f"study={study}"
    if next(folder.glob("**/*.parquet"), None) is None:
        return dg.AssetCheckResult(passed=True, description="Nothing is held yet.")
    with duckdb.connect() as connection:
        # The empty table gives columns that a study may have dropped.
        connection.execute(f"create table held ({column_definitions(table_columns(ENTITIES['videos']))}, day date)")
        connection.execute(
            "insert into held by name select * exclude (study) from"
            " read_parquet($files, hive_partitioning = true, union_by_name = true,"
            " hive_types = {'study': varchar, 'day': date})",
            {"files": str(folder / "**" / "*.parquet")},
        )
        total = connection.execute("select count(*) from held").fetchall()[0][0]
        connection.execute(rule.sql)
        columns = [column[0] for column in connection.description or ()]
        rows = connection.fetchall()
    metadata: dict[str, Any] = {"rows looked at": total, "rows that break the rule": len(rows)}
    if not rows:
        return dg.AssetCheckResult(passed=True, metadata=metadata)
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(rows)} of {total} rows break the rule. {rule.advice}",
        metadata=metadata | {"sample": _told(rows, columns)},
    )


_OPEN = """
select entity, cast(partition_day as varchar), unit_kind, unit, state, reason, next_try_at
from marts.coverage
where study = $study and state not in ('complete', 'refused', 'missing', 'too_fresh')
order by entity, partition_day, unit
"""


def not_complete(warehouse: DuckDBResource, study: str) -> dg.AssetCheckResult:
    """What a study wants and lacks, by the published warehouse; passes before the first build.

    Refused and missing units are final for now and days that are too fresh will come: none of them is a lack.
    """
    if not Path(warehouse.database).exists():
        # Connecting would try for minutes.
        return dg.AssetCheckResult(passed=True, description="The warehouse was not built yet.")
    with warehouse.get_connection() as connection:
        rows = connection.execute(_OPEN, {"study": study}).fetchall()
    states: dict[str, int] = {}
    for row in rows:
        states[row[4]] = states.get(row[4], 0) + 1
    if not rows:
        return dg.AssetCheckResult(passed=True, metadata={"units not complete": 0})
    counts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{len(rows)} units are not complete: {counts}. Materialize the partitions that are not asked or partial. "
            "What is quarantined or suspicious is asked again at its next try, or at once where one partition is asked."
        ),
        metadata={
            "units not complete": len(rows),
            "sample": _told(rows, ("entity", "partition", "kind", "unit", "state", "reason", "next try")),
        },
    )


def _raw_check(study: StudySpec, rule: Rule) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=dg.AssetKey([study.name, "videos"]), name=rule.name, description=rule.meaning)
    def check(collection: dg.ResourceParam[Collection]) -> dg.AssetCheckResult:
        return broken(collection.settings.raw, study.name, rule)

    return check


def _coverage_check(study: StudySpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=COVERAGE,
        name=f"{study.name}_lacks_nothing",
        description=f"All that {study.name} wants is held, refused, not there, or not due yet.",
    )
    def check(warehouse: DuckDBResource) -> dg.AssetCheckResult:
        return not_complete(warehouse, study.name)

    return check


def study_checks(study: StudySpec) -> list[dg.AssetChecksDefinition]:
    """The checks of one study."""
    return [*(_raw_check(study, rule) for rule in RULES), _coverage_check(study)]
