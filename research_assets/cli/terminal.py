"""The console of the commands, on which foreign text stays text.

Names, captions and error messages come from the API and from files. An escape sequence in them would run in the
terminal, and Rich would read `[/]` in them as markup.
"""

from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.text import Text

from research_assets.text import terminal_text

MIN_WIDTH = 80
"""Columns for which the tables are made. A narrower terminal wraps their lines; Rich would cut off numbers."""


class Terminal(Console):
    """A console that prints every text, also in tables, as it is and without escape sequences.

    Its lines have at least `min_width` columns, so that no number of a table is cut off.
    """

    def __init__(self, *, min_width: int = MIN_WIDTH, **options: Any) -> None:
        self._min_width = min_width
        super().__init__(**{"highlight": False, "soft_wrap": True, "markup": False, "emoji": False} | options)

    @property
    def size(self) -> ConsoleDimensions:
        """Return the size of the terminal, but at least `min_width` columns."""
        width, height = super().size
        return ConsoleDimensions(max(width, self._min_width), height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    @property
    def columns(self) -> int:
        """Columns of the terminal, also below `MIN_WIDTH`, for lines that are made for a narrow one; at least 20."""
        return max(super().size.width, 20)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text for printing; Rich calls it for each text that it prints."""
        return super().render_str(terminal_text(text), **options)


def print_warning(console: Console, head: str, text: str = "") -> None:
    """Print a warning with a yellow head."""
    console.print(Text.assemble((terminal_text(head), "yellow"), terminal_text(f" {text}" if text else "")))
