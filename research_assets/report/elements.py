"""The parts of a page: a section with its sentences, figures and tables. Plain values; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table. `kind` is `n` for numbers, set flush right, `t` for times, kept on a line, else empty."""

    title: str
    kind: str = "n"


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table, its cells as text; `folded` ones are opened by a click, and in print."""

    caption: str
    columns: Sequence[TableColumn]
    rows: Sequence[Sequence[str]]
    is_collapsed: bool = True
    note: str = ""

    @property
    def length(self) -> str:
        """`few` rows that stay on one printed page, `some` that may need two, `many` that print only if unfolded."""
        return "few" if len(self.rows) <= 24 else "some" if len(self.rows) <= 40 else "many"


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A picture as SVG, drawn by this project and therefore put into the page as it is; `name` is its file's name."""

    name: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A part of the report under its own heading; `code` is set as written. Sentences may have a head of their own."""

    name: str
    title: str
    sentences: Sequence[str | tuple[str, str]]
    figures: Sequence[ReportFigure] = ()
    tables: Sequence[ReportTable] = ()
    code: str = ""


def text_columns(*titles: str) -> list[TableColumn]:
    """Columns of words."""
    return [TableColumn(title, "") for title in titles]


def number_columns(*titles: str) -> list[TableColumn]:
    """Columns of numbers."""
    return [TableColumn(title) for title in titles]


def time_columns(*titles: str) -> list[TableColumn]:
    """Columns of days or moments."""
    return [TableColumn(title, "t") for title in titles]
