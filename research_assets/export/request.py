"""Types of an export: the request, the selected marts and columns, the written files; and the selection of marts.

Not here: writing an export (see build.py).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from research_assets.text import file_name
from research_assets.warehouse.reader import (
    Mart,
    filter_condition,
    require_studies,
)

FORMATS = ("parquet", "csv", "stata", "spss")
NETWORK_FORMATS = ("graphml", "gexf", "gephi", "coortweet")
"""Formats of networks (see networks.py)."""
DEFAULT_FORMATS = ("parquet", "csv")
"""Formats if the request names none."""


class ExportError(Exception):
    """An export was not written; no files remain."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """A requested export: studies, marts, days (both inclusive) and formats. Empty studies, marts or days mean all.

    `pseudonymous` replaces or drops everything that identifies people. `ids_only` exports only ids, for rehydration.
    `coarse` releases less detail under pseudonyms of this release, with texts only if `texts` is true (see coarse.py).
    `draw` writes a coding sheet with this number of rows, drawn with `seed`, in strata of `by` (see coding.py).
    """

    studies: tuple[str, ...] = ()
    marts: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    formats: tuple[str, ...] = DEFAULT_FORMATS
    pseudonymous: bool = False
    ids_only: bool = False
    coarse: bool = False
    texts: bool = False
    draw: int = 0
    seed: int = 0
    by: str = ""

    @property
    def has_pseudonyms(self) -> bool:
        """Whether accounts and ids are replaced by pseudonyms, of the project or of this release."""
        return self.pseudonymous or self.coarse

    @property
    def table_formats(self) -> tuple[str, ...]:
        """Formats of tables."""
        return tuple(name for name in self.formats if name in FORMATS)

    @property
    def network_formats(self) -> tuple[str, ...]:
        """Formats of networks."""
        return tuple(name for name in self.formats if name in NETWORK_FORMATS)

    @property
    def folder_name(self) -> str:
        """First part of the name of the folder."""
        studies = "-".join(map(file_name, self.studies)) if len(self.studies) <= 3 else f"{len(self.studies)}-studies"
        kinds = {
            "pseudonymous": self.pseudonymous,
            "coarse": self.coarse,
            "draw": bool(self.draw),
            "ids": self.ids_only,
        }
        return "-".join([studies or "all", *(name for name, is_kind in kinds.items() if is_kind)])


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of an exported file: name, type after the treatment, SQL, and description.

    `treatment` is empty if the export is not pseudonymous.
    """

    name: str
    type: str
    sql: str
    description: str
    treatment: str = ""

    @property
    def is_id(self) -> bool:
        """Return whether the column is a 64-bit id, which must not be converted to a number of lower precision."""
        return self.type == "BIGINT" and (self.name == "id" or self.name.endswith("_id"))

    @property
    def is_nested(self) -> bool:
        """Return whether the column is a list, a struct or a map."""
        return self.type.endswith("]") or self.type.startswith(("STRUCT", "MAP"))


@dataclass(frozen=True, slots=True)
class MartSelection:
    """A mart in an export, the SQL condition on its rows (empty: all rows), and a note on it for readers.

    `columns` are the columns of a coarse release; empty for those of the mart.
    """

    mart: Mart
    condition: str
    note: str = ""
    columns: tuple[ExportColumn, ...] = ()


