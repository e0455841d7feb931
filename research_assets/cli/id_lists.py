"""Steps that `audit` and `rehydrate` share: print the list, confirm the cost, send the requests, report a pause.

Not here: reading a list and sending its requests (see collect/id_lists/).
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from research_assets.collect.id_lists.reader import IdList
from research_assets.collect.id_lists.run import (
    POOL,
    IdListProgress,
    IdListResult,
    IdListTask,
    fetch_id_list,
    min_requests,
)
from research_assets.planning.messages import pluralize
from research_assets.storage.captures import Journal
from research_assets.text import FILE_NAME_RULE, file_name, is_file_name, terminal_text

if TYPE_CHECKING:
    from rich.console import Console

    from research_assets.settings import Settings

_MAX_SHOWN = 5
_MAX_TEXT = 100


def print_list(console: "Console", listed: IdList) -> None:
    """Print the number of videos and comments in the file, its invalid lines, its doubtful ids, and its classes."""
    from research_assets.cli.terminal import print_warning

    n_comments = sum(map(len, listed.comments.values()))
    console.print(
        f"{listed.path.name}: {pluralize(len(listed.videos), 'video')}"
        + (f", {pluralize(n_comments, 'comment')}" if n_comments else "")
        + (f"; {pluralize(listed.n_duplicates, 'duplicate line')}" if listed.n_duplicates else "")
        + "."
    )
    if listed.invalid:
        examples = "; ".join(f"{where}: {text[:_MAX_TEXT]!r}" for where, text in listed.invalid[:_MAX_SHOWN])
        more = f" and {len(listed.invalid) - _MAX_SHOWN:,} more" if len(listed.invalid) > _MAX_SHOWN else ""
        head = f"Skipped {pluralize(len(listed.invalid), 'line')} without a video id:"
        print_warning(console, head, f"{examples}{more}.")
    if listed.suspicious:
        examples = "; ".join(f"{where}: {one}" for where, one in listed.suspicious[:_MAX_SHOWN])
        head = f"{pluralize(len(listed.suspicious), 'id')} may have been rounded, by chance or by another program:"
        print_warning(console, head, f"{examples}.")
    for group, number in Counter(group for one in listed.videos for group in one.groups).most_common(_MAX_SHOWN * 2):
        console.print(f"  {group}: {pluralize(number, 'video')}")


def confirm_cost(
    console: "Console", settings: "Settings", task: IdListTask, today: date, yes: bool, extra_requests: int = 0
) -> None:
    """Print the least number of requests, including `extra_requests`, and prompt for confirmation unless `yes` is set.

    Aborts the command if the user declines.
    """
    from research_assets.clock import SystemClock
    from research_assets.quota.ledger import read_pools

    pools, _ = read_pools(settings, SystemClock())
    pool, least = pools[POOL], min_requests(task, today, settings.window_days) + extra_requests
    console.print(
        f"Cost: at least {pluralize(least, 'request')}; {pool.remaining:,} of {pool.cap:,} remaining today (UTC)."
    )
    if least > pool.remaining:
        console.print("The rest needs quota of a later day: run the same command again then.")
    if not yes:
        click.confirm("Send these requests?", abort=True)


def run_id_list(
    console: "Console", settings: "Settings", task: IdListTask, done: Callable[[Journal, IdListProgress], object]
) -> IdListResult:
    """Send the requests, with a progress bar in a terminal. Print the reason and the next time if ids remain."""
    from rich.progress import Progress

    from research_assets.cli.terminal import print_warning
    from research_assets.resources import CollectorResource

    async def fetch(on_progress: Callable[[int], None]) -> IdListResult:
        async with CollectorResource(settings).open() as context:
            return await fetch_id_list(task, replace(context, progress=None), done, on_progress)

    with Progress(console=console, transient=True) if console.is_terminal else nullcontext() as bar:
        row = bar.add_task("requesting", total=len(task.videos)) if bar else None
        result = asyncio.run(fetch(lambda number: bar.advance(row, number) if bar and row is not None else None))
    if result.n_remaining:
        print_warning(console, f"Remaining: {pluralize(result.n_remaining, 'id')}.")
        if result.stop:
            console.print(f"{result.stop.reason} Next: {result.stop.retry_at:%Y-%m-%d %H:%M} UTC.")
        console.print("All results are stored. Run the same command again then; it requests only the remaining ids.")
    return result


def list_name(path: Path, name: str | None) -> str:
    """Return the name of a list: the given one, or one derived from the file's name. Raises BadParameter."""
    if name is not None and not is_file_name(name):
        raise click.BadParameter(f"{terminal_text(name[:80])!r} {FILE_NAME_RULE}.", param_hint="--name")
    return name or file_name(path.stem) or "ids"
