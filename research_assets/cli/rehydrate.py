"""`research-assets rehydrate`: the rows of a list of video ids, asked anew, and what of it cannot be had any more."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from research_assets.collect.id_lists.reader import IdList
    from research_assets.settings import Settings


@click.command("rehydrate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--column", metavar="NAME", help="Column of the ids or links. Default: id, video_id, link or url.")
@click.option("--name", metavar="NAME", help="Name under which the rows stand in the marts. Default: the file's name.")
@click.option("--comments", is_flag=True, help="Ask for all comments of the videos that listed comments belong to.")
@click.option("--yes", is_flag=True, help="Do not ask back before the quota is used.")
def command(file: Path, column: str | None, name: str | None, comments: bool, yes: bool) -> None:
    """Ask for the videos listed in FILE, and say which of them cannot be rebuilt.

    FILE is the ids.csv of an export, or any CSV file with ids or links. 100 ids share a request. The rows go where
    collected ones go, as a study of the list's name; the marts take them in with their next build. Single comments
    cannot be asked for, only all of a video: --comments does that, at a request or more for each video.
    """
    from rich.console import Console
    from rich.table import Table

    from research_assets.cli.environment import api_settings
    from research_assets.cli.id_lists import confirm_cost, list_name, print_list, run_id_list
    from research_assets.clock import SystemClock
    from research_assets.collect.id_lists.audit import return_rates, write_results
    from research_assets.collect.id_lists.reader import IdListError, read_id_list
    from research_assets.collect.id_lists.rehydrate import already_rehydrated, publish_rehydrated
    from research_assets.collect.id_lists.run import IdListTask
    from research_assets.study.loader import load_studies

    console = Console(highlight=False, soft_wrap=True)
    now = SystemClock().now()
    listed = read_id_list(file, now, column=column)
    print_list(console, listed)
    number = sum(map(len, listed.comments.values()))
    if number and not comments:
        console.print(
            f"[yellow]{number:,} comments are left out:[/] the API gives a video's comments only all together. With "
            f"--comments those of their {len(listed.comments):,} videos are asked for, at a request or more for each."
        )
    if not listed.videos and not comments:
        raise IdListError(f"{file} lists comments only, so nothing was asked. Add --comments.")
    with api_settings() as settings:
        chosen = list_name(file, name)
        if chosen in {study.name for study in load_studies(settings)}:
            raise IdListError(f"There is a study {chosen} already. Nothing was asked. Choose another name with --name.")
        held = already_rehydrated(settings, chosen)
        left = tuple(one for one in listed.videos if one.id not in held)
        if len(left) < len(listed.videos):
            console.print(f"{len(listed.videos) - len(left):,} videos are held already and are not asked for again.")
        question = IdListTask("rehydrate", chosen, left, settings.captures)
        confirm_cost(console, settings, question, now.date(), yes, more=len(listed.comments) if comments else 0)
        asked = run_id_list(
            console, settings, question, lambda journal, known: publish_rehydrated(settings.raw, journal, left, known)
        )
        asked.known.states |= {one.id: "returned" for one in listed.videos if one.id in held}
        if comments and listed.comments and not asked.n_remaining:
            _comments(console, settings, chosen, listed)
        folder = settings.rehydrated / chosen
    table = Table("month", "listed", "rehydrated", "not returned", "not answered", box=None)
    found = return_rates(listed.videos, asked.known.states)
    for one in found:
        if one.group == "all" and one.month != "all":
            numbers = (one.listed, one.returned, one.answered - one.returned, one.listed - one.answered)
            table.add_row(one.month, *(f"{number:,}" for number in numbers))
    console.print(table)
    ids, _ = write_results(folder, listed.videos, asked.known, found)
    console.print(f"Each id: {ids}\n{asked.known.requests:,} requests in all.")
    if not asked.n_remaining:
        console.print(
            f"The rows are in the raw tables as the study {chosen}; materialize the marts to have them there."
        )


def _comments(console: "Console", settings: "Settings", name: str, listed: "IdList") -> None:
    """Ask for the comments, and say how many of the listed ones came back."""
    import asyncio

    from research_assets.collect.id_lists.rehydrate import RehydratedComments, rehydrate_comments
    from research_assets.resources import CollectorResource

    async def asking() -> RehydratedComments:
        async with CollectorResource(settings).open() as context:
            return await rehydrate_comments(name, listed.comments, context)

    with console.status("Asking for comments ..."):
        found = asyncio.run(asking())
    number = sum(map(len, listed.comments.values()))
    console.print(f"{len(found.returned):,} of {number:,} listed comments came back.")
    if found.paused:
        console.print(
            f"{found.paused.reason} Run the same command again from {found.paused.retry_at:%Y-%m-%d %H:%M} UTC."
        )
