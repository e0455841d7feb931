"""`research-assets export`: write the marts as files, each export in its own folder."""

from datetime import date
from typing import TYPE_CHECKING

import click

from research_assets.cli.day import read_day
from research_assets.export import FORMATS, NETWORK_FORMATS

if TYPE_CHECKING:
    from rich.console import Console

    from research_assets.export import Export
    from research_assets.settings import Settings


@click.command("export")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice((*FORMATS, *NETWORK_FORMATS)),
    help="Write this format; may be repeated. Default: parquet and csv.",
)
@click.option(
    "--mart", "marts", multiple=True, metavar="NAME", help="Export only this mart; may be repeated. Default: all."
)
@click.option(
    "--first", callback=read_day, metavar="DAY", help="Set the first UTC day, such as 2026-02-01. Default: no limit."
)
@click.option("--last", callback=read_day, metavar="DAY", help="Set the last UTC day, inclusive. Default: no limit.")
@click.option(
    "--pseudonymous",
    is_flag=True,
    help="Replace accounts and ids with keyed pseudonyms; drop identifying columns. The result is personal data.",
)
@click.option(
    "--coarse",
    is_flag=True,
    help="Release days, rounded numbers and no small cells under new pseudonyms, with a disclosure report.",
)
@click.option("--texts", is_flag=True, help="Keep the texts of a coarse release. Default: dropped.")
@click.option("--draw", type=click.IntRange(1), metavar="N", help="Write a coding sheet of N rows drawn at random.")
@click.option("--seed", type=int, metavar="N", help="Set the seed of the draw. Default: 0.")
@click.option("--by", metavar="COLUMN", help="Draw the same number of rows from each value of a column. Default: none.")
@click.option("--ids-only", is_flag=True, help="Export only the ids of videos and comments, for rehydration.")
def command(
    studies: tuple[str, ...],
    formats: tuple[str, ...],
    marts: tuple[str, ...],
    first: date | None,
    last: date | None,
    pseudonymous: bool,
    ids_only: bool,
    coarse: bool,
    texts: bool,
    draw: int | None,
    seed: int | None,
    by: str | None,
) -> None:
    """Write the marts of the named studies as files. Sends no request.

    Default: all studies. Each export is a folder below exports/ in the data folder, with a codebook and a README. In
    CSV files ids are text, which neither Excel nor R rounds. graphml, gexf, gephi and coortweet are networks of each
    study. The pseudonym key is created once and stored outside of all exports.
    """
    from research_assets.cli.environment import data_settings
    from research_assets.cli.terminal import Terminal
    from research_assets.clock import SystemClock
    from research_assets.compliance.audit_log import export_command, record_command
    from research_assets.export import DEFAULT_FORMATS, ExportRequest, export
    from research_assets.study.loader import load_studies

    if ids_only and (formats or marts or pseudonymous or coarse):
        raise click.UsageError("--ids-only cannot be combined with --format, --mart, --pseudonymous or --coarse.")
    if coarse and pseudonymous:
        raise click.UsageError("--coarse has pseudonyms of its own and cannot be combined with --pseudonymous.")
    if texts and not coarse:
        raise click.UsageError("--texts belongs to --coarse; other exports contain the texts.")
    settings = data_settings()
    request = ExportRequest(
        studies=tuple(dict.fromkeys(studies)),
        marts=marts or (("videos",) if draw else ()),
        first=first,
        last=last,
        formats=formats or (("csv",) if draw else DEFAULT_FORMATS),
        pseudonymous=pseudonymous,
        ids_only=ids_only,
        coarse=coarse,
        texts=texts,
        draw=draw or 0,
        seed=seed or 0,
        by=by or "",
    )
    console = Terminal()
    with console.status("Exporting ..."):
        now = SystemClock().now()
        result = export(settings, request, load_studies(settings), now)
    record_command(settings, export_command(result.folder.name), now)
    _show(console, result, settings)


def _show(console: "Console", export: "Export", settings: "Settings") -> None:
    """Print the exported tables, the skipped ones with the reason, and the folder."""
    from rich.table import Table

    from research_assets.export.coarse import release_key

    table = Table("table", box=None, pad_edge=False)
    table.add_column("rows", justify="right")
    table.add_column("MB", justify="right")
    for name, number in export.rows.items():
        size = sum(file.bytes for file in export.files if (file.mart or "ids") == name)
        table.add_row(name, f"{number:,}", f"{size / 1e6:,.1f}")
    console.print(table)
    for reason, names in export.skipped_by_reason.items():
        console.print(f"\nSkipped: {', '.join(names)}\n  Reason: {reason}.")
    console.print(f"\nExported to {export.folder}; see its README.md.")
    if export.request.draw:
        console.print("Fill in the column code, then run: research-assets score SHEET.")
    if export.request.coarse:
        console.print(
            f"Key of the release: {release_key(settings, export.folder.name)}.\n"
            "Keep it: without it, the next removal of withdrawn items removes the whole release. See DISCLOSURE.md "
            "for the rows that are still alone; the release is not anonymous."
        )
    if export.request.pseudonymous:
        console.print("The export is pseudonymous and therefore personal data.")
        console.print(f"Pseudonym key: {settings.export_key}.\nKeep a copy of it outside of all exports.")
