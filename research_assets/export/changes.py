"""Changes of a table: the rows that a rule removes, and new values of others.

Not here: rules (see compliance/), how tables are read and written (see rewriting.py).
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Rule = Callable[[Sequence[Any]], Mapping[str, Any] | None]
"""Change of a row: None if it goes, else the new values of its columns, by name; empty if it stays as it is.

Values are texts, 64-bit ids, or the lists and structures of DuckDB; other formats than Parquet have JSON in their
place."""

MakeRule = Callable[[Sequence[str]], Rule]
"""Return the rule for rows of these columns."""


@dataclass(slots=True)
class Changes:
    """Rows of a table that a rule concerns, by their position: those that go, and new values of others.

    `rows` is the number of rows of the table before.
    """

    rows: int = 0
    removed: "array[int]" = field(default_factory=lambda: array("q"))
    changed: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether the file must be written again."""
        return bool(self.removed or self.changed)

    def add(self, result: Mapping[str, Any] | None) -> None:
        """Add the result of the rule for the next row."""
        if result is None:
            self.removed.append(self.rows)
        elif result:
            self.changed[self.rows] = result
        self.rows += 1
