"""`research-assets forget`: remove what a person asked to erase from every file, or all data of a study."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from research_assets.compliance.forget import Preview, Receipt


@click.command("forget")
@click.option("--username", "usernames", multiple=True, help="Handle of an account; its videos go too. Repeatable.")
@click.option("--video", "videos", multiple=True, metavar="ID", help="Id of a video; its comments go too. Repeatable.")
@click.option("--comment", "comments", multiple=True, metavar="ID", help="Id of a comment; its replies go too.")
@click.option("--study", help="Name of a study; all its files go. Rows that other studies have stay with them.")
@click.option(
    "--all", "everything", is_flag=True, help="Remove all data; settings, receipts and logs of removals stay."
)
@click.option("--yes", is_flag=True, help="Remove without a prompt. Default: show what would go, then prompt.")
def command(
    usernames: tuple[str, ...],
    videos: tuple[str, ...],
    comments: tuple[str, ...],
    study: str | None,
    *,
    everything: bool,
    yes: bool,
) -> None:
    """Remove accounts, videos and comments from captures, tables, marts, exports and logs. Sends no request.

    Without --yes the command shows what would go, and prompts; without a terminal it changes nothing. It writes a
    receipt without content to state/receipts/. The items are not collected again. A removal that is not
    finished is repeated; without an option the command does only that. It exits with 1 if a file could not be cleaned.
    """
    import sys

    from research_assets.cli.environment import data_settings
    from research_assets.clock import SystemClock
    from research_assets.compliance.forget import preview_folder_removal, preview_removal, remove_folder, remove_items
    from research_assets.compliance.plan import plan_path
    from research_assets.compliance.whole_folders import EVERYTHING
    from research_assets.planning.messages import pluralize
    from research_assets.storage.listing import matching_paths
    from research_assets.tiktok.names import parse_handle

    try:
        handles = [parse_handle(name) for name in usernames]
        video_ids, comment_ids = [_parse_id(one) for one in videos], [_parse_id(one) for one in comments]
    except ValueError as error:
        raise click.UsageError(f"{error}. Nothing was changed.") from error
    if (study is not None) + everything + bool(handles or videos or comments) > 1:
        raise click.UsageError("Name either items, or a study, or --all. Nothing was changed.")
    settings, clock = data_settings(), SystemClock()
    if study is not None and not any(matching_paths(settings.root, f"*/*/study={_plain(study)}")):
        raise click.UsageError(f"The data folder {settings.root} has no data of a study {study}. Nothing was changed.")
    folder = EVERYTHING if everything else study
    is_named = bool(handles or videos or comments or folder)
    is_unfinished = plan_path(settings.state).exists()
    if not is_named and not is_unfinished:
        raise click.UsageError("Name an account, a video, a comment or a study. Nothing was changed.")
    if is_unfinished:
        click.echo("An earlier removal is not finished. It is finished before this one, or together with it.")
    if is_named and not yes:
        now = clock.now()
        if folder is not None:
            preview = preview_folder_removal(settings, now, folder)
        else:
            preview = preview_removal(settings, now, handles=handles, videos=video_ids, comments=comment_ids)
            found = preview.selection
            click.echo(
                f"To remove: {pluralize(len(found.handles), 'account')}, {pluralize(len(found.videos), 'video')}, "
                f"{pluralize(len(found.comments) + len(found.comments_with_them), 'comment')}."
            )
        _print_files(preview)
        if not sys.stdin.isatty():
            click.echo("Nothing was changed. Repeat the command with --yes to remove.")
            return
        if click.prompt("Type `forget` to remove this", default="", show_default=False) != "forget":
            raise click.ClickException("Nothing was changed.")
    try:
        if folder is not None:
            receipts = remove_folder(settings, clock.now, folder)
        else:
            receipts = remove_items(settings, clock.now, handles=handles, videos=video_ids, comments=comment_ids)
    # DuckDB raises RuntimeError if Ctrl-C interrupts a query.
    except (KeyboardInterrupt, RuntimeError):
        if plan_path(settings.state).exists():
            click.echo("The removal is not finished. Finish it with: research-assets forget", err=True)
        raise
    for receipt in receipts:
        counts = ", ".join(f"{kind} {number:,}" for kind, number in receipt.items.items())
        click.echo(f"Receipt {receipt.id}{f': {counts}' if counts else ''}")
        _print_files(receipt)
        click.echo(f"Receipt file: {receipt.path}")
    if not all(receipt.is_complete for receipt in receipts):
        raise click.ClickException(
            "The removal is not complete. The items are on record and are not collected again. Do what the messages "
            "above say, and run the same command again."
        )


def _parse_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise ValueError(f"{text!r} is not an id: it must be a number of up to 19 digits")
    return int(text)


def _plain(study: str) -> str:
    """Return the name of a study, which no pattern of files is part of."""
    if not study.replace("_", "").replace("-", "").isalnum():
        raise click.UsageError(f"{study!r} is not the name of a study. Nothing was changed.")
    return study


def _print_files(result: "Preview | Receipt") -> None:
    if not result.counts:
        click.echo("  No file contains them. If they were collected, check the spelling.")
    for kind, actions in result.counts.items():
        click.echo(f"  {kind:<16} " + ", ".join(f"{number:,} {action}" for action, number in actions.items()))
    if result.rewritten_exports:
        click.echo("Exports that are rewritten (replace copies of them): " + ", ".join(result.rewritten_exports))
    if result.exports:
        click.echo("Exports that are removed (export again after the removal): " + ", ".join(result.exports))
    if result.counts.get("reports", {}).get("not written again"):
        click.echo("Reports that were removed are missing. Write them again: research-assets report")
    click.echo("Copies outside of the data folder, such as backups and shared exports, are not reached. Delete them.")
    for note in result.notes:
        click.echo(f"Not reached: {note}")
    for problem in result.problems:
        click.echo(f"Not cleaned: {problem}")
