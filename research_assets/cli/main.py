"""The group of all commands. It imports a command when it is called, and turns known errors into messages.

Not here: the commands (see the module of each).
"""

import errno
import logging
import os
import resource
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from research_assets.cli.encoding import print_every_character
from research_assets.settings import keep_new_files_private
from research_assets.text import terminal_text

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("research_assets.cli.demo:command", "Collect a demo study from a simulated API; needs no credentials."),
    "ui": ("research_assets.cli.ui:command", "Open Dagster's UI; without credentials it uses a simulated API."),
    "new-study": ("research_assets.cli.new_study:command", "Write a study file and estimate its cost in requests."),
    "preregister": (
        "research_assets.cli.preregister:command",
        "Write the preregistration of a study: query, days, sampling, planned cost.",
    ),
    "plan": ("research_assets.cli.plan:command", "Estimate the remaining requests and the completion date."),
    "status": ("research_assets.cli.status:command", "Show the remaining quota and the units of each study by state."),
    "collect": ("research_assets.cli.collect:command", "Collect what is due now without the UI, then build the marts."),
    "build": ("research_assets.cli.build:command", "Build the marts and write the reports; sends no request."),
    "check-api": ("research_assets.cli.check_api:command", "Check the address and the credentials of the API."),
    "export": (
        "research_assets.cli.export:command",
        "Write the marts as Parquet, CSV, Stata or SPSS files, with a codebook.",
    ),
    "score": ("research_assets.cli.score:command", "Estimate precision and recall of a rule from a coding sheet."),
    "report": ("research_assets.cli.report:command", "Write the HTML report of each study from the marts."),
    "audit": ("research_assets.cli.audit:command", "Measure the share of listed videos that the API returns."),
    "population": (
        "research_assets.cli.population:command",
        "Estimate how many videos match a query on a day, from random draws.",
    ),
    "rehydrate": ("research_assets.cli.rehydrate:command", "Fetch the videos listed in a file of ids."),
    "replay": ("research_assets.cli.replay:command", "Rebuild the raw tables from the captures; sends no request."),
    "verify-files": (
        "research_assets.cli.verify_files:command",
        "Compare the stored files with their checksums, and rebuild damaged raw tables.",
    ),
    "forget": (
        "research_assets.cli.forget:command",
        "Remove accounts, videos and comments from every file, with a receipt.",
    ),
    "verify": (
        "research_assets.cli.verify:command",
        "Verify that stored videos and comments still exist, and remove the others.",
    ),
    "spark-build": ("research_assets.cli.spark_build:command", "Build the marts with Spark, as Parquet files."),
    "sandbox": ("research_assets.sandbox.server:command", "Serve a simulated Research API on this machine."),
}
"""The module of each command, and its line in the list of commands."""

KNOWN_ERRORS = (
    "research_assets.clock:ClocksDiffer",
    "research_assets.settings:SettingsError",
    "research_assets.study.loader:StudyError",
    "research_assets.study.panel:PanelError",
    "research_assets.study.draft:DraftError",
    "research_assets.tiktok.errors:ApiError",
    "research_assets.tiktok.pseudonyms:UnknownPseudonym",
    "research_assets.tiktok.connection:ConnectionSettingsError",
    "research_assets.storage.captures:CaptureError",
    "research_assets.storage.raw_digests:DamagedRawFile",
    "research_assets.storage.database:MissingDriver",
    "research_assets.storage.lock_errors:LockError",
    "research_assets.storage.locks:PartitionBusy",
    "research_assets.storage.locks:RunInProgress",
    "research_assets.storage.withdrawals:WithdrawalError",
    "research_assets.compliance.verification.step:VerificationError",
    "research_assets.warehouse.build:BuildInProgress",
    "research_assets.quota.ledger_database:LedgerError",
    "research_assets.quota.ledger:QuotaExhausted",
    "research_assets.quota.server_time:SandboxUnreachable",
    "research_assets.warehouse.reader:WarehouseReadError",
    "research_assets.warehouse.spark:SparkBuildError",
    "research_assets.export:ExportError",
    "research_assets.export.coding:CodingSheetError",
    "research_assets.collect.id_lists.reader:IdListError",
    "research_assets.sandbox.server:PortInUse",
)
"""Errors that are printed as a message. Any other exception is a bug and keeps its traceback."""


_OPEN_FILES = 4096
"""Open files that are enough for a build with many threads. macOS refuses more than 10,240."""

DISK_ERRORS = {
    errno.ENOSPC: "Make room on the disk",
    errno.EDQUOT: "Make room in your disk quota",
    errno.EIO: "Repair the disk",
    errno.EMFILE: f"Allow more open files, such as with `ulimit -n {_OPEN_FILES}`",
    errno.ENFILE: "End programs that have many files open",
    errno.EROFS: "Make the file system writable, or set RESEARCH_DATA to a folder that is",
}
"""Error numbers of a disk that is full, over the user's quota, faulty or read-only, or of too many open files, with the
advice for each.

They can occur in any command.
"""

ACCESS_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.ENOLCK, errno.ENOTSUP, errno.ESTALE, errno.ETXTBSY),
)
"""Error numbers of a path that this user or this file system cannot use; a message only with the path."""


