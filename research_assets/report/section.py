"""The parts of a page: a section with its sentences, figures and tables. Plain values; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `kind` is `n` for numbers, set flush right, `t` for times, kept on a line, else empty."""

    title: str
    kind: str = "n"


@dataclass(frozen=True, slots=True)
class Table:
    """A table, its cells as text; `folded` ones are opened by a click, and in print."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    folded: bool = True
    note: str = ""

    @property
    def length(self) -> str:
        """`few` rows that stay on one printed page, `some` that may need two, `many` that print only if unfolded."""
        return "few" if len(self.rows) <= 24 else "some" if len(self.rows) <= 40 else "many"


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as SVG, drawn by this project and therefore put into the page as it is; `name` is its file's name."""

    name: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report under its own heading; `code` is set as written. Sentences may have a head of their own."""

    name: str
    title: str
    sentences: Sequence[str | tuple[str, str]]
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    code: str = ""


def texts(*titles: str) -> list[Column]:
    """Columns of words."""
    return [Column(title, "") for title in titles]


def numbers(*titles: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(title) for title in titles]


def times(*titles: str) -> list[Column]:
    """Columns of days or moments."""
    return [Column(title, "t") for title in titles]
