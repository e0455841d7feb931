"""`research-assets ui`: Dagster's webserver and daemon, and the sandbox beside where there is no API."""

import http.client
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import click

from research_assets.cli.child_process import run_until_stopped
from research_assets.cli.environment import api_settings
from research_assets.instance import prepare_home
from research_assets.report.serve import serve_reports
from research_assets.settings import PROJECT_DIR, Settings, child_environment, prepare_root
from research_assets.study.loader import load_studies

HOST = "127.0.0.1"


@click.command("ui")
@click.option(
    "--port", "-p", type=click.IntRange(0, 65535), default=3000, show_default=True, help="0 takes a free one."
)
def command(port: int) -> None:
    """Open Dagster's UI on this machine: the asset graph, partitions, runs, backfills, checks.

    Without credentials a simulated API is started beside it, and its data goes to a folder of its own. Ctrl-C stops
    everything that was started here; unfinished collections go on where they stopped.
    """
    port = _free_port(port)
    with api_settings() as settings:
        load_studies(settings)
        prepare_root(settings)
        prepare_home(settings)
        click.echo("Starting Dagster; this takes about 20 seconds ...", err=True)
        dagster = f"dg dev --workspace workspace.yaml --host {HOST} --port {port} --log-level warning".split()
        with _reports(settings, port) as served:
            code = run_until_stopped(
                [str(Path(sys.executable).with_name(dagster[0])), *dagster[1:]],
                environment=child_environment(served),
                folder=PROJECT_DIR,
                log=settings.ui_log,
                ready=lambda: _is_up(port),
                when_ready=lambda: _show(served, port),
                when_stopping=lambda: click.echo("Stopping; again to stop at once ...", err=True),
            )
    if code:
        last = "\n".join(settings.ui_log.read_text(errors="replace").splitlines()[-20:])
        raise click.ClickException(
            f"Dagster ended with exit code {code}. Its last words, from {settings.ui_log}:\n{last}"
        )


@contextmanager
def _reports(settings: Settings, port: int) -> Iterator[Settings]:
    """Serve the reports beside the UI, at the next port or a free one, unless the settings name who serves them."""
    if settings.reports_url:
        yield settings
        return
    with ExitStack() as stack:
        try:
            address = stack.enter_context(serve_reports(settings.reports, port + 1 if port < 65535 else 0))
        except OSError:
            address = stack.enter_context(serve_reports(settings.reports))
        yield replace(settings, reports_url=address)


def _free_port(port: int) -> int:
    """The port itself, or a free one for 0; ClickException if it is taken."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise click.ClickException(
                f"Port {port} cannot be used: {error.strerror}. Nothing was started. Choose another: --port 0 takes a "
                "free one."
            ) from error
        number: int = probe.getsockname()[1]
        return number


def _is_up(port: int) -> bool:
    """Whether the webserver serves already."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _show(settings: Settings, port: int) -> None:
    """Say where everything is."""
    from rich.console import Console
    from rich.panel import Panel

    simulated = settings.origin == "sandbox"
    lines = [
        f"Dagster's UI   http://{HOST}:{port}",
        f"API            {settings.api_url}" + (" (simulated)" if simulated else ""),
        f"Data           {settings.root}",
        f"Reports        {settings.reports_url}",
        f"Log            {settings.ui_log}",
        "Ctrl-C stops it.",
    ]
    Console(highlight=False).print(Panel.fit("\n".join(lines), title="Ready"))
