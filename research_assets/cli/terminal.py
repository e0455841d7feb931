"""The console of the commands, on which foreign text stays text.

Names, captions and error messages come from the API and from files. An escape sequence in them would run in the
terminal, and Rich would read `[/]` in them as markup.
"""

from typing import Any

from rich.console import Console
from rich.text import Text

from research_assets.text import terminal_text


class Terminal(Console):
    """A console that prints every text, also in tables, as it is and without escape sequences."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "soft_wrap": True, "markup": False, "emoji": False} | options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text for printing; Rich calls it for each text that it prints."""
        return super().render_str(terminal_text(text), **options)


def print_warning(console: Console, head: str, text: str = "") -> None:
    """Print a warning with a yellow head."""
    console.print(Text.assemble((terminal_text(head), "yellow"), terminal_text(f" {text}" if text else "")))
