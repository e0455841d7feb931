"""`research-assets verify`: verify which stored videos, comments and profiles still exist, and withdraw the others."""

from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from datetime import datetime

    from research_assets.compliance.verification.step import StepReport
    from research_assets.settings import Settings


STORED_ITEMS = "Only the API that returned the stored items can verify them"
"""Why no simulated API is started for this command."""


@click.command("verify")
@click.option("--confirm", metavar="TASK", help="Withdraw the missing items of a task that waits for confirmation.")
@click.option("--reject", metavar="TASK", help="Discard the answer of a task; its items are verified again.")
@click.option("--status", "only_status", is_flag=True, help="Show due, overdue and waiting items. Sends no request.")
@click.option("--certificate", is_flag=True, help="Write a certificate for an auditor. Sends no request.")
def command(confirm: str | None, reject: str | None, *, only_status: bool, certificate: bool) -> None:
    """Verify stored videos, comments and profiles with the API, and remove those that no longer exist from every file.

    Runs the steps that are possible now: send due ids (up to 10,000 in a request), request the status of open tasks,
    download results, look up due accounts and videos, withdraw. The API processes a task in its own time, and look-ups
    need two days; run the command again, or leave it to the sensor verify_due_items. Sends one to three requests per
    task, and one per account or per 100 videos that are looked up.
    """
    from contextlib import nullcontext

    from research_assets.cli.environment import announce_simulation, api_settings, data_settings
    from research_assets.clock import SystemClock
    from research_assets.compliance.verification.planning import studies_by_lookup
    from research_assets.compliance.verification.step import give_word, take_step
    from research_assets.quota.server_time import server_clock_or_local
    from research_assets.resources import CollectorResource

    if confirm and reject:
        raise click.UsageError("Use either --confirm or --reject. Nothing was changed.")
    if certificate and (confirm or reject or only_status):
        raise click.UsageError("Use --certificate alone. Nothing was changed.")
    sends_none = only_status or certificate
    with nullcontext(data_settings()) if sends_none else api_settings(known_ids=STORED_ITEMS) as settings:
        if not sends_none:
            announce_simulation(settings)
        clock = server_clock_or_local(settings, SystemClock())
        word: Literal["confirmed", "rejected"] = "confirmed" if confirm else "rejected"
        if name := confirm or reject:
            give_word(settings, name, word, clock.now())
        if certificate:
            _write_certificate(settings, clock.now())
            return
        if not only_status:
            collector = CollectorResource(settings)
            studies = studies_by_lookup(settings)
            _print_report(take_step(settings, collector.open, clock.now, studies=studies, poll_now=not name))
        _print_status(settings)


def _write_certificate(settings: "Settings", now: "datetime") -> None:
    from research_assets.compliance.verification.certificate import write_certificate

    written, path = write_certificate(settings, now)
    for items in written.stored:
        click.echo(f"{items.kind + 's':<9} {items.n_stored:,} stored, {items.n_overdue:,} overdue.")
    withdrawn = written.count_withdrawn()
    click.echo(f"Withdrawn: {sum(withdrawn.values()):,} items in {len(written.removals):,} removals.")
    for finding in written.findings:
        click.echo(f"Not verified in time: {finding}" if written.is_late else finding)
    if not written.findings:
        click.echo("Every stored item was verified in time.")
    click.echo(f"Certificate: {path}")


def _print_report(report: "StepReport") -> None:
    if report.is_busy:
        click.echo("Another step of verification is running. Nothing was done.")
        return
    click.echo(
        f"Planned {report.n_planned:,} tasks, created {report.n_created:,}. Verified {report.n_verified:,} items, "
        f"withdrew {report.n_withdrawn:,}."
    )
    for receipt in report.receipts:
        click.echo(f"Receipt file: {receipt.path}")
        for problem in receipt.problems:
            click.echo(f"Not cleaned: {problem}")
    if report.pause:
        click.echo(f"Paused: {report.pause}")


def _print_status(settings: "Settings") -> None:
    from research_assets.clock import SystemClock
    from research_assets.compliance.verification import due
    from research_assets.compliance.verification.held import KINDS, count_held
    from research_assets.compliance.verification.tasks import TaskJournal, describe, describe_refusal
    from research_assets.quota.server_time import server_clock_or_local

    now = server_clock_or_local(settings, SystemClock()).now()
    overdue = now - due.interval(settings)
    journal = TaskJournal(settings)
    for kind in KINDS:
        held = count_held(settings, kind, due.last_due(settings, now), overdue)
        at = (
            f"; the oldest falls due at {held.earliest + due.interval(settings):%Y-%m-%d %H:%M} UTC"
            if held.earliest
            else ""
        )
        click.echo(f"{kind + 's':<9} {held.n_held:,} stored, {held.n_due:,} due, {held.n_overdue:,} overdue{at}.")
    if refusal := describe_refusal(journal, now):
        click.echo(refusal)
    for task in journal.open_tasks:
        click.echo(describe(task))
