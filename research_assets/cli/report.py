"""`research-assets report`: reports and codebook, written from the published marts; opened or served on request."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from research_assets.settings import Settings
    from research_assets.study.spec import StudySpec

PORT = 3001


@click.command("report")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option("--open", "show", is_flag=True, help="Open each report in the browser.")
@click.option("--serve", is_flag=True, help="Serve the reports on this machine until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="With --serve.")
def command(studies: tuple[str, ...], show: bool, serve: bool, port: int) -> None:
    """Write the reports of some studies, or of all: one HTML file each, from the marts as they are now.

    A report says what is held and what is not, shows it in charts, and states what a paper must state. The codebook of
    the marts is written beside them. Neither needs a network. No request is sent.
    """
    from research_assets.cli.environment import data_settings
    from research_assets.clock import SystemClock
    from research_assets.report.write import write_report
    from research_assets.study.loader import load_studies

    settings = data_settings()
    codebooks = set()
    for study in _select_studies(load_studies(settings), studies):
        written = write_report(settings, study, SystemClock().now())
        codebooks.add(written.codebook)
        click.echo(written.path)
        if show:
            click.launch(written.path.as_uri())
    for path in filter(None, codebooks):
        click.echo(path)
    if serve:
        _serve(settings, port)


def _select_studies(known: "list[StudySpec]", names: tuple[str, ...]) -> "list[StudySpec]":
    """The studies that were named, or all; UsageError for a name that no study has."""
    by_name = {study.name: study for study in known}
    if unknown := [name for name in names if name not in by_name]:
        raise click.UsageError(
            f"There is no study {', '.join(unknown)}, so no report was written. There are: "
            f"{', '.join(by_name) or 'none'}."
        )
    return [by_name[name] for name in names] if names else known


def _serve(settings: "Settings", port: int) -> None:
    """Until Ctrl-C."""
    import signal

    from research_assets.report.serve import serve_reports

    try:
        with serve_reports(settings.reports, port) as address:
            click.echo(f"The reports are served at {address}, for this machine alone. Ctrl-C stops it.")
            signal.pause()
    except OSError as error:
        raise click.ClickException(
            f"Port {port} cannot be used: {error.strerror}. Choose another: --port 0 takes a free one."
        ) from error
    except KeyboardInterrupt:
        click.echo("Stopped.")
