"""What an export shall hold, and what that comes to on a given warehouse: marts, narrowed, with what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from research_assets.warehouse.reader import (
    Mart,
    filter_condition,
    require_studies,
)

FORMATS = ("parquet", "csv", "stata")
DEFAULT_FORMATS = ("parquet", "csv")
"""The formats when none is named."""


class ExportError(Exception):
    """An export was not made; nothing of it is left."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is wanted: of which studies, marts and days (both ends included), in which formats; empty means all.

    `pseudonymous` replaces what points to people; `ids_only` leaves nothing but ids, to be asked again by a colleague.
    """

    studies: tuple[str, ...] = ()
    marts: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    formats: tuple[str, ...] = DEFAULT_FORMATS
    pseudonymous: bool = False
    ids_only: bool = False

    @property
    def folder_name(self) -> str:
        """The first part of the folder's name."""
        studies = "-".join(self.studies) if len(self.studies) <= 3 else f"{len(self.studies)}-studies"
        studies = studies or "all"
        return studies + "-pseudonymous" * self.pseudonymous + "-ids" * self.ids_only


@dataclass(frozen=True, slots=True)
class MartSelection:
    """A mart in an export: the condition that narrows it (empty: none), and what a reader must know of that."""

    mart: Mart
    condition: str
    note: str = ""


def validate_request(request: ExportRequest) -> None:
    """Raise ExportError for an order that contradicts itself."""
    if unknown := [name for name in request.formats if name not in FORMATS]:
        raise ExportError(f"There is no format {', '.join(unknown)}; there are: {', '.join(FORMATS)}.")
    if request.first and request.last and request.last < request.first:
        raise ExportError(f"The last day, {request.last}, is before the first, {request.first}. Nothing was exported.")
    if request.ids_only and request.pseudonymous:
        raise ExportError(
            "Pseudonyms cannot be asked for again, so an export is either pseudonymous or of ids only. Choose one."
        )
    if request.ids_only and request.marts:
        raise ExportError("Ids are those of videos and comments; leave the marts out.")


def select_marts(
    request: ExportRequest, known: Mapping[str, Mart], held: Sequence[str]
) -> tuple[list[MartSelection], dict[str, str]]:
    """The marts of an export, and for each that is left out the reason.

    Days leave out marts whose rows belong to no day, unless they were named: a total over all days beside rows of some
    would be misread. Raises ExportError for a mart and ReadingError for a study that is not there.
    """
    if missing := [name for name in request.marts if name not in known]:
        raise ExportError(f"There is no mart {', '.join(missing)}; there are: {', '.join(known)}.")
    require_studies(request.studies, held)
    chosen, left = [], {}
    for name, mart in known.items():
        if request.marts and name not in request.marts:
            continue
        studies = request.studies if "study" in mart.names else ()
        if (request.first or request.last) and mart.day_column is None:
            # A mart of no study is about the API or the columns, not about days of anybody.
            if not request.marts and "study" in mart.names:
                left[name] = "rows belong to no single day; name such a mart to have it whole"
                continue
            chosen.append(MartSelection(mart, filter_condition(mart, studies), "not narrowed to the days"))
        else:
            chosen.append(MartSelection(mart, filter_condition(mart, studies, request.first, request.last)))
    return chosen, left


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A table of an export: its path in the folder, the mart it is of, its format, rows and bytes."""

    path: str
    mart: str
    format: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Export:
    """An export as its manifest tells it. `left_out` gives the reason why a mart is not in it, by name."""

    folder: Path
    made_at: datetime
    request: ExportRequest
    files: tuple[ExportedFile, ...]
    skipped: Mapping[str, str]

    @property
    def rows(self) -> dict[str, int]:
        """Rows by mart; an export of ids has one table, `ids`."""
        return {file.mart or "ids": file.rows for file in self.files}

    @property
    def skipped_by_reason(self) -> dict[str, list[str]]:
        """The marts that were left out, by the reason."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(name)
        return reasons
