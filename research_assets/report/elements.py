"""Building blocks of a page as plain values: sections with their sentences, figures and tables.

Not here: their HTML (see page.py and templates/), the sections of a report (see sections.py and methods.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table.

    `kind` is the CSS class of its cells: `n` for numbers (right-aligned), `t` for times (not wrapped), empty for text.
    """

    title: str
    kind: str = "n"


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table whose cells are text. One with `is_collapsed` opens by a click; `length` decides whether it prints."""

    caption: str
    columns: Sequence[TableColumn]
    rows: Sequence[Sequence[str]]
    is_collapsed: bool = True
    note: str = ""

    @property
    def length(self) -> str:
        """Size class of the table in print.

        `few` rows (up to 24) stay on one page, `some` (up to 40) may need two, `many` are printed only if opened.
        """
        return "few" if len(self.rows) <= 24 else "some" if len(self.rows) <= 40 else "many"


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A chart and its caption. `draw` builds the chart; screen readers read `alternative_text`.

    The name is unique on the page. `draw` is a partial of a function of charts.py, because another process calls it
    (see drawing_process.py).
    """

    name: str
    draw: "partial[alt.TopLevelMixin]"
    alternative_text: str
    caption: str


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A section of the report under its own heading.

    A sentence is text, or a pair of a run-in heading and text. `code` is shown verbatim in a fixed-width font.
    """

    name: str
    title: str
    sentences: Sequence[str | tuple[str, str]]
    figures: Sequence[ReportFigure] = ()
    tables: Sequence[ReportTable] = ()
    code: str = ""


def text_columns(*titles: str) -> list[TableColumn]:
    """Return columns of text."""
    return [TableColumn(title, "") for title in titles]


def number_columns(*titles: str) -> list[TableColumn]:
    """Return columns of numbers."""
    return [TableColumn(title) for title in titles]


def time_columns(*titles: str) -> list[TableColumn]:
    """Return columns of days or times."""
    return [TableColumn(title, "t") for title in titles]
