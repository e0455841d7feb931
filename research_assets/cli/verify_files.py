"""`research-assets verify-files`: compare the stored files with their checksums."""

from collections import Counter
from typing import get_args

import click


@click.command("verify-files")
@click.option("--share", is_flag=True, help="Read only today's share. Default: read all files.")
def command(*, share: bool) -> None:
    """Compare captures, raw tables, ledger and warehouse with their checksums. Sends no request.

    Rebuilds damaged raw tables from their captures. Names every other damaged file, what it contained and how to
    restore it; exits with 1 if there is one, or if a file could not be read. The schedule verify_files does the same
    with a share each day, so that all files are read in 30 days.
    """
    from research_assets.cli.environment import data_settings
    from research_assets.clock import SystemClock
    from research_assets.warehouse.verify_files import FindingKind, verify_files

    settings = data_settings()
    result = verify_files(settings, SystemClock().now().date() if share else None)
    for finding in result.findings:
        click.echo(f"{finding.kind}: {finding.message}")
    counts = Counter[str](finding.kind for finding in result.findings)
    click.echo(f"Read {result.files:,} files with {result.size / 2**20:,.1f} MiB in {settings.root}.")
    shown = [kind for kind in get_args(FindingKind) if counts[kind] or kind != "not read"]
    click.echo(", ".join(f"{counts[kind]} {kind}" for kind in shown) + ".")
    if counts["damaged"] or counts["not read"]:
        raise click.exceptions.Exit(1)
