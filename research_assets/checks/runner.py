"""Rules held against what is held, and what is told of the outcome. One connection for all rules of an entity.

Opens the files of one study's entity and no others. Without data there is nothing wrong.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from research_assets.checks.rules import CheckRule
from research_assets.fields import COVERAGE, ENTITIES, column_definitions, table_columns
from research_assets.storage.raw_sql import sql_literal
from research_assets.units.coverage import CURRENT_ATTEMPT_ORDER

MAX_INLINE_CHARACTERS = 980
"""Characters of Markdown that the UI shows at once rather than behind a link."""

_LONGEST_CELL = 60
_MAX_ATTEMPTS = 3

_UNITS = """
create or replace temp view canaries as select * exclude (study, day) from all_units
where entity = {entity} and unit_kind = 'canary'
qualify row_number() over (partition by unit order by last_at desc, capture desc) = 1;
create or replace temp view units as select * exclude (study, day) from all_units
where entity = {entity} and unit_kind <> 'canary'
qualify row_number() over (
    partition by "partition", unit_kind, unit
    order by {order}
) = 1
"""


def run_rules(
    raw: Path, study: str, entity: str, rules: Iterable[CheckRule]
) -> Iterator[tuple[CheckRule, dg.AssetCheckResult]]:
    """Hold rules against a study's entity; passes where nothing is held."""
    if not _files(raw, entity, study) and not _files(raw, "coverage", study):
        for rule in rules:
            yield rule, dg.AssetCheckResult(passed=True, description="Nothing is held yet.")
        return
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        _create_views(connection, raw, study, entity)
        for rule in rules:
            yield rule, _run_rule(connection, raw, study, entity, rule)


def markdown_sample(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """As many rows as the UI shows at once, one at least, as a table in Markdown; ids are text, browsers round them."""
    lines = ["| " + " | ".join(column.replace("_", " ") for column in columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        line = "| " + " | ".join(map(_cell, row)) + " |"
        if len(lines) > 2 and sum(map(len, lines)) + len(line) + len(lines) > MAX_INLINE_CHARACTERS:
            break
        lines.append(line)
    return "\n".join(lines)


def format_row(row: Sequence[Any]) -> str:
    """A row in one line."""
    return " · ".join(filter(None, map(_cell, row)))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    words = " ".join(str(value).replace("|", "¦").split()).removesuffix("+00:00")
    return words if len(words) <= _LONGEST_CELL else words[: _LONGEST_CELL - 1] + "…"


def _files(raw: Path, table: str, study: str) -> list[str]:
    return sorted(map(str, (raw / table / f"study={study}").glob("**/*.parquet")))


def _run_rule(
    connection: duckdb.DuckDBPyConnection, raw: Path, study: str, entity: str, rule: CheckRule
) -> dg.AssetCheckResult:
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        try:
            [(total,)] = connection.execute(f"select count(*) from {rule.table}").fetchall()
            connection.execute(rule.sql)
            columns = [column[0] for column in connection.description or ()]
            rows = connection.fetchall()
            numbers = _read_summary(connection, rule)
            break
        except duckdb.IOException:
            # Somebody published or removed a file between the listing and the reading.
            if attempt == _MAX_ATTEMPTS:
                raise
            _create_views(connection, raw, study, entity)
    metadata: dict[str, Any] = {"rows checked": total, "failing rows": len(rows), **numbers}
    if not rows:
        return dg.AssetCheckResult(passed=True, metadata=metadata)
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR if rule.blocking else dg.AssetCheckSeverity.WARN,
        # The sample opens at a click only, so the first of it is told here.
        description=f"{len(rows):,} of {total:,} break the rule, such as {format_row(rows[0])}. {rule.advice}",
        metadata=metadata | {"sample": dg.MetadataValue.md(markdown_sample(columns, rows))},
    )


def _read_summary(connection: duckdb.DuckDBPyConnection, rule: CheckRule) -> dict[str, Any]:
    if rule.summary_sql is None:
        return {}
    connection.execute(rule.summary_sql)
    [row] = connection.fetchall()
    return dict(zip([column[0] for column in connection.description or ()], row, strict=True))


def _create_views(connection: duckdb.DuckDBPyConnection, raw: Path, study: str, entity: str) -> None:
    """Views `held` and `units`, over the files that are there now. A column that no file has is null."""
    for view, table, columns in (
        ("rows_held", entity, table_columns(ENTITIES[entity])),
        ("all_units", "coverage", COVERAGE),
    ):
        definitions = column_definitions(columns)
        connection.execute(f"create or replace temp table empty_{view} (study varchar, {definitions}, day date)")
        source = f"select * from empty_{view}"
        if files := _files(raw, table, study):
            listed = ", ".join(map(sql_literal, files))
            source += (
                f" union all by name select * from read_parquet([{listed}], hive_partitioning = true,"
                f" union_by_name = {view == 'rows_held'}, hive_types = {{'study': varchar, 'day': date}})"
            )
        connection.execute(f"create or replace temp view {view} as {source}")
    connection.execute(_UNITS.format(entity=sql_literal(entity), order=CURRENT_ATTEMPT_ORDER))