def validate_request(request: ExportRequest) -> None:
    """Raise ExportError if the request is invalid or contradictory."""
    if unknown := [name for name in request.formats if name not in (*FORMATS, *NETWORK_FORMATS)]:
        raise ExportError(
            f"There is no format {', '.join(unknown)}; there are: {', '.join((*FORMATS, *NETWORK_FORMATS))}. "
            "Nothing was exported."
        )
    if request.first and request.last and request.last < request.first:
        raise ExportError(f"The last day, {request.last}, is before the first, {request.first}. Nothing was exported.")
    if request.draw and (
        request.draw < 0
        or request.coarse
        or request.ids_only
        or len(request.studies) != 1
        or request.marts not in (("videos",), ("comments",))
        or request.formats != ("csv",)
    ):
        raise ExportError(
            "A coding sheet is a CSV file with some videos or comments of one study. Nothing was exported. Name one "
            "study, and the mart videos or comments, with no other format than csv and neither coarse nor ids only."
        )
    if (request.seed or request.by) and not request.draw:
        raise ExportError("A seed or strata belong to a draw. Nothing was exported. Name the number of rows to draw.")
    if request.coarse and (request.pseudonymous or request.ids_only):
        raise ExportError(
            "A coarse release has pseudonyms of its own and no ids. Nothing was exported. Choose one of coarse, "
            "pseudonymous and ids only."
        )
    if request.coarse and request.formats != request.table_formats:
        raise ExportError(
            "A network shows who is connected with whom, so a coarse release has none. Nothing was exported. Choose "
            f"formats of tables ({', '.join(FORMATS)}), or a pseudonymous export of networks."
        )
    if request.texts and not request.coarse:
        raise ExportError("Other exports contain texts anyway. Nothing was exported. Request texts with coarse only.")
    if request.ids_only and request.pseudonymous:
        raise ExportError(
            "The API cannot look up pseudonyms, so an export is either pseudonymous or of ids only. Nothing was "
            "exported. Choose one of the two."
        )
    if request.ids_only and request.marts:
        raise ExportError(
            "An export of ids only contains the ids of videos and comments. Nothing was exported. Name no marts."
        )


def select_marts(
    request: ExportRequest, marts: Mapping[str, Mart], available_studies: Sequence[str]
) -> tuple[list[MartSelection], dict[str, str]]:
    """Return the marts of an export, and the reason for each skipped mart.

    A request for some days skips marts whose rows belong to no single day, unless the request names them: readers would
    take a total over all days for a total over these days. Raise ExportError for a mart and WarehouseReadError for a
    study that does not exist.
    """
    if missing := [name for name in request.marts if name not in marts]:
        raise ExportError(
            f"There is no mart {', '.join(missing)}; there are: {', '.join(marts)}. Nothing was exported."
        )
    require_studies(request.studies, available_studies)
    selections, skipped = [], {}
    for name, mart in marts.items():
        if request.marts and name not in request.marts:
            continue
        studies = request.studies if "study" in mart.names else ()
        if (request.first or request.last) and mart.day_column is None:
            # A mart without studies describes the API or the columns, so it does not depend on days.
            if not request.marts and "study" in mart.names:
                skipped[name] = "rows belong to no single day; name the mart to export all of its rows"
                continue
            selections.append(MartSelection(mart, filter_condition(mart, studies), "all days"))
        else:
            selections.append(MartSelection(mart, filter_condition(mart, studies, request.first, request.last)))
    return selections, skipped


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of an export: path in the folder, mart or network (empty for ids), format, rows, bytes and SHA-256.

    The rows of a network are its edges.
    """

    path: str
    mart: str
    format: str
    rows: int
    bytes: int
    sha256: str

    @classmethod
    def of(cls, folder: Path, path: Path, mart: str, file_format: str, rows: int) -> "ExportedFile":
        """Return the entry of a file that was written into the folder of an export."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path.relative_to(folder).as_posix(), mart, file_format, rows, path.stat().st_size, digest)


@dataclass(frozen=True, slots=True)
class RemovedRows:
    """A removal from an export after it was written: the time (UTC), what was removed, and the rows by mart.

    `study` is the removed study; empty if withdrawn items were removed. `cleaned` are the marts of which only texts
    changed, which mentioned an item.
    """

    at: datetime
    rows: Mapping[str, int]
    cleaned: tuple[str, ...] = ()
    study: str = ""


@dataclass(frozen=True, slots=True)
class Export:
    """An export as described by its manifest. `skipped` contains the reason for each skipped mart or format, by name.

    `simulated` is true if the data was generated by the sandbox. `removals` are later removals, oldest first.
    """

    folder: Path
    made_at: datetime
    request: ExportRequest
    files: tuple[ExportedFile, ...]
    skipped: Mapping[str, str]
    simulated: bool
    removals: tuple[RemovedRows, ...] = ()

    @property
    def rows(self) -> dict[str, int]:
        """Rows by mart, and edges by network, of all studies. An export of ids has one table, `ids`."""
        rows: dict[tuple[str, str], int] = {}
        for file in self.files:
            key = file.mart or "ids", file.format
            # Each study has networks of its own.
            rows[key] = rows.get(key, 0) + file.rows
        return {mart: number for (mart, _), number in rows.items()}

    @property
    def skipped_by_reason(self) -> dict[str, list[str]]:
        """Skipped marts, by reason."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(name)
        return reasons
