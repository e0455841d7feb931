"""Runs check rules on the raw tables of one entity of one study, and turns failing rows into check results.

All rules of an entity share one DuckDB connection, which opens the files of that entity only. Without data every rule
passes. Not here: the rules (see rules.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from research_assets.checks.rules import CheckRule
from research_assets.fields import COVERAGE, ENTITIES, REJECTED, column_definitions, table_columns
from research_assets.storage.raw_reader import intact_files, with_retries
from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.shared_duckdb import connect_shared
from research_assets.text import markdown_text, one_line
from research_assets.units.coverage import CURRENT_ATTEMPT_ORDER

MAX_INLINE_CHARACTERS = 980
"""Upper limit in characters: the UI shows shorter Markdown inline, and longer Markdown behind a link."""

_MAX_CELL_CHARACTERS = 60

_MAX_COPIED_BYTES = 1 << 20
"""Total size of the files, in bytes, up to which the rules read a copy of the rows in memory.

Each of about 15 rules reads the rows several times, and opening small files takes longer than the query."""

_UNIT_VIEWS = {
    "rejected": "select * exclude (study, day) from all_rejected where entity = {entity}",
    "canaries": """
select * exclude (study, day) from all_units
where entity = {entity} and unit_kind = 'canary'
qualify row_number() over (partition by unit order by last_at desc, capture desc) = 1
""",
    "units": """
select * exclude (study, day) from all_units
where entity = {entity} and unit_kind not in ('canary', 'rename')
qualify row_number() over (
    partition by "partition", unit_kind, unit
    order by {order}
) = 1
""",
}


def run_rules(
    raw: Path, study: str, entity: str, rules: Iterable[CheckRule]
) -> Iterator[tuple[CheckRule, dg.AssetCheckResult]]:
    """Yield each rule with its result for an entity of a study. Every rule passes if no data was collected."""
    if not _files(raw, entity, study) and not _files(raw, "coverage", study):
        for rule in rules:
            yield rule, dg.AssetCheckResult(passed=True, description="No data collected yet.")
        return
    with closing(connect_shared()) as connection:
        with_retries(lambda: _create_views(connection, raw, study, entity))
        for rule in rules:
            yield rule, _run_rule(connection, raw, study, entity, rule)


def markdown_sample(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table of as many rows as the UI shows inline, at least one.

    Ids are text, because browsers round 64-bit integers.
    """
    lines = ["| " + " | ".join(column.replace("_", " ") for column in columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        line = "| " + " | ".join(map(_markdown_cell, row)) + " |"
        if len(lines) > 2 and sum(map(len, lines)) + len(line) + len(lines) > MAX_INLINE_CHARACTERS:
            break
        lines.append(line)
    return "\n".join(lines)


def format_row(row: Sequence[Any]) -> str:
    """Return a row as one line of Markdown, which the UI renders in descriptions of results as well."""
    return " · ".join(filter(None, map(_markdown_cell, row)))


def _markdown_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float | date):
        return str(value).removesuffix("+00:00")
    return markdown_text(one_line(str(value), _MAX_CELL_CHARACTERS))


def _files(raw: Path, table: str, study: str) -> list[Path]:
    return intact_files(raw, table, [f"study={study}/*"])


def _run_rule(
    connection: duckdb.DuckDBPyConnection, raw: Path, study: str, entity: str, rule: CheckRule
) -> dg.AssetCheckResult:
    def read() -> tuple[int, list[str], list[tuple[Any, ...]], dict[str, Any]]:
        [(total,)] = connection.execute(f"select count(*) from {rule.table}").fetchall()
        connection.execute(rule.sql)
        columns = [column[0] for column in connection.description or ()]
        return total, columns, connection.fetchall(), _read_summary(connection, rule)

    total, columns, rows, summary = with_retries(read, lambda: _create_views(connection, raw, study, entity))
    metadata: dict[str, Any] = {"rows checked": total, "failing rows": len(rows), **summary}
    if not rows:
        return dg.AssetCheckResult(passed=True, metadata=metadata)
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR if rule.blocking else dg.AssetCheckSeverity.WARN,
        # The UI shows the example rows only after a click, so the description names the first one.
        description=f"Failing rows: {len(rows):,} of {total:,}, for example {format_row(rows[0])}. {rule.advice}",
        metadata=metadata | {"example rows": dg.MetadataValue.md(markdown_sample(columns, rows))},
    )


def _read_summary(connection: duckdb.DuckDBPyConnection, rule: CheckRule) -> dict[str, Any]:
    if rule.summary_sql is None:
        return {}
    connection.execute(rule.summary_sql)
    [row] = connection.fetchall()
    return dict(zip([column[0] for column in connection.description or ()], row, strict=True))


def _create_views(connection: duckdb.DuckDBPyConnection, raw: Path, study: str, entity: str) -> None:
    """Create the views that rules read over the present files. Columns without data are null."""
    files = {table: _files(raw, table, study) for table in (entity, "coverage", "rejected")}
    is_copied = sum(file.stat().st_size for paths in files.values() for file in paths) <= _MAX_COPIED_BYTES
    for view, table, columns in (
        ("rows_held", entity, table_columns(ENTITIES[entity])),
        ("all_units", "coverage", COVERAGE),
        ("all_rejected", "rejected", REJECTED),
    ):
        definitions = column_definitions(columns)
        connection.execute(f"create or replace temp table empty_{view} (study varchar, {definitions}, day date)")
        source = f"select * from empty_{view}"
        if files[table]:
            file_list = ", ".join(map(sql_literal, files[table]))
            source += (
                f" union all by name select * from read_parquet([{file_list}], hive_partitioning = true,"
                f" union_by_name = {view == 'rows_held'}, hive_types = {{'study': varchar, 'day': date}})"
            )
        _create_view(connection, view, source, is_copied=is_copied)
    for view, query in _UNIT_VIEWS.items():
        source = query.format(entity=sql_literal(entity), order=CURRENT_ATTEMPT_ORDER)
        _create_view(connection, view, source, is_copied=is_copied)


def _create_view(connection: duckdb.DuckDBPyConnection, view: str, query: str, *, is_copied: bool) -> None:
    if is_copied:
        connection.execute(f"create or replace temp table copied_{view} as {query}")
        query = f"select * from copied_{view}"
    connection.execute(f"create or replace temp view {view} as {query}")
