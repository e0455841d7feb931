"""All environment variables and all paths of the project.

Importing the module reads nothing: a process calls `Settings.from_env()` once at its start. No other module reads the
environment or defines paths in the data folder.
"""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values

PACKAGE_DIR = Path(__file__).resolve().parent
PROJECT_DIR = PACKAGE_DIR.parent
"""The checkout. Only where `IN_CHECKOUT` is true does this folder hold more than the package."""

IN_CHECKOUT = not (PACKAGE_DIR / "dbt_project").is_dir()
"""Whether the package runs from a checkout; an installed wheel has the dbt project inside the package."""

DBT_PROJECT_DIR = (PROJECT_DIR if IN_CHECKOUT else PACKAGE_DIR) / "dbt_project"
WORKSPACE_FILE = (PROJECT_DIR if IN_CHECKOUT else PACKAGE_DIR) / "workspace.yaml"
DEFS_DIR = PACKAGE_DIR / "defs"
DEMO_STUDIES_DIR = PACKAGE_DIR / "sandbox" / "studies"
INSTANCE_DIR = PACKAGE_DIR / "instance"


def home_folder() -> Path:
    """Return the folder of `.env`, of the default data folder and of own studies: the checkout, else the current one.

    Nothing is ever written into the installed package.
    """
    return PROJECT_DIR if IN_CHECKOUT else Path.cwd()


class SettingsError(ValueError):
    """An environment variable has an invalid value, or the data folder cannot be used."""


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise ValueError("must be above 0")
    return number


def _not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("must not be negative")
    return number


def _positive_float(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError("must be above 0")
    return number


def _hours(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1_000_000:
        raise ValueError("must be between 0 and 1,000,000 hours")
    return number


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must begin with https:// (or http:// for the sandbox)")
    if re.search(r"[^!-~]", text):
        raise ValueError("must be without blanks, control characters and letters outside ASCII")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        # Brackets that enclose no IPv6 address, or a port that is no number. The message would quote the address.
        host, port = "", None
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9.])?|[0-9a-f:.]+", host) or port == 0:
        raise ValueError("must name a host, and a port from 1 to 65535 if any")
    return text.rstrip("/")


