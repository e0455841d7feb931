"""`research-assets ui`: run Dagster's webserver and daemon, and a sandbox if no API is configured."""

import http.client
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import click

from research_assets.cli.child_process import run_until_stopped
from research_assets.cli.environment import api_settings, prepare_instance
from research_assets.report.serve import serve_reports
from research_assets.settings import UI_COMMAND, WORKSPACE_FILE, Settings, child_environment, home_folder, prepare_root
from research_assets.study.loader import load_studies

HOST = "127.0.0.1"


@click.command("ui")
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    default=3000,
    show_default=True,
    help="Listen on this port; 0 selects a free one.",
)
def command(port: int) -> None:
    """Open Dagster's UI on this machine: the asset graph, partitions, runs, backfills, checks.

    While it runs, the sensors collect all studies and use quota. Without credentials it also starts a simulated API,
    whose data has its own folder. Ctrl-C stops all processes; collection resumes at the next start.
    """
    port = _free_port(port)
    with api_settings() as settings:
        load_studies(settings)
        prepare_root(settings)
        prepare_instance(settings)
        click.echo("Starting Dagster, which takes about 20 seconds ...", err=True)
        dagster = f"dg dev --host {HOST} --port {port} --log-level warning --workspace".split()
        if not settings.dagster_url:
            settings = replace(settings, dagster_url=f"http://{HOST}:{port}")
        with _reports(settings, port) as served:
            code = run_until_stopped(
                [str(Path(sys.executable).with_name(dagster[0])), *dagster[1:], str(WORKSPACE_FILE)],
                environment=child_environment(served),
                folder=home_folder(),
                log=settings.ui_log,
                ready=lambda: _is_up(port),
                when_ready=lambda: _show(served, port),
                when_stopping=lambda: click.echo("Stopping ... Press Ctrl-C again to stop immediately.", err=True),
            )
    if code is not None:
        raise click.ClickException(_describe_end(code, settings.ui_log))


_UNEXPECTED_END = "shut down unexpectedly"
"""Part of the line in which Dagster names a process of its own that ended. Its exit code is 0 then."""


def _describe_end(code: int, log: Path) -> str:
    """Return why Dagster ended without a stop signal, and what to do."""
    lines = log.read_text(errors="replace").splitlines()
    causes = [line for line in lines if _UNEXPECTED_END in line]
    text = "\n".join(causes[-1:] or lines[-20:])
    return (
        f"Dagster ended with exit code {code}, although nobody stopped it. Nothing is collected until it runs again: "
        f"run `{UI_COMMAND}`, which resumes all runs. "
        f"{'The cause in' if causes else 'The last lines of'} {log}:\n{text}"
    )


@contextmanager
def _reports(settings: Settings, port: int) -> Iterator[Settings]:
    """Serve reports and coverage boards at the next port or a free one, unless the settings name another server."""
    if settings.reports_url:
        yield settings
        return
    # Imported here, because the library of the raw tables is loaded with it.
    from research_assets.report.coverage_board import LiveBoards

    boards = LiveBoards(settings)
    with ExitStack() as stack:
        try:
            address = stack.enter_context(serve_reports(settings.reports, port + 1 if port < 65535 else 0, boards))
        except OSError:
            address = stack.enter_context(serve_reports(settings.reports, live=boards))
        yield replace(settings, reports_url=address)


def _free_port(port: int) -> int:
    """Return the port, or a free one for 0. Raises ClickException if the port is taken."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise click.ClickException(
                f"Port {port} cannot be used: {error.strerror}. Nothing was started. Choose another port; --port 0 "
                "selects a free one."
            ) from error
        number: int = probe.getsockname()[1]
        return number


def _is_up(port: int) -> bool:
    """Return whether the webserver answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start_page(studies: Sequence[str]) -> str:
    """Return the path of the page to begin with: the graph of the study, or the whole graph for several or none."""
    if len(studies) != 1:
        return "/asset-groups"
    group = f"studies/{studies[0]}"
    selection = quote(f'group:"{group}"', safe="")
    # The UI shows nested groups closed unless its address names them.
    return f"/asset-groups~{selection}?expanded={quote(f'global@global:studies,global@global:{group}', safe='')}"


def _show(settings: Settings, port: int) -> None:
    """Print the addresses, the data folder and the log file."""
    from rich.panel import Panel

    from research_assets.cli.terminal import Terminal

    simulated = settings.origin == "sandbox"
    studies = [study.name for study in load_studies(settings)]
    lines = [
        f"Dagster's UI   http://{HOST}:{port}",
        *([] if studies else ["Studies        none yet; write one with: research-assets new-study"]),
        f"API            {settings.api_url}" + (" (simulated)" if simulated else ""),
        f"Data           {settings.root}",
        f"Reports        {settings.reports_url}",
        f"Log            {settings.ui_log}",
        "Press Ctrl-C to stop.",
    ]
    Terminal(soft_wrap=False).print(Panel.fit("\n".join(lines), title="Ready"))
    # Outside the frame, which would break a long address into lines that cannot be clicked.
    what = f"The graph of {studies[0]}" if len(studies) == 1 else "The graph"
    click.echo(f"{what}: http://{HOST}:{port}{start_page(studies)}")
