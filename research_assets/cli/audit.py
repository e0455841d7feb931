"""`research-assets audit`: the share of a list of videos that the API returns, with its interval of chance."""

from pathlib import Path

import click


@click.command("audit")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--column", metavar="NAME", help="Column of the ids or links. Default: id, video_id, link or url.")
@click.option(
    "--group-by", "group", metavar="NAME", help="Column of a class, such as how a video came into a data donation."
)
@click.option("--name", metavar="NAME", help="Name of the audit. Default: the file's name.")
@click.option("--yes", is_flag=True, help="Do not ask back before the quota is used.")
def command(file: Path, column: str | None, group: str | None, name: str | None, yes: bool) -> None:
    """Say which share of the videos listed in FILE the API returns, by class and month of upload.

    FILE is a CSV file with ids or links, with or without a header. 100 ids share a request. Each share comes with its
    95 % interval (Wilson), which holds for lists drawn in the same way. Results are kept below audits/ in the data
    folder; an audit that was cut short goes on where it stopped.
    """
    from rich.console import Console
    from rich.table import Table

    from research_assets.cli.environment import api_settings
    from research_assets.cli.id_lists import confirm_cost, list_name, print_list, run_id_list
    from research_assets.clock import SystemClock
    from research_assets.collect.id_lists.audit import return_rates, write_results
    from research_assets.collect.id_lists.reader import IdListError, read_id_list
    from research_assets.collect.id_lists.run import IdListTask

    console = Console(highlight=False, soft_wrap=True)
    now = SystemClock().now()
    listed = read_id_list(file, now, column=column, group=group)
    print_list(console, listed)
    if not listed.videos:
        raise IdListError(f"{file} lists comments only; an audit is about videos. Nothing was asked.")
    with api_settings() as settings:
        folder = settings.audits / list_name(file, name)
        question = IdListTask("audit", folder.name, listed.videos, settings.audits / "captures", ("id", "create_time"))
        confirm_cost(console, settings, question, now.date(), yes)
        asked = run_id_list(console, settings, question, lambda journal, _: journal.seal())
    found = return_rates(listed.videos, asked.known.states)
    table = Table("class", "month", "listed", "answered", "returned", "share", "95 % interval", box=None)
    for one in found:
        interval = one.interval
        table.add_row(
            one.group,
            one.month,
            f"{one.listed:,}",
            f"{one.answered:,}",
            f"{one.returned:,}",
            "" if one.rate is None else f"{one.rate:.1%}",
            "" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}",
        )
    console.print(table)
    if asked.known.reasons:
        reasons = "; ".join(sorted(set(asked.known.reasons.values()))[:3])
        console.print(
            f"[yellow]{len(asked.known.reasons):,} ids were not answered and count in no share:[/] {reasons}."
        )
    ids, summary = write_results(folder, listed.videos, asked.known, found)
    console.print(f"Each id: {ids}\nThe table: {summary}\n{asked.known.requests:,} requests in all.")