def _parse_optional_url(text: str) -> str:
    return _url(text) if text else ""


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(part).expanduser().resolve() for part in text.split(os.pathsep) if part)


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable: its default as text, its parser `read`, and its description."""

    name: str
    default: str
    read: Callable[[str], Any]
    description: str


VARIABLES: dict[str, Variable] = {
    "root": Variable(
        "RESEARCH_DATA",
        "",
        lambda t: Path(t or home_folder() / "data").expanduser().resolve(),
        "Folder of all data",
    ),
    "marts_folder": Variable(
        "RESEARCH_MARTS",
        "",
        lambda t: Path(t).expanduser().resolve() if t else None,
        "Folder of marts that a build on Spark published; readers use it instead of warehouse.duckdb",
    ),
    "studies": Variable("RESEARCH_STUDIES", "", _paths, "Additional folders with studies, separated like PATH"),
    "client_key": Variable("TIKTOK_CLIENT_KEY", "", str, "Client key of the approved project"),
    "client_secret": Variable("TIKTOK_CLIENT_SECRET", "", str, "Client secret of the approved project"),
    "api_url": Variable("TIKTOK_API_URL", "https://open.tiktokapis.com", _url, "Address of the API"),
    "research_cap": Variable("RESEARCH_QUOTA", "1000", _positive, "Requests per day in the pool `research`"),
    "follow_cap": Variable("RESEARCH_FOLLOW_QUOTA", "20000", _positive, "Requests per day in the pool `follow`"),
    "quota_reserve": Variable(
        "RESEARCH_QUOTA_RESERVE",
        "0",
        _not_negative,
        "Requests of the pool `research` that are reserved for units due today; backfills do not use them",
    ),
    "rate_limit": Variable("RESEARCH_RATE_LIMIT", "10", _positive_float, "Maximum number of requests per second"),
    "concurrency": Variable("RESEARCH_CONCURRENCY", "16", _positive, "Maximum number of concurrent requests"),
    "timeout": Variable("RESEARCH_TIMEOUT", "300", _positive_float, "Time for a complete response (seconds)"),
    "page_size": Variable("RESEARCH_PAGE_SIZE", "100", _positive, "Rows per request, at most 100"),
    "window_days": Variable(
        "RESEARCH_WINDOW_DAYS", "31", _positive, "Maximum number of days in one search, at most 31"
    ),
    "username_batch": Variable(
        "RESEARCH_USERNAME_BATCH",
        "10",
        _positive,
        "Maximum number of accounts in one search; searches with more accounts often fail",
    ),
    "comment_limit": Variable(
        "RESEARCH_COMMENT_LIMIT",
        "0",
        _not_negative,
        "Maximum number of comments per list; 0 collects until the API refuses",
    ),
    "max_clock_offset": Variable(
        "RESEARCH_MAX_CLOCK_OFFSET",
        # A clock that shows local time as UTC is wrong by at most 14 hours.
        "15",
        _hours,
        "Largest difference (hours) between the clocks of the API and of this machine; 0 uses that of the machine",
    ),
    "sensor_interval": Variable(
        "RESEARCH_SENSOR_INTERVAL", "30", _positive, "Interval between two ticks of the sensors (seconds)"
    ),
    "pseudonym_key_file": Variable(
        "RESEARCH_PSEUDONYM_KEY_FILE", "", str, "File with the key for pseudonyms in exports"
    ),
    "reports_url": Variable("RESEARCH_REPORTS_URL", "", _parse_optional_url, "Address at which the reports are served"),
    "alert_webhook": Variable(
        "RESEARCH_ALERT_WEBHOOK", "", _parse_optional_url, "Webhook that receives a message about each failed run"
    ),
}
"""Environment variables, by the name of the attribute of `Settings`."""

# An address of a webhook usually contains its password.
_SECRETS = frozenset({"client_key", "client_secret", "alert_webhook"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of `VARIABLES`, and the paths in the data folder. Its `repr` contains no secrets."""

    root: Path
    marts_folder: Path | None
    studies: tuple[Path, ...]
    client_key: str = field(repr=False)
    client_secret: str = field(repr=False)
    api_url: str
    research_cap: int
    follow_cap: int
    quota_reserve: int
    rate_limit: float
    concurrency: int
    timeout: float
    page_size: int
    window_days: int
    username_batch: int
    comment_limit: int
    pseudonym_key_file: str
    max_clock_offset: float
    sensor_interval: int
    reports_url: str
    alert_webhook: str = field(repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, over: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment; without `environ`, the `.env` file overridden by the environment of the process.

        `over` overrides both. Without a data folder in the environment, simulated data has a folder of its own inside
        the default one. Raises SettingsError with the variable, its value and the allowed values.
        """
        if environ is None:
            environ = {k: v for k, v in dotenv_values(home_folder() / ".env").items() if v is not None} | dict(
                os.environ
            )
        environ = dict(environ) | dict(over or {})
        values = {}
        for attribute, variable in VARIABLES.items():
            text = environ.get(variable.name, "").strip() or variable.default
            try:
                values[attribute] = variable.read(text)
            # RuntimeError: a path begins with `~` and the name of a user that does not exist.
            except (ValueError, RuntimeError) as error:
                shown = "" if attribute in _SECRETS else f"={text!r}"
                raise SettingsError(
                    f"{variable.name}{shown} cannot be used: {error}. Description: {variable.description}."
                ) from error
        for attribute, most in (("page_size", 100), ("window_days", 31)):
            if values[attribute] > most:
                name = VARIABLES[attribute].name
                raise SettingsError(
                    f"{name}={values[attribute]} cannot be used: the API accepts at most {most}. Lower the value."
                )
        settings = cls(**values)
        if settings.origin == "sandbox" and not environ.get(VARIABLES["root"].name, "").strip():
            return settings.for_sandbox()
        return settings

    def for_sandbox(self) -> "Settings":
        """Return the settings with the default data folder of simulated data, a folder inside the real one."""
        return replace(self, root=self.root / "sandbox")

    @property
    def origin(self) -> str:
        """Return the origin of the data: the address of the API, or `sandbox` for any loopback address."""
        host = urlsplit(self.api_url).hostname or ""
        return "sandbox" if host in {"localhost", "::1"} or host.startswith("127.") else self.api_url

    @property
    def caps(self) -> dict[str, int]:
        """Requests per UTC day, by pool."""
        return {"research": self.research_cap, "follow": self.follow_cap}

    @property
    def clock_limit(self) -> timedelta | None:
        """Largest difference from the machine's clock; None for the sandbox, whose clock is set deliberately."""
        return None if self.origin == "sandbox" else timedelta(hours=self.max_clock_offset)

    @property
    def own_studies(self) -> Path:
        """Folder of the studies of this installation: `defs/` of a checkout, else `studies/` in the current folder."""
        return DEFS_DIR if IN_CHECKOUT else home_folder() / "studies"

    @property
    def captures(self) -> Path:
        """Folder of the captures: journals and sealed captures."""
        return self.root / "captures"

    @property
    def raw(self) -> Path:
        """Folder of the raw tables: typed Parquet, one folder per table."""
        return self.root / "raw"

    @property
    def state(self) -> Path:
        """Folder of the ledger, the locks and other state."""
        return self.root / "state"

    @property
    def ledger(self) -> Path:
        """SQLite file of the quota ledger."""
        return self.state / "quota.sqlite"

    @property
    def warehouse(self) -> Path:
        """DuckDB file of the published warehouse."""
        return self.root / "warehouse.duckdb"

    @property
    def published_marts(self) -> Path:
        """Warehouse that readers open: the DuckDB file, or the folder of Parquet marts if one is set."""
        return self.marts_folder or self.warehouse

    @property
    def warehouse_build(self) -> Path:
        """DuckDB file of a running build, in the same folder so that publishing is one rename."""
        return self.root / ".warehouse.build.duckdb"

    @property
    def dbt_target(self) -> Path:
        """Folder of the manifest, partial parse and run results of dbt."""
        return self.state / "dbt"

    @property
    def dagster_home(self) -> Path:
        """Home folder of the Dagster instance."""
        return self.root / "dagster"

    @property
    def ui_log(self) -> Path:
        """Log file of the Dagster processes since the last start of the UI."""
        return self.dagster_home / "ui.log"

    @property
    def alerts(self) -> Path:
        """File with one JSON line per failed run."""
        return self.root / "alerts.jsonl"

    @property
    def reports(self) -> Path:
        """Folder of the HTML reports and charts."""
        return self.root / "reports"

    @property
    def audits(self) -> Path:
        """Folder of the audits of id lists: results and received pages."""
        return self.root / "audits"

    @property
    def rehydrated(self) -> Path:
        """Folder of the rehydrated id lists: videos that were returned and ids that were not."""
        return self.root / "rehydrated"

    @property
    def exports(self) -> Path:
        """Folder of the exports."""
        return self.root / "exports"

    @property
    def pseudonym_key(self) -> Path:
        """File of the key for pseudonyms, outside the folder of the exports."""
        named = self.pseudonym_key_file
        return Path(named).expanduser().resolve() if named else self.state / "keys" / "pseudonyms.key"


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a child process with these settings: that of this process, overridden by them."""
    texts = {}
    for attribute, variable in VARIABLES.items():
        value = getattr(settings, attribute)
        if isinstance(value, tuple):
            texts[variable.name] = os.pathsep.join(map(str, value))
        else:
            texts[variable.name] = "" if value is None else str(value)
    return dict(os.environ) | texts | {"DAGSTER_HOME": str(settings.dagster_home)}


def keep_new_files_private() -> None:
    """Make all files that this process and its children create readable by their owner alone, whatever the umask.

    Libraries create files as well: DuckDB, SQLite, dbt and Dagster in the data folder.
    """
    os.umask(0o077)


def prepare_root(settings: Settings) -> None:
    """Create the data root and its folders, readable by their owner alone, like all that this process creates later.

    Raises SettingsError if it cannot be written to, or if it already contains data from another API, because simulated
    and real rows must not mix.
    """
    keep_new_files_private()
    try:
        for folder in (settings.root, settings.captures, settings.raw, settings.state, settings.dagster_home):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # An existing folder may have other permissions, and the umask may allow access by others.
        settings.root.chmod(0o700)
        with tempfile.TemporaryFile(dir=settings.state):
            pass
        existing = _read_or_write_origin(settings.state / "origin", settings.origin)
    except OSError as error:
        raise SettingsError(
            f"The data folder {settings.root} cannot be written to: {error.strerror}. Nothing was changed. "
            f"Make it writable, or set {VARIABLES['root'].name} to another folder."
        ) from error
    if existing != settings.origin:
        raise SettingsError(
            f"The data folder {settings.root} contains data from {existing}, but {VARIABLES['api_url'].name} points to "
            f"{settings.origin}. Simulated and real rows must not mix, so nothing was changed. "
            f"Set {VARIABLES['root'].name} to another folder."
        )


def _read_or_write_origin(mark: Path, origin: str) -> str:
    """Return the origin of the data; durably write it first if there is none.

    A file without text is that of a process that was killed here, before it wrote any data.
    """
    if not (mark.exists() and mark.read_text().strip()):
        with mark.open("w") as file:
            file.write(origin)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(mark.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return mark.read_text().strip()