def import_reference(reference: str) -> Any:
    """Return the object that `package.module:name` refers to."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def is_known_error(error: Exception) -> bool:
    """Return whether an error is one of `KNOWN_ERRORS`.

    Modules that are not loaded are skipped, because they cannot have raised it.
    """
    loaded = [reference for reference in KNOWN_ERRORS if reference.partition(":")[0] in sys.modules]
    return isinstance(error, tuple(import_reference(reference) for reference in loaded))


_INTERRUPTED = "Query interrupted"
"""Message of the RuntimeError that DuckDB raises instead of KeyboardInterrupt after Ctrl-C in a query."""


def _is_database_error(error: Exception) -> bool:
    """Return whether a database failed. Dagster's is the only one whose errors have no class of this project."""
    return "sqlalchemy.exc" in sys.modules and isinstance(error, import_reference("sqlalchemy.exc:DBAPIError"))


def _is_unreadable_file(error: Exception) -> bool:
    """Return whether DuckDB could not read a file: it is damaged, or too many are open."""
    names = ("IOException", "FatalException", "InternalException", "SerializationException")
    return "duckdb" in sys.modules and isinstance(error, tuple(import_reference(f"duckdb:{name}") for name in names))


def _has_current_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


class LazyGroup(click.Group):
    """The group of `COMMANDS`. It imports a command when it is called."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command on a terminal of any encoding, or without an input."""
        print_every_character()
        if sys.stdin is None:
            # It is closed. Prompts then end as at the end of an input.
            sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
        return super().main(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command; None if no command has this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_reference(COMMANDS[cmd_name][0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A known error or a disk error becomes one message on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Subclasses of ClickException quote the arguments of the person at the terminal and nothing else.
            if is_known_error(error) or type(error) is click.ClickException:
                raise click.ClickException(terminal_text(str(error))) from error
            if _is_database_error(error):
                raise click.ClickException(
                    terminal_text(
                        "The storage of Dagster could not be used: "
                        f"{str(error.__cause__ or error).strip().rstrip('.')}. All stored data is kept. Make the "
                        "folder DAGSTER_HOME writable, make room on its disk, or start its database, and run the "
                        "command again: it continues where it stopped."
                    )
                ) from error
            if "dagster" in sys.modules and isinstance(error, import_reference("dagster:DagsterInvalidConfigError")):
                problem = " ".join(str(error).partition("Expected:")[0].split()).rstrip(".")
                raise click.ClickException(
                    terminal_text(f"{problem}. Nothing was started. Correct dagster.yaml in the folder DAGSTER_HOME.")
                ) from error
            if isinstance(error, RuntimeError) and str(error) == _INTERRUPTED:
                raise click.Abort from error
            if _is_unreadable_file(error):
                raise click.ClickException(
                    terminal_text(
                        f"A file could not be read: {str(error).splitlines()[0].rstrip('.!')}. All stored data is "
                        "kept. Find damaged files with `research-assets verify-files`. If the warehouse is damaged, "
                        "build it again with `research-assets build --full-refresh`. If too many files are open, allow "
                        f"more with `ulimit -n {_OPEN_FILES}`."
                    )
                ) from error
            if isinstance(error, FileNotFoundError) and not _has_current_folder():
                raise click.ClickException(
                    "The current folder does not exist any more. Change to another folder, and run the command again."
                ) from error
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise click.ClickException(
                    f"The disk could not be used: {error.strerror}{f': {error.filename}' if error.filename else ''}. "
                    f"All stored data is kept. {DISK_ERRORS[error.errno]}, and run the command again: it continues "
                    "where it stopped."
                ) from error
            if isinstance(error, OSError) and error.errno in ACCESS_ERRORS and error.filename is not None:
                raise click.ClickException(
                    terminal_text(
                        f"{error.filename!s} cannot be used: {error.strerror}. All stored data is kept. Make it "
                        "accessible, or name another file or folder, and run the command again."
                    )
                ) from error
            raise


def _allow_open_files() -> None:
    """Raise the soft limit of open files to the hard one: DuckDB opens many. macOS allows 256 by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Warnings(logging.StreamHandler[Any]):
    """Writes warnings to the current stderr, for a command without `--verbose`."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(terminal_text(f"Warning: {record.getMessage()}"), err=True)


class _LogFormatter(logging.Formatter):
    """Formats log records for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return terminal_text(super().format(record))


def _configure_logging(verbosity: int) -> None:
    """Log what the package does to stderr: warnings, with 1 also progress, with 2 also every request. Times are UTC."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logger = logging.getLogger("research_assets")
    logger.setLevel(level)
    formatter = _LogFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    # Replaced rather than added, so that a second call in one process does not log each line twice.
    logger.handlers = [handler if verbosity else _Warnings(logging.WARNING)]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Terms such as unit, partition and pool are explained in docs/glossary.md.",
)
@click.option(
    "-v", "--verbose", count=True, help="Log progress to stderr; -vv logs every request. Default: warnings only."
)
@click.version_option(package_name="research-assets")
def main(verbose: int) -> None:
    """Collect public TikTok data through the Research API, and show at any time which data is collected or missing.

    Environment variables or a .env file select studies, data folder and API; .env.example lists them. Without
    credentials, all commands use a simulated API and a data folder of its own.
    """
    _configure_logging(verbose)
    _allow_open_files()
    keep_new_files_private()
