"""A UTC day as an argument or an option of a command."""

import re
from contextlib import suppress
from datetime import date

import click


def read_day(ctx: click.Context, param: click.Parameter, text: str | None) -> date | None:
    """Return a day such as `2026-02-01`; None for none. Raises BadParameter for any other text."""
    if text is None:
        return None
    # `fromisoformat` also reads weeks, such as 2026-W06-1.
    if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        with suppress(ValueError):
            return date.fromisoformat(text)
    raise click.BadParameter(f"{text!r} is no day. Write a day as 2026-02-01.", ctx, param)
