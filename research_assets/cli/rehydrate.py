"""`research-assets rehydrate`: fetch the rows of listed video ids, and report the ids that the API does not return."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from research_assets.collect.id_lists.reader import IdList
    from research_assets.settings import Settings
    from research_assets.tiktok.pseudonyms import Pseudonyms


@click.command("rehydrate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--column", metavar="NAME", help="Read ids or links from this column. Default: id, video_id, link or url."
)
@click.option("--name", metavar="NAME", help="Set the study name of the rows in the marts. Default: the file's name.")
@click.option(
    "--comments",
    is_flag=True,
    help="Fetch all comments of the videos of listed comments. Sends at least one request per video.",
)
@click.option(
    "--ids-are-exact", is_flag=True, help="Accept ids that end in zeros as rounded ids do. Default: refuse them."
)
@click.option(
    "--pseudonymous",
    is_flag=True,
    help="Store keyed pseudonyms instead of handles, as a pseudonymous study does. Needs its key.",
)
@click.option("--yes", is_flag=True, help="Send the requests without a confirmation prompt.")
def command(
    file: Path,
    column: str | None,
    name: str | None,
    comments: bool,
    ids_are_exact: bool,
    pseudonymous: bool,
    yes: bool,
) -> None:
    """Fetch the videos listed in FILE and report the ids that the API no longer returns.

    FILE is the ids.csv of an export, any CSV file with ids or links, TikTok's data download (zip, JSON or text), or a
    file of Zeeschuimer or 4CAT. Sends at least one request per 100 ids. The rows are stored with the collected ones, as
    a study with the list's name; the next build of the marts includes them. Run the command again to resume an
    interrupted list.
    """
    from rich.table import Table

    from research_assets.cli.environment import LISTED_IDS, announce_simulation, api_settings
    from research_assets.cli.id_lists import confirm_cost, list_name, print_list, run_id_list
    from research_assets.cli.terminal import Terminal, print_warning
    from research_assets.clock import SystemClock
    from research_assets.collect.id_lists.audit import return_rates, write_results
    from research_assets.collect.id_lists.reader import IdListError, leave_out_withdrawn, read_id_list
    from research_assets.collect.id_lists.rehydrate import already_rehydrated, publish_rehydrated
    from research_assets.collect.id_lists.run import IdListTask
    from research_assets.compliance.audit_log import record_command
    from research_assets.planning.messages import pluralize
    from research_assets.storage.pseudonym_keys import collection_key
    from research_assets.storage.withdrawals import read_withdrawn
    from research_assets.study.loader import load_studies
    from research_assets.tiktok.pseudonyms import Pseudonyms

    console = Terminal()
    now = SystemClock().now()
    listed = read_id_list(file, now, column=column, ids_are_exact=ids_are_exact)
    n_comments = sum(map(len, listed.comments.values()))
    if not listed.videos and not comments:
        raise IdListError(f"{file} lists comments only. No request was sent. Add --comments.")
    with api_settings(known_ids=LISTED_IDS) as settings:
        announce_simulation(settings)
        pseudonyms = Pseudonyms(collection_key(settings)) if pseudonymous else None
        listed, n_withdrawn = leave_out_withdrawn(listed, read_withdrawn(settings.state))
        print_list(console, listed)
        if n_withdrawn:
            console.print(f"Left out, because of requests for erasure: {n_withdrawn:,} ids. They are not requested.")
        if n_comments and not comments:
            print_warning(
                console,
                f"Skipped {pluralize(n_comments, 'comment')},",
                "because the API returns comments only by video.\n"
                f"To fetch all comments of {pluralize(len(listed.comments), 'video')}, add --comments "
                "(at least one request per video).",
            )
        study = list_name(file, name)
        if study in {spec.name for spec in load_studies(settings)}:
            raise IdListError(
                f"The list cannot have the name {study}, because a study has it. No request was sent. "
                "Choose another name with --name."
            )
        collected = already_rehydrated(settings, study)
        remaining = tuple(one for one in listed.videos if one.id not in collected)
        if len(remaining) < len(listed.videos):
            console.print(
                f"Already collected: {pluralize(len(listed.videos) - len(remaining), 'video')}, not requested again."
            )
        task = IdListTask("rehydrate", study, remaining, settings.captures, pseudonyms=pseudonyms)
        record_command(settings, f"rehydrate {study}", now)
        confirm_cost(console, settings, task, now.date(), yes, extra_requests=len(listed.comments) if comments else 0)
        result = run_id_list(
            console,
            settings,
            task,
            lambda journal, known: publish_rehydrated(settings.raw, journal, remaining, known),
        )
        result.progress.states |= {one.id: "returned" for one in listed.videos if one.id in collected}
        if comments and listed.comments and not result.n_remaining:
            _fetch_comments(console, settings, study, listed, pseudonyms)
        folder = settings.rehydrated / study
    table = Table("month", box=None, pad_edge=False)
    for heading in ("listed", "rehydrated", "not returned", "not checked"):
        table.add_column(heading, justify="right")
    rates = return_rates(listed.videos, result.progress.states)
    for rate in rates:
        if rate.group == "all" and rate.month != "all":
            numbers = (rate.listed, rate.returned, rate.answered - rate.returned, rate.listed - rate.answered)
            table.add_row(rate.month, *(f"{number:,}" for number in numbers))
    console.print(table)
    ids, _ = write_results(folder, listed.videos, result.progress, rates, simulated=settings.is_simulated)
    console.print(f"State of each id: {ids}\nRequests sent: {result.progress.requests:,}")
    if not result.n_remaining:
        console.print(f"The raw tables contain the rows as the study {study}.\nMaterialize the marts to include them.")


def _fetch_comments(
    console: "Console", settings: "Settings", name: str, listed: "IdList", pseudonyms: "Pseudonyms | None"
) -> None:
    """Fetch the comments, and print how many of the listed ones the API returned."""
    import asyncio

    from research_assets.collect.id_lists.rehydrate import RehydratedComments, rehydrate_comments
    from research_assets.resources import CollectorResource

    async def fetch() -> RehydratedComments:
        async with CollectorResource(settings).open() as context:
            return await rehydrate_comments(name, listed.comments, context, pseudonyms)

    with console.status("Fetching comments ..."):
        found = asyncio.run(fetch())
    n_listed = sum(map(len, listed.comments.values()))
    console.print(f"{len(found.returned):,} of {n_listed:,} listed comments were returned.")
    if found.paused:
        console.print(
            f"{found.paused.reason} Run the same command again from {found.paused.retry_at:%Y-%m-%d %H:%M} UTC."
        )
