"""What `audit` and `rehydrate` share: the list told, its price agreed to, the asking shown, a pause explained."""

import asyncio
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
from research_assets.storage.captures import Journal

if TYPE_CHECKING:
    from rich.console import Console

    from research_assets.settings import Settings

_MAX_SHOWN = 5


def print_list(console: "Console", listed: IdList) -> None:
    """Say what was found in the file, and what was not understood."""
    console.print(
        f"{listed.path.name}: {len(listed.videos):,} videos"
        + (f", {sum(map(len, listed.comments.values())):,} comments" if listed.comments else "")
        + (f"; {listed.n_duplicates:,} lines repeat one" if listed.n_duplicates else "")
        + "."
    )
    if listed.invalid_lines:
        some = "; ".join(f"line {line}: {text!r}" for line, text in listed.invalid_lines[:_MAX_SHOWN])
        more = f" and {len(listed.invalid_lines) - _MAX_SHOWN:,} more" if len(listed.invalid_lines) > _MAX_SHOWN else ""
        console.print(
            f"[yellow]{len(listed.invalid_lines):,} lines hold no id of a video and are left out:[/] {some}{more}."
        )


def confirm_cost(
    console: "Console", settings: "Settings", question: IdListTask, today: date, yes: bool, more: int = 0
) -> None:
    """Say what the asking costs, `more` requests included, and ask back unless it was agreed to; else end."""
    from research_assets.clock import SystemClock
    from research_assets.quota.ledger import read_pools

    pools, _ = read_pools(settings, SystemClock())
    pool, least = pools[POOL], min_requests(question, today, settings.window_days) + more
    console.print(f"It takes {least:,} requests at least; {pool.remaining:,} of {pool.cap:,} are left today (UTC).")
    if least > pool.remaining:
        console.print("What does not fit waits: run the same command again when the quota opens.")
    if not yes:
        click.confirm("Ask now?", abort=True)


def run_id_list(
    console: "Console", settings: "Settings", question: IdListTask, done: Callable[[Journal, IdListProgress], object]
) -> IdListResult:
    """Ask, with a bar of progress where somebody looks on; says why and until when, if something is left."""
    from rich.progress import Progress as Bar

    from research_assets.resources import CollectorResource

    async def asking(tell: Callable[[int], None]) -> IdListResult:
        async with CollectorResource(settings).open() as context:
            return await fetch_id_list(question, replace(context, progress=None), done, tell)

    with Bar(console=console, transient=True) if console.is_terminal else nullcontext() as bar:
        task = bar.add_task("asking", total=len(question.videos)) if bar else None
        asked = asyncio.run(asking(lambda number: bar.advance(task, number) if bar and task is not None else None))
    if asked.n_remaining:
        console.print(f"[yellow]{asked.n_remaining:,} ids are still to be asked.[/]")
        if asked.stop:
            console.print(f"{asked.stop.reason} Next: {asked.stop.retry_at:%Y-%m-%d %H:%M} UTC.")
        console.print("What was answered is kept. Run the same command again then; nothing is asked twice.")
    return asked


def list_name(path: Path, name: str | None) -> str:
    """The name under which a list is asked: as given, or from the file's name."""
    import re

    chosen = name or re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_") or "ids"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", chosen):
        chosen = f"ids_{chosen}" if name is None else chosen
    if not re.fullmatch(r"[a-z][a-z0-9_]*", chosen):
        raise click.BadParameter(
            f"{chosen!r} must begin with a letter and hold a-z, 0-9 and _ only.", param_hint="--name"
        )
    return chosen
