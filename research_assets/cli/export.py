"""`research-assets export`: the marts as files for people, in a folder of their own."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from research_assets.export import FORMATS

if TYPE_CHECKING:
    from rich.console import Console

    from research_assets.export import Export
    from research_assets.settings import Settings

DAY = click.DateTime(["%Y-%m-%d"])


@click.command("export")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(FORMATS), help="May be repeated. Default: parquet and csv."
)
@click.option("--mart", "marts", multiple=True, metavar="NAME", help="Only this mart; may be repeated.")
@click.option("--first", type=DAY, metavar="DAY", help="First UTC day, such as 2026-02-01.")
@click.option("--last", type=DAY, metavar="DAY", help="Last UTC day, included.")
@click.option("--pseudonymous", is_flag=True, help="Keyed pseudonyms for accounts and ids; what points to people goes.")
@click.option("--ids-only", is_flag=True, help="Only the ids of videos and comments, to be rebuilt by a colleague.")
def command(
    studies: tuple[str, ...],
    formats: tuple[str, ...],
    marts: tuple[str, ...],
    first: datetime | None,
    last: datetime | None,
    pseudonymous: bool,
    ids_only: bool,
) -> None:
    """Write the marts of some studies, or of all, as files for people; sends no request.

    Each export is a folder below exports/ in the data folder, with a codebook and a README. In CSV, ids are text that
    neither Excel nor R rounds. The key of the pseudonyms is created once and kept apart from every export.
    """
    from rich.console import Console

    from research_assets.cli.environment import data_settings
    from research_assets.clock import SystemClock
    from research_assets.export import DEFAULT_FORMATS, ExportRequest, export
    from research_assets.study.loader import load_studies

    if ids_only and (formats or marts or pseudonymous):
        raise click.UsageError("--ids-only is a file of its own: leave out --format, --mart and --pseudonymous.")
    settings = data_settings()
    request = ExportRequest(
        studies=studies,
        marts=marts,
        first=first.date() if first else None,
        last=last.date() if last else None,
        formats=formats or DEFAULT_FORMATS,
        pseudonymous=pseudonymous,
        ids_only=ids_only,
    )
    console = Console(highlight=False, soft_wrap=True)
    with console.status("Exporting ..."):
        made = export(settings, request, load_studies(settings), SystemClock().now())
    _show(console, made, settings)


def _show(console: "Console", export: "Export", settings: "Settings") -> None:
    """What was written, what was not and why, and where it is."""
    from rich.table import Table

    table = Table("table", box=None, pad_edge=False)
    table.add_column("rows", justify="right")
    table.add_column("MB", justify="right")
    for name, number in export.rows.items():
        size = sum(file.bytes for file in export.files if (file.mart or "ids") == name)
        table.add_row(name, f"{number:,}", f"{size / 1e6:,.1f}")
    console.print(table)
    for reason, names in export.skipped_by_reason.items():
        console.print(f"\nLeft out: {', '.join(names)}: {reason}.")
    console.print(f"\nExported to {export.folder}; begin with its README.md.")
    if export.request.pseudonymous:
        console.print(
            f"The key of the pseudonyms is {settings.pseudonym_key}. Keep a copy of it, apart from every export."
        )
