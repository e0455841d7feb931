"""A UTC day as an argument or an option of a command."""

from datetime import date

import click

from research_assets.clock import parse_iso_day


def read_day(ctx: click.Context, param: click.Parameter, text: str | None) -> date | None:
    """Return a day such as `2026-02-01`; None for none. Raises BadParameter for any other text."""
    if text is None:
        return None
    if day := parse_iso_day(text):
        return day
    raise click.BadParameter(f"{text!r} is no day. Write a day as 2026-02-01.", ctx, param)
