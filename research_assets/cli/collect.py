"""`research-assets collect`: the runs that the sensor quota_window would start, then a build of the marts.

Not here: the loop over the runs (see collection.py), and the plan of the runs (see sensors/collection_plan.py).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from research_assets.cli.exit_codes import PAUSED
from research_assets.clock import parse_iso_day

if TYPE_CHECKING:
    from research_assets.study.spec import StudySpec

LOCK_FILE = "collect.lock"
"""File in the folder `state` that a running `collect` locks."""


def read_days(_: click.Context, param: click.Parameter, text: str | None) -> tuple[date, date] | None:
    """Return the first and the last day of `2026-02-01` or `2026-02-01..2026-02-07`.

    Raises BadParameter if the text is no day or the range contains none.
    """
    if text is None:
        return None
    first, separator, last = text.partition("..")
    begin, end = parse_iso_day(first), parse_iso_day(last if separator else first)
    if begin is None or end is None:
        raise click.BadParameter(
            f"{text!r} is no day. Write a day as 2026-02-01, a range as 2026-02-01..2026-02-07.", param=param
        )
    if end < begin:
        raise click.BadParameter(f"{text!r} contains no day: the last day is before the first.", param=param)
    return begin, end


@click.command("collect")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option(
    "--days",
    callback=read_days,
    metavar="FROM..TO",
    help="Collect only videos and comments of these days (UTC), or of one day; no profiles and lists.",
)
@click.option(
    "--budget", type=click.IntRange(0), metavar="N", help="Send at most N requests. Default: the day's remaining quota."
)
@click.option("--dry-run", is_flag=True, help="Print what would start now and what would follow. Sends no request.")
@click.option("--no-build", is_flag=True, help="Do not build the marts afterwards.")
@click.option("--quiet", "-q", is_flag=True, help="Print only what needs a person, for cron.")
@click.pass_context
def command(
    ctx: click.Context,
    studies: tuple[str, ...],
    days: tuple[date, date] | None,
    budget: int | None,
    dry_run: bool,
    no_build: bool,
    quiet: bool,
) -> None:
    """Collect what is due now, as the sensor quota_window does, then build the marts.

    Default: all studies. Uses quota. The runs appear in Dagster's UI. Work of other runs is not repeated, so the
    command is safe beside the UI. Ctrl-C stops it after a stored page; the next call continues there. Without
    credentials it uses a simulated API.

    Exit code 0, done: all that is due is collected. 3, paused: the quota or the budget is used up, another run
    collects, or the command was stopped; the last line says when to continue. 1, failed: the message says why.
    """
    from research_assets.cli.collect_display import CollectDisplay
    from research_assets.cli.collection import Collection, print_plan
    from research_assets.cli.environment import announce_simulation, api_settings, prepare_instance
    from research_assets.cli.terminal import Terminal
    from research_assets.planning.limits import Limits
    from research_assets.settings import prepare_root
    from research_assets.storage.file_locks import exclusive
    from research_assets.storage.lock_errors import LockTaken
    from research_assets.study.loader import load_studies, overlooked_files

    if budget == 0 and not dry_run:
        raise click.UsageError("A budget of 0 allows no request. No request was sent. To see the plan, use --dry-run.")
    with api_settings() as settings:
        announce_simulation(settings)
        known = load_studies(settings)
        chosen = choose_studies(known, studies)
        display = CollectDisplay(Terminal(), quiet=quiet and not dry_run)
        if not chosen:
            for file in overlooked_files(settings):
                display.warn(str(file))
            display.warn("There is no study yet. No request was sent. Write one with: research-assets new-study")
            return
        if days is not None:
            require_days_of(chosen, *days)
        prepare_root(settings)
        prepare_instance(settings)
        limits = Limits(days, budget)
        if dry_run:
            print_plan(settings, chosen, known, limits, display)
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive(settings.state / LOCK_FILE))
            except LockTaken as error:
                display.warn(
                    f"Another `research-assets collect` is running on {settings.root}: it is locked by {error.holder}. "
                    "No request was sent. Wait until it ends; its data is shared."
                )
                ctx.exit(PAUSED)
            collection = Collection(settings, chosen, known, limits, display)
            ctx.exit(collection.run(build=not no_build))


def require_days_of(studies: "Sequence[StudySpec]", first: date, last: date) -> None:
    """Raise UsageError if no study has a day from `first` to `last`: that nothing is due would not say so."""
    if any(study.start <= last and (study.end is None or first <= study.end) for study in studies):
        return
    known = ", ".join(f"{study.name} ({study.start} to {study.end or 'no end'})" for study in studies)
    raise click.UsageError(f"No study has a day from {first} to {last}. No request was sent. Studies: {known}.")


def choose_studies(known: "Sequence[StudySpec]", names: "Sequence[str]") -> "list[StudySpec]":
    """Return the named studies, or all. Raises UsageError with the nearest known name for one that does not exist."""
    all_names = [study.name for study in known]
    for name in names:
        if name not in all_names:
            nearest = get_close_matches(name, all_names, 1)
            meant = f"Do you mean {nearest[0]}? " if nearest else ""
            known_names = ", ".join(all_names) or "none"
            raise click.UsageError(
                f"There is no study {name}. {meant}No request was sent. Known studies: {known_names}."
            )
    return [study for study in known if not names or study.name in names]
