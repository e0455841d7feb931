"""`research-assets new-study`: write a study file from prompts or options, and estimate its cost.

Not here: the text of a study file (see study/draft.py).
"""

import sys
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from research_assets.settings import Settings
    from research_assets.study.draft import StudyDraft


def split_option(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001
    """Return the values of an option that may be repeated or contain several values, separated by commas."""
    return split_list(",".join(values))


def split_list(text: str) -> tuple[str, ...]:
    """Return the distinct values of a comma-separated list."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


@click.command("new-study")
@click.argument("name", required=False)
@click.option("--start", metavar="DAY", help="Set the first UTC day. Default: 28 days ago.")
@click.option("--end", metavar="DAY", help="Set the last UTC day. Default: no end.")
@click.option(
    "--region",
    "regions",
    multiple=True,
    callback=split_option,
    help="Select videos of accounts registered in these regions, such as DE,AT.",
)
@click.option(
    "--hashtag",
    "hashtags",
    multiple=True,
    callback=split_option,
    help="Select videos with any of these hashtags or keywords.",
)
@click.option(
    "--keyword",
    "keywords",
    multiple=True,
    callback=split_option,
    help="Select videos with any of these keywords or hashtags.",
)
@click.option("--username", "usernames", multiple=True, callback=split_option, help="Select videos of these accounts.")
@click.option(
    "--comments",
    default="all",
    show_default=True,
    help="Collect the comments of: all videos, none, top:<n> of a day, or sample:<fraction>.",
)
@click.option(
    "--users",
    default="authors",
    show_default=True,
    help="Collect the profiles of: authors, panel, none or top:<n>.",
)
@click.option(
    "--panel",
    multiple=True,
    callback=split_option,
    help="Collect the followers, likes, reposts and pins of these accounts.",
)
@click.option("--observe", default="weekly", show_default=True, help="Collect profiles and lists: weekly or daily.")
@click.option("--yes", is_flag=True, help="Do not prompt (default when stdin is not a terminal).")
def command(
    name: str | None,
    start: str | None,
    end: str | None,
    regions: tuple[str, ...],
    hashtags: tuple[str, ...],
    keywords: tuple[str, ...],
    usernames: tuple[str, ...],
    comments: str,
    users: str,
    panel: tuple[str, ...],
    observe: str,
    yes: bool,
) -> None:
    """Write a commented study file and estimate the cost of the study. Sends no request.

    The file is written to the first folder of RESEARCH_STUDIES, or to research_assets/defs. No file is overwritten.
    The UI collects it once its code location is loaded again, which uses quota. Options that take several values may
    be repeated or contain commas.
    """
    from research_assets.cli.environment import data_settings
    from research_assets.cli.terminal import Terminal
    from research_assets.clock import SystemClock
    from research_assets.settings import Settings
    from research_assets.study.draft import StudyDraft, require_unused_name, study_folder

    console = Terminal()
    settings = data_settings()
    draft = StudyDraft(
        name=name or "",
        start=start or str(SystemClock().now().date() - timedelta(days=28)),
        end=end or "",
        regions=regions,
        hashtags=hashtags,
        keywords=keywords,
        usernames=usernames,
        comments=comments,
        users=users,
        panel=panel,
        observe=observe,
    )
    prompts = not yes and is_interactive()
    if prompts:
        draft = _prompt_all(draft, settings)
    elif not name:
        raise click.UsageError("A study needs a name: research-assets new-study NAME --hashtag …")
    elif not draft.has_condition:
        raise click.UsageError("A study needs a condition: --region, --hashtag, --keyword or --username.")
    else:
        require_unused_name(settings, draft.name)
    # `settings` may name the demo's folder. A new study belongs in the folder of the user's environment.
    _write(console, settings, draft, study_folder(Settings.from_env(), draft.name), prompts)


def is_interactive() -> bool:
    """Return whether stdin is a terminal."""
    return sys.stdin.isatty()


NAME_PROMPTS = (
    ("name", "Name (lowercase letters, digits and _)"),
    ("start", "First day, UTC"),
    ("end", "Last day, UTC (empty: no end)"),
)
QUERY_PROMPTS = (
    ("regions", "Regions of the accounts, such as DE, AT"),
    ("hashtags", "Hashtags"),
    ("keywords", "Keywords in captions"),
    ("usernames", "Accounts"),
)
OPTION_PROMPTS = (
    ("comments", "Comments: all, none, top:<n> of a day, sample:<fraction>"),
    ("panel", "Panel: accounts whose followers, likes, reposts and pins to collect"),
    ("users", "Profiles: authors, panel, none, top:<n>"),
)
"""The prompts: attribute of the draft, and text."""

DEPENDS_ON = {"end": "start", "users": "panel"}
"""Answers that are validated together with an earlier one."""


def _prompt_all(draft: "StudyDraft", settings: "Settings") -> "StudyDraft":
    """Prompt for all values, each until the loader of study files accepts it. Options are the defaults."""
    for attribute, text in NAME_PROMPTS:
        draft = _prompt(draft, attribute, text, settings)
    click.echo("\nSelect videos. Separate values by commas; leave a condition empty to omit it.")
    while True:
        for attribute, text in QUERY_PROMPTS:
            draft = _prompt(draft, attribute, text, settings)
        if draft.has_condition:
            break
        click.echo("At least one of these conditions is required.\n")
    click.echo("\nSelect further data.")
    for attribute, text in OPTION_PROMPTS:
        draft = _prompt(draft, attribute, text, settings)
    return draft


def _prompt(draft: "StudyDraft", attribute: str, text: str, settings: "Settings") -> "StudyDraft":
    """Return the draft with one more answer."""
    from research_assets.study.draft import DraftError, StudyDraft, draft_issues, require_unused_name

    before = getattr(draft, attribute)
    # All other values are valid, so that issues of the loader concern this answer.
    trial = StudyDraft(name="study", start="2026-02-01", hashtags=("word",), usernames=("account",), panel=("account",))
    if attribute in DEPENDS_ON:
        trial = replace(trial, **{DEPENDS_ON[attribute]: getattr(draft, DEPENDS_ON[attribute])})

    def accepted(answer: str) -> "StudyDraft":
        value: Any = split_list(answer) if isinstance(before, tuple) else answer.strip()
        if issues := draft_issues(replace(trial, **{attribute: value})):
            raise click.UsageError("; ".join(issues))
        if attribute == "name":
            try:
                require_unused_name(settings, answer.strip())
            except DraftError as error:
                raise click.UsageError(str(error)) from error
        return replace(draft, **{attribute: value})

    current = ", ".join(before) if isinstance(before, tuple) else before
    default = None if attribute == "name" and not current else current
    answered: StudyDraft = click.prompt(text, default=default, show_default=bool(current), value_proc=accepted)
    return answered


def _write(console: "Console", settings: "Settings", draft: "StudyDraft", folder: "Path", prompts: bool) -> None:
    """Write the study file, after a confirmation if `prompts` is set. Print its cost and the next steps."""
    from research_assets.cli.plan import print_plan
    from research_assets.settings import UI_COMMAND
    from research_assets.study.draft import render_yaml, write_draft
    from research_assets.study.loader import find_studies

    if prompts:
        console.print(f"\n{folder / 'defs.yaml'}:\n\n{render_yaml(draft)}")
        click.confirm("Write this file?", default=True, abort=True)
    file = write_draft(draft, folder)
    console.print(f"Written: {file}\n")
    print_plan(console, settings, [study for study in find_studies(settings) if study.spec.name == draft.name])
    console.print(
        f"\nTo change the study, edit the file and check it with: research-assets plan {draft.name}\n"
        f"To collect it, run: {UI_COMMAND} (the sensors start by themselves and use quota)\n"
        "In a UI that is open already, reload the code location under Deployment."
    )
