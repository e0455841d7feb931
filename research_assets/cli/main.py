"""The group of all commands: found by name when called, and the one place where a known error becomes a message."""

import sys
from importlib import import_module
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("research_assets.cli.demo:command", "Collect a demo study from a simulated API; needs no credentials."),
    "ui": ("research_assets.cli.ui:command", "Open Dagster's UI; on the simulated API while no credentials are set."),
    "new-study": ("research_assets.cli.new_study:command", "Write the file of a new study, and say what it will cost."),
    "plan": ("research_assets.cli.plan:command", "Say what is still to be asked, what it costs and when it is done."),
    "status": ("research_assets.cli.status:command", "Say what is left of the quota and what is held."),
    "check-api": ("research_assets.cli.check_api:command", "Check the address and credentials of the API."),
    "export": (
        "research_assets.cli.export:command",
        "Write the marts as Parquet, CSV or Stata files, with a codebook.",
    ),
    "report": ("research_assets.cli.report:command", "Write a study's report: one HTML file, from the marts."),
    "audit": ("research_assets.cli.audit:command", "Say which share of a list of videos the API returns."),
    "rehydrate": ("research_assets.cli.rehydrate:command", "Fetch the videos listed in a file of ids."),
    "replay": ("research_assets.cli.replay:command", "Rebuild the raw tables from the captures, without a request."),
    "sandbox": ("research_assets.sandbox.server:command", "Serve a simulated Research API on this machine."),
}
"""Where each command is, and what the list says of it."""

KNOWN_ERRORS = (
    "research_assets.settings:SettingsError",
    "research_assets.study.loader:StudyError",
    "research_assets.study.panel:PanelError",
    "research_assets.study.draft:DraftError",
    "research_assets.tiktok.errors:ApiError",
    "research_assets.storage.captures:CaptureError",
    "research_assets.storage.locks:PartitionBusy",
    "research_assets.quota.ledger:LedgerError",
    "research_assets.quota.ledger:QuotaExhausted",
    "research_assets.quota.server_time:SandboxUnreachable",
    "research_assets.warehouse.reader:WarehouseReadError",
    "research_assets.export:ExportError",
    "research_assets.collect.id_lists.reader:IdListError",
    "research_assets.sandbox.server:PortInUse",
)
"""Errors whose message says all that a person needs; anything else is a bug and keeps its traceback."""


def import_reference(reference: str) -> Any:
    """What `package.module:name` stands for."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def is_known_error(error: Exception) -> bool:
    """Whether an error is one of `KNOWN_ERRORS`; a module that was never imported cannot have raised it."""
    loaded = [reference for reference in KNOWN_ERRORS if reference.partition(":")[0] in sys.modules]
    return isinstance(error, tuple(import_reference(reference) for reference in loaded))


class LazyGroup(click.Group):
    """The commands of `COMMANDS`, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_reference(COMMANDS[cmd_name][0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a known error becomes one message on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if is_known_error(error):
                raise click.ClickException(str(error)) from error
            raise


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="research-assets")
def main() -> None:
    """Collect TikTok's public data through its Research API, and know at any time what is held and what is not.

    Studies, data and API are chosen by environment variables or a .env file; .env.example lists them. Without
    credentials everything works on a simulated API, with data of its own.
    """
