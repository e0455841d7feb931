"""What the marts `codebook` and `epochs` say of all columns, as plain values. `codebook_page` shows them.

Rates are of all studies together: the marts are. A report counts anew for its own study.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from research_assets.reading import read_marts
from research_assets.report import sql
from research_assets.report.facts import ApiChange

MART_ORDER = (
    "videos",
    "video_observations",
    "comments",
    "users",
    "user_observations",
    "follows",
    "engagements",
    "hashtags",
    "hashtag_pairs",
    "creators",
    "days",
    "coverage",
    "quota",
    "epochs",
    "codebook",
)
"""The marts as a reader meets them; one that is not among them comes last."""

MONTH_BASIS: Mapping[str, tuple[str, str]] = {
    "videos": ("day", "published"),
    "video_observations": ("day", "published"),
    "comments": ("day", "published"),
    "hashtags": ("day", "published"),
    "hashtag_pairs": ("day", "published"),
    "creators": ("last_video_at", "published"),
    "days": ("day", "published"),
    "users": ("last_seen_at", "observed"),
    "user_observations": ("day", "observed"),
    "follows": ("last_seen_at", "observed"),
    "engagements": ("last_seen_at", "observed"),
    "quota": ("day", "observed"),
    "coverage": ("partition_day", ""),
}
"""The column that gives a row its month, as dbt's meta has it, and the clock that it is on; the coverage is on both."""


@dataclass(frozen=True, slots=True)
class MonthFill:
    """The rows of a mart in one month, and those of them in which a column is not null."""

    month: date
    rows: int
    filled: int

    @property
    def rate(self) -> float:
        """The part that is filled, 0 to 1; there is at least one row."""
        return self.filled / self.rows


@dataclass(frozen=True, slots=True)
class CodebookColumn:
    """A column of a mart: what the project says of it, and how many of the mart's `rows` fill it (None: not counted).

    `source` is the API's field, `since` from when on the API has it; texts are empty where there is nothing to say.
    """

    name: str
    type: str
    unit: str
    description: str
    source: str
    since: str
    rows: int | None
    filled: int
    examples: str
    months: Sequence[MonthFill]


@dataclass(frozen=True, slots=True)
class CodebookMart:
    """A mart with its columns, in order; `grain` says what one row is."""

    name: str
    grain: str
    columns: Sequence[CodebookColumn]

    @property
    def rows(self) -> int | None:
        """Rows of the mart; None for the codebook, which does not count itself."""
        return self.columns[0].rows

    @property
    def months(self) -> list[date]:
        """The months in which it has rows, in order."""
        return sorted({month.month for column in self.columns for month in column.months})

    @property
    def date_basis(self) -> str:
        """The clock that its months are on, `published` or `observed`; empty if they are on neither or both."""
        return MONTH_BASIS.get(self.name, ("", ""))[1]


@dataclass(frozen=True, slots=True)
class Codebook:
    """All marts, and the known breaks in the API's data."""

    marts: Sequence[CodebookMart]
    api_changes: Sequence[ApiChange]


def read_codebook(connection: duckdb.DuckDBPyConnection) -> Codebook | None:
    """The codebook of a connection as `reading.connect` gives it; None if the warehouse has none."""
    known = read_marts(connection)
    if "codebook" not in known:
        return None
    columns: dict[str, list[CodebookColumn]] = {}
    for mart, name, kind, unit, meaning, source, since, rows, filled, examples, months in connection.execute(
        sql.CODEBOOK_SQL
    ).fetchall():
        by_month = [MonthFill(one["month"], one["n_rows"], one["n_filled"]) for one in months or ()]
        columns.setdefault(mart, []).append(
            CodebookColumn(name, kind, unit, meaning, source, since, rows, filled, examples, by_month)
        )
    if not columns:
        return None
    epochs = (
        [ApiChange(*row) for row in connection.execute(sql.API_CHANGES_SQL).fetchall()] if "epochs" in known else []
    )
    names = sorted(columns, key=lambda name: (MART_ORDER.index(name) if name in MART_ORDER else len(MART_ORDER), name))
    grains = {name: known[name].description.removeprefix("Grain: ") if name in known else "" for name in names}
    return Codebook([CodebookMart(name, grains[name], columns[name]) for name in names], epochs)
