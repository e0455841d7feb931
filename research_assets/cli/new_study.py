"""`research-assets new-study`: questions in a terminal, flags in a script; writes a study file and says its price."""

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
    """The values of an option that may be repeated, or hold several with commas."""
    return split_list(",".join(values))


def split_list(text: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


@click.command("new-study")
@click.argument("name", required=False)
@click.option("--start", metavar="DAY", help="First UTC day. Default: four weeks ago.")
@click.option("--end", metavar="DAY", help="Last UTC day. Without it the study runs on.")
@click.option("--region", "regions", multiple=True, callback=split_option, help="Regions of accounts, such as DE,AT.")
@click.option(
    "--hashtag", "hashtags", multiple=True, callback=split_option, help="Hashtags, of which a video needs one."
)
@click.option("--keyword", "keywords", multiple=True, callback=split_option, help="Words of captions; like hashtags.")
@click.option(
    "--username", "usernames", multiple=True, callback=split_option, help="Accounts whose videos are searched."
)
@click.option("--comments", default="all", show_default=True, help="all, none, top:<n> of a day, or sample:<fraction>.")
@click.option("--users", default="authors", show_default=True, help="Whose profiles: authors, panel, none or top:<n>.")
@click.option("--panel", multiple=True, callback=split_option, help="Accounts whose lists are asked.")
@click.option("--observe", default="weekly", show_default=True, help="Period of profiles and lists: weekly or daily.")
@click.option("--yes", is_flag=True, help="Ask nothing. So it is where the input is no terminal.")
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
    """Write the file of a new study, with comments on all that can be said, and say what it will cost.

    It goes to the first folder of RESEARCH_STUDIES, or to research_assets/defs. Nothing is overwritten, and nothing is
    asked of the API; but the sensor of a running UI collects each study that it finds.
    """
    from rich.console import Console

    from research_assets.cli.environment import data_settings
    from research_assets.clock import SystemClock
    from research_assets.settings import Settings
    from research_assets.study.draft import StudyDraft, require_unused_name, study_folder

    console = Console(highlight=False, soft_wrap=True)
    held = data_settings()
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
    asks = not yes and is_interactive()
    if asks:
        draft = _prompt_all(draft, held)
    elif not name:
        raise click.UsageError("A study needs a name: research-assets new-study NAME --hashtag …")
    elif not draft.has_condition:
        raise click.UsageError("A study needs a condition: --region, --hashtag, --keyword or --username.")
    else:
        require_unused_name(held, draft.name)
    # The demo's folder is the sandbox's own; a new study belongs where the user keeps studies.
    _write(console, held, draft, study_folder(Settings.from_env(), draft.name), asks)


def is_interactive() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


NAME_PROMPTS = (
    ("name", "Name, of small letters, digits and _"),
    ("start", "First day, UTC"),
    ("end", "Last day, UTC (empty: it runs on)"),
)
QUERY_PROMPTS = (
    ("regions", "Regions where accounts are registered, such as DE, AT"),
    ("hashtags", "Hashtags"),
    ("keywords", "Words of captions"),
    ("usernames", "Accounts"),
)
OPTION_PROMPTS = (
    ("comments", "Comments: all, none, top:<n> of a day, sample:<fraction>"),
    ("panel", "Panel: accounts whose followers, likes, reposts and pins are asked"),
    ("users", "Profiles: authors, panel, none, top:<n>"),
)
"""The questions: which answer, and its words."""

DEPENDS_ON = {"end": "start", "users": "panel"}
"""Answers that are judged together with an earlier one."""


def _prompt_all(draft: "StudyDraft", settings: "Settings") -> "StudyDraft":
    """Put the questions, each until its answer is one that the loader takes; flags are the defaults."""
    for attribute, text in NAME_PROMPTS:
        draft = _prompt(draft, attribute, text, settings)
    click.echo("\nWhich videos? Lists are written with commas; leave empty what does not matter.")
    while True:
        for attribute, text in QUERY_PROMPTS:
            draft = _prompt(draft, attribute, text, settings)
        if draft.has_condition:
            break
        click.echo("At least one of these is needed.\n")
    click.echo("\nWhat else?")
    for attribute, text in OPTION_PROMPTS:
        draft = _prompt(draft, attribute, text, settings)
    return draft


def _prompt(draft: "StudyDraft", attribute: str, text: str, settings: "Settings") -> "StudyDraft":
    """The draft with one more answer."""
    from research_assets.study.draft import DraftError, StudyDraft, draft_issues, require_unused_name

    before = getattr(draft, attribute)
    # All else is in order here, so that what the loader objects to is the answer.
    trial = StudyDraft(name="study", start="2026-02-01", hashtags=("word",), usernames=("account",), panel=("account",))
    if attribute in DEPENDS_ON:
        trial = replace(trial, **{DEPENDS_ON[attribute]: getattr(draft, DEPENDS_ON[attribute])})

    def accepted(answer: str) -> "StudyDraft":
        value: Any = split_list(answer) if isinstance(before, tuple) else answer.strip()
        if found := draft_issues(replace(trial, **{attribute: value})):
            raise click.UsageError("; ".join(found))
        if attribute == "name":
            try:
                require_unused_name(settings, answer.strip())
            except DraftError as error:
                raise click.UsageError(str(error)) from error
        return replace(draft, **{attribute: value})

    shown = ", ".join(before) if isinstance(before, tuple) else before
    default = None if attribute == "name" and not shown else shown
    answered: StudyDraft = click.prompt(text, default=default, show_default=bool(shown), value_proc=accepted)
    return answered


def _write(console: "Console", held: "Settings", draft: "StudyDraft", folder: "Path", asks: bool) -> None:
    """Show the file, write it, and say what it costs and what comes next."""
    from research_assets.cli.plan import print_plan
    from research_assets.study.draft import render_yaml, write_draft
    from research_assets.study.loader import load_studies

    if asks:
        console.print(f"\n{folder / 'defs.yaml'}:\n\n{render_yaml(draft)}", markup=False)
        click.confirm("Write it?", default=True, abort=True)
    file = write_draft(draft, folder)
    console.print(f"Written: {file}\n")
    print_plan(console, held, [study for study in load_studies(held) if study.name == draft.name])
    console.print(
        "\nEdit the file as you like, and check it: make check-studies. To collect it: make ui, which spends quota by itself."
    )
