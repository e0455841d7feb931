"""Rewriting of exported tables: some rows go, some texts change; the rest keeps its order, types and bytes.

A rule says what happens to a row (see changes.py). A file is read twice: once to find the rows that it concerns, and
only if there are any, once to write the others. Not here: rules (see compliance/), manifest and README (see build.py,
readme.py), the first writing of a table (see formats.py).
"""

import csv
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

from research_assets.export import spss, stata
from research_assets.export.changes import Changes, MakeRule
from research_assets.export.csv_rewriting import find_in_csv, write_csv_changes
from research_assets.export.formats import PARQUET_OPTIONS
from research_assets.export.network_rewriting import find_in_network, is_network_file, write_network_changes
from research_assets.storage.parquet_io import LARGE_MEMORY, open_duckdb
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.storage.shared_duckdb import connect_shared

_BATCH = 10_000
"""Rows that are read at once."""


class RewritingError(Exception):
    """A table cannot be read, or is not as it was exported; nothing was changed."""


def find_changes(path: Path, make_rule: MakeRule) -> Changes:
    """Return the changes of a table or of a network. Raises RewritingError if it cannot be read."""
    try:
        return _handlers(path)[0](path, make_rule)
    except _ERRORS as error:
        raise RewritingError(_message(path, error)) from error


def write_changes(path: Path, changes: Changes, folder: Path) -> Path:
    """Write the table without the changes to a draft in a temporary folder, and return the path of the draft.

    Raises RewritingError if it cannot be written, and OSError if the disk fails.
    """
    draft = folder / path.name
    try:
        _handlers(path)[1](path, changes, draft)
    except _ERRORS as error:
        raise RewritingError(_message(path, error)) from error
    return draft


def _message(path: Path, error: Exception) -> str:
    return f"The table {path} cannot be rewritten: {(str(error) or type(error).__name__).splitlines()[0]}"


def _find_in_parquet(path: Path, make_rule: MakeRule) -> Changes:
    changes = Changes()
    with closing(connect_shared()) as db:
        kinds = _parquet_columns(db, path)
        # Numbers and times are no item, and reading them takes most of the time.
        names = [name for name, kind in kinds.items() if "VARCHAR" in kind or kind in ("BIGINT", "JSON")]
        rule = make_rule(names)
        result = db.execute(f"SELECT {', '.join(map(sql_identifier, names)) or 'NULL'} FROM {_parquet(path)}")
        while rows := result.fetchmany(_BATCH):
            for row in rows:
                changes.add(rule(row))
    return changes


def _write_parquet(path: Path, changes: Changes, draft: Path) -> None:
    import numpy as np
    import pandas as pd

    with open_duckdb(draft.parent, memory=LARGE_MEMORY) as db:
        kinds = _parquet_columns(db, path)
        names = sorted({name for values in changes.changed.values() for name in values})
        new = {name: f"new_{number}" for number, name in enumerate(names)}
        columns = "".join(f", {new[name]} {kinds[name]}, is_{new[name]} BOOLEAN" for name in names)
        db.execute(f"CREATE TEMP TABLE changed (row_number BIGINT{columns})")
        for number, values in changes.changed.items():
            cells = [cell for name in names for cell in (values.get(name), name in values)]
            db.execute(f"INSERT INTO changed VALUES (?{', ?, ?' * len(names)})", [number, *cells])
        db.register("removed", pd.DataFrame({"row_number": np.asarray(changes.removed, dtype="int64")}))
        selected = ", ".join(
            f"CASE WHEN is_{new[name]} THEN {new[name]} ELSE {sql_identifier(name)} END AS {sql_identifier(name)}"
            if name in new
            else sql_identifier(name)
            for name in kinds
        )
        db.execute(
            f"COPY (SELECT {selected} FROM {_parquet(path)} LEFT JOIN changed ON row_number = file_row_number "
            "WHERE file_row_number NOT IN (SELECT row_number FROM removed) ORDER BY file_row_number) "
            f"TO {sql_literal(draft)} ({PARQUET_OPTIONS})"
        )


def _parquet(path: Path) -> str:
    return f"read_parquet({sql_literal(path)}, hive_partitioning = false, file_row_number = true)"


def _parquet_columns(db: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """Return the types of the columns, by name."""
    described = db.execute(f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {_parquet(path)}").fetchall()
    return {name: kind for name, kind, *_ in described}


def _find_in_stata(path: Path, make_rule: MakeRule) -> Changes:
    return _find_in_frame(stata.read_table(path).frame, make_rule)


def _find_in_frame(table: Any, make_rule: MakeRule) -> Changes:
    changes = Changes()
    names = [name for name in table.columns if table[name].dtype == object]
    rule = make_rule(names)
    for row in zip(*(table[name] for name in names), strict=True) if names else ((),) * len(table):
        changes.add(rule(row))
    return changes


def _write_stata(path: Path, changes: Changes, draft: Path) -> None:
    table = stata.read_table(path)
    table.frame = _changed_frame(table.frame, changes)
    stata.write_table(table, draft)


def _find_in_spss(path: Path, make_rule: MakeRule) -> Changes:
    return _find_in_frame(spss.read_table(path).frame, make_rule)


def _write_spss(path: Path, changes: Changes, draft: Path) -> None:
    table = spss.read_table(path)
    table.frame = _changed_frame(table.frame, changes)
    spss.write_table(table, draft)


def _changed_frame(frame: Any, changes: Changes) -> Any:
    for number, values in changes.changed.items():
        for name, value in values.items():
            frame.iat[number, frame.columns.get_loc(name)] = value or ""
    return frame.drop(index=list(changes.removed)).reset_index(drop=True)


_ERRORS = (duckdb.Error, csv.Error, ValueError, KeyError, IndexError, EOFError)
_Handlers = tuple[Callable[[Path, MakeRule], Changes], Callable[[Path, Changes, Path], None]]
_FORMATS: dict[str, _Handlers] = {
    ".parquet": (_find_in_parquet, _write_parquet),
    ".csv": (find_in_csv, write_csv_changes),
    ".dta": (_find_in_stata, _write_stata),
    ".sav": (_find_in_spss, _write_spss),
}
"""How to find and to write changes, by the end of the file's name."""


def _handlers(path: Path) -> _Handlers:
    """Return how to find and to write changes in a file. Raise KeyError if it has another format."""
    return (find_in_network, write_network_changes) if is_network_file(path) else _FORMATS[path.suffix]
