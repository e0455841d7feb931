"""Removal of withdrawn items from the raw tables: files of rewritten captures are built again, all others cleaned.

A file whose rows stay the same is not touched. Not here: the captures (see removal.py).
"""

import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from research_assets.fields import ENTITIES, VERIFIED_TABLES
from research_assets.storage.captures import capture_of
from research_assets.storage.files import private_folder, temporary_path
from research_assets.storage.listing import matching_paths
from research_assets.storage.parquet_io import connect_small_writer, temporary_folder, write_draft
from research_assets.storage.raw_digests import publish_raw_files, remove_raw_file, replace_raw_file
from research_assets.storage.raw_sql import read_json_sql, sql_literal
from research_assets.storage.raw_writer import PLACEHOLDER_STUDY, write_capture
from research_assets.storage.withheld import Cleaner, is_withdrawn_unit, unit_text

_CONTEXT = ("asked_username", "asked_video_id", "asked_comment_id")
_BATCH = 10_000
"""Rows that are read at once."""


def rebuild_raw_files(raw: Path, sealed: Path) -> list[Path]:
    """Write the raw files of a rewritten capture again; returns those that changed or were removed."""
    study = sealed.parent.parent.name
    name = f"{capture_of(sealed)}.parquet"
    changed = []
    with temporary_folder(raw, "removal") as folder:
        fresh = private_folder(folder / "raw")
        write_capture(fresh, sealed)
        # The coverage last: it proves that all rows were written.
        for table in (*ENTITIES, "rejected", "coverage"):
            new = {path.parent.name: path for path in matching_paths(fresh / table / study, f"day=*/{name}")}
            old = {path.parent.name: path for path in matching_paths(raw / table / study, f"day=*/{name}")}
            for day, path in old.items():
                if day not in new:
                    remove_raw_file(path)
                    changed.append(path)
                elif path.read_bytes() != new[day].read_bytes():
                    draft = temporary_path(path)
                    shutil.copyfile(new[day], draft)
                    replace_raw_file(draft, path)
                    changed.append(path)
            for day in new.keys() - old.keys():
                path = private_folder(raw / table / study / day) / name
                draft = temporary_path(path)
                shutil.copyfile(new[day], draft)
                publish_raw_files([(draft, path)])
                changed.append(path)
    return changed


def other_raw_files(raw: Path, captures: Collection[str]) -> Iterator[Path]:
    """Yield the raw files that are not of one of these captures."""
    for path in sorted(matching_paths(raw, "*/study=*/day=*/*.parquet")):
        if path.stem not in captures and path.parents[1].name != f"study={PLACEHOLDER_STUDY}":
            yield path


def is_raw_file(raw: Path, path: Path) -> bool:
    """Return whether a file is one of a raw table. A copy at another depth, such as a backup, is not."""
    parts = path.relative_to(raw).parts
    return len(parts) == 4 and path.match("study=*/day=*/*.parquet")


def clean_raw_file(raw: Path, path: Path, cleaner: Cleaner, *, apply: bool) -> bool:
    """Remove withdrawn items from a raw file row by row; returns whether it contained any.

    With `apply` false, nothing is written.
    """
    table = path.parents[2].name
    with connect_small_writer() as db:
        source = f"read_parquet({sql_literal(path)}, hive_partitioning = false)"
        columns = {name: kind for name, kind, *_ in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        if not _is_affected(table, _rows(db, source, columns), cleaner):
            return False
        if not apply:
            return True
        with temporary_folder(raw, "removal") as folder:
            lines, longest, n_rows = folder / "rows.jsonl", 0, 0
            with lines.open("wb") as file:
                for row in _rows(db, source, columns):
                    kept = _clean_row(table, row, cleaner)
                    if kept is not None:
                        fragments = {
                            name: orjson.Fragment(value) if columns[name] == "JSON" and value is not None else value
                            for name, value in kept.items()
                        }
                        n_rows += 1
                        longest = max(longest, file.write(orjson.dumps(fragments, option=orjson.OPT_APPEND_NEWLINE)))
            if n_rows:
                replace_raw_file(write_draft(db, f"SELECT * FROM {read_json_sql(lines, columns, longest)}", path), path)
            else:
                remove_raw_file(path)
    return True


def _rows(db: Any, source: str, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    cursor = db.cursor()
    try:
        result = cursor.execute(f"SELECT * FROM {source}")
        while rows := result.fetchmany(_BATCH):
            yield from (dict(zip(columns, row, strict=True)) for row in rows)
    finally:
        cursor.close()


def _is_affected(table: str, rows: Iterator[dict[str, Any]], cleaner: Cleaner) -> bool:
    return any(_clean_row(table, row, cleaner) is not row for row in rows)


def _clean_row(table: str, row: dict[str, Any], cleaner: Cleaner) -> dict[str, Any] | None:
    """Return a row without withdrawn items: the same object if it has none, None if all of it goes."""
    if table in ENTITIES:
        goes = cleaner.is_withdrawn_record(table, row) or any(cleaner.is_item(row.get(name)) for name in _CONTEXT)
        return None if goes else cleaner.value(row)
    if table in VERIFIED_TABLES:
        return None if cleaner.is_id(row["id"]) else row
    entity, unit = str(row.get("entity")), row.get("unit")
    if table == "rejected":
        element = _parsed(row.get("value"))
        if is_withdrawn_unit(entity, row, cleaner.withdrawn) or cleaner.is_withdrawn_record(entity, element):
            return None
    elif table != "requests" and is_withdrawn_unit(entity, row, cleaner.withdrawn):
        return None
    changes = {
        "unit": unit_text(cleaner, entity, unit) if isinstance(unit, str) else unit,
        "reason": cleaner.message(row["reason"]) if row.get("reason") else row.get("reason"),
        "value": cleaner.text(row["value"]) if row.get("value") else row.get("value"),
    }
    changes = {name: value for name, value in changes.items() if name in row and row[name] != value}
    return row | changes if changes else row


def _parsed(value: Any) -> Any:
    try:
        return orjson.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None
