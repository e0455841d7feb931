"""`research-assets report`: write reports, the codebook and the coverage boards, and open or serve them."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from research_assets.settings import Settings
    from research_assets.study.spec import StudySpec

PORT = 3001


@click.command("report")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option("--handles", is_flag=True, help="Show the handles of accounts. Default: numbers.")
@click.option("--open", "show", is_flag=True, help="Open each report in the browser.")
@click.option("--serve", is_flag=True, help="Serve the reports on this machine until Ctrl-C.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    show_default=str(PORT),
    help="Set the port of --serve; 0 selects one.",
)
def command(studies: tuple[str, ...], handles: bool, show: bool, serve: bool, port: int | None) -> None:
    """Write the HTML reports of the named studies from the current marts. Sends no request.

    Default: all studies. A report shows collected and missing data with charts, and contains the methods paragraph for
    a paper. Accounts have numbers in it unless --handles is given. The codebook of the marts and the coverage board of
    each study are written next to the reports. None of them needs a network connection.
    """
    from research_assets.cli.environment import data_settings
    from research_assets.clock import SystemClock
    from research_assets.compliance.audit_log import record_command
    from research_assets.quota.server_time import server_clock_or_local
    from research_assets.report.coverage_board import write_board
    from research_assets.report.paths import pages_of_other_studies
    from research_assets.report.write import write_report
    from research_assets.study.loader import load_studies

    if port is not None and not serve:
        raise click.UsageError("--port belongs to --serve. No report was written.")
    settings = data_settings()
    codebooks = set()
    known = load_studies(settings)
    selected = _select_studies(known, studies)
    for study in selected:
        now = SystemClock().now()
        written = write_report(settings, study, now, handles=handles)
        record_command(settings, f"report {'--handles ' if handles else ''}{study.name}", now)
        codebooks.add(written.codebook)
        click.echo(written.path)
        for chart, problem in written.problems.items():
            click.echo(f"Warning: the report has no chart {chart}: {problem}.", err=True)
        if show:
            click.launch(written.path.as_uri())
    for path in filter(None, codebooks):
        click.echo(path)
    now = server_clock_or_local(settings, SystemClock()).now()
    for study in selected:
        click.echo(write_board(settings, study, now).path)
    if others := pages_of_other_studies(settings, (study.name for study in known)):
        names = ", ".join(page.name for page in others)
        click.echo(f"Not written again, because no study file declares the study: {names}. Delete what is not needed.")
    if serve:
        _serve(settings, PORT if port is None else port)


def _select_studies(known: "list[StudySpec]", names: tuple[str, ...]) -> "list[StudySpec]":
    """Return the named studies, or all. Raises UsageError for an unknown name."""
    by_name = {study.name: study for study in known}
    if unknown := [name for name in names if name not in by_name]:
        raise click.UsageError(
            f"There is no study {', '.join(unknown)}. No report was written. Known studies: "
            f"{', '.join(by_name) or 'none'}."
        )
    return [by_name[name] for name in names] if names else known


def _serve(settings: "Settings", port: int) -> None:
    """Serve the reports until Ctrl-C."""
    import signal

    from research_assets.report.coverage_board import LiveBoards
    from research_assets.report.serve import serve_reports

    try:
        with serve_reports(settings.reports, port, LiveBoards(settings)) as address:
            click.echo(f"Serving the reports at {address}, for this machine only. Press Ctrl-C to stop.")
            signal.pause()
    except OSError as error:
        raise click.ClickException(
            f"The reports cannot be served on port {port}: {error.strerror}. Choose another port; --port 0 selects a "
            "free one."
        ) from error
    except KeyboardInterrupt:
        click.echo("Stopped.")
