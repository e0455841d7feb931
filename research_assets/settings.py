"""Every path and every environment variable of the project, in one place.

Nothing is read at import: `Settings.from_env()` reads once, where a process begins. No other module reads the
environment or joins a path below the data root on its own.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values

PROJECT_DIR = Path(__file__).resolve().parent.parent
DBT_PROJECT_DIR = PROJECT_DIR / "dbt_project"
DEFS_DIR = Path(__file__).resolve().parent / "defs"
DEMO_STUDIES_DIR = Path(__file__).resolve().parent / "sandbox" / "studies"
INSTANCE_DIR = Path(__file__).resolve().parent / "instance"


class SettingsError(ValueError):
    """An environment variable has a value that cannot be used."""


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


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must begin with https:// (or http:// for the sandbox)")
    return text.rstrip("/")


def _parse_optional_url(text: str) -> str:
    return _url(text) if text else ""


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(part).expanduser().resolve() for part in text.split(os.pathsep) if part)


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable: its default as text, how it is read, and what it means."""

    name: str
    default: str
    read: Callable[[str], Any]
    description: str


VARIABLES: dict[str, Variable] = {
    "root": Variable(
        "RESEARCH_DATA",
        str(PROJECT_DIR / "data"),
        lambda t: Path(t).expanduser().resolve(),
        "Folder that holds all data",
    ),
    "studies": Variable("RESEARCH_STUDIES", "", _paths, "Further folders with studies, separated like PATH"),
    "client_key": Variable("TIKTOK_CLIENT_KEY", "", str, "Client key of the approved project"),
    "client_secret": Variable("TIKTOK_CLIENT_SECRET", "", str, "Client secret of the approved project"),
    "api_url": Variable("TIKTOK_API_URL", "https://open.tiktokapis.com", _url, "Address of the API"),
    "research_cap": Variable("RESEARCH_QUOTA", "1000", _positive, "Requests a day in the pool `research`"),
    "follow_cap": Variable("RESEARCH_FOLLOW_QUOTA", "20000", _positive, "Requests a day in the pool `follow`"),
    "quota_reserve": Variable(
        "RESEARCH_QUOTA_RESERVE",
        "0",
        _not_negative,
        "Requests of `research` kept for what is due today before backfills",
    ),
    "rate_limit": Variable("RESEARCH_RATE_LIMIT", "10", _positive_float, "Requests a second at most"),
    "concurrency": Variable("RESEARCH_CONCURRENCY", "16", _positive, "Requests in flight at most"),
    "timeout": Variable("RESEARCH_TIMEOUT", "300", _positive_float, "Seconds to wait for an answer"),
    "page_size": Variable("RESEARCH_PAGE_SIZE", "100", _positive, "Rows asked for in one request, 100 at most"),
    "window_days": Variable("RESEARCH_WINDOW_DAYS", "31", _positive, "Days in one search at most; the API takes 31"),
    "username_batch": Variable(
        "RESEARCH_USERNAME_BATCH", "10", _positive, "Accounts in one search at most; with more it tends to fail"
    ),
    "comment_limit": Variable(
        "RESEARCH_COMMENT_LIMIT", "0", _not_negative, "Comments of one list at most; 0 goes on until the API refuses"
    ),
    "sensor_interval": Variable(
        "RESEARCH_SENSOR_INTERVAL", "30", _positive, "Seconds between two looks of what collects and builds by itself"
    ),
    "pseudonym_key_file": Variable(
        "RESEARCH_PSEUDONYM_KEY_FILE", "", str, "File with the key of the pseudonyms in exports"
    ),
    "reports_url": Variable(
        "RESEARCH_REPORTS_URL", "", _parse_optional_url, "Address under which the reports are served"
    ),
    "alert_webhook": Variable("RESEARCH_ALERT_WEBHOOK", "", _parse_optional_url, "Address that is told of failed runs"),
}
"""What can be set, by the name of the attribute of `Settings`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of `VARIABLES`, and the paths below the data root. Secrets never show in its `repr`."""

    root: Path
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
    sensor_interval: int
    reports_url: str
    alert_webhook: str = field(repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, over: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment; without `environ`, the process's own on top of the project's `.env` file.

        `over` stands above both. Unless a data root is named, simulated data has one of its own, below the real one's.
        Raises SettingsError naming the variable, its value and what is allowed.
        """
        if environ is None:
            environ = {k: v for k, v in dotenv_values(PROJECT_DIR / ".env").items() if v is not None} | dict(os.environ)
        environ = dict(environ) | dict(over or {})
        values = {}
        for attribute, variable in VARIABLES.items():
            text = environ.get(variable.name, "").strip() or variable.default
            try:
                values[attribute] = variable.read(text)
            except ValueError as error:
                raise SettingsError(
                    f"{variable.name}={text!r} cannot be used: {error}. It means: {variable.description}."
                ) from error
        for attribute, most in (("page_size", 100), ("window_days", 31)):
            if values[attribute] > most:
                name = VARIABLES[attribute].name
                raise SettingsError(
                    f"{name}={values[attribute]} cannot be used: the API takes {most} at most. Lower it."
                )
        settings = cls(**values)
        if settings.origin == "sandbox" and not environ.get(VARIABLES["root"].name, "").strip():
            return settings.for_sandbox()
        return settings

    def for_sandbox(self) -> "Settings":
        """The same with the data root that simulated data has when none is named: below the real one's."""
        return replace(self, root=self.root / "sandbox")

    @property
    def origin(self) -> str:
        """Whose data this is: the API's address, or `sandbox` for anything on loopback."""
        host = urlsplit(self.api_url).hostname or ""
        return "sandbox" if host in {"localhost", "::1"} or host.startswith("127.") else self.api_url

    @property
    def caps(self) -> dict[str, int]:
        """Requests a day, by pool."""
        return {"research": self.research_cap, "follow": self.follow_cap}

    @property
    def captures(self) -> Path:
        """Pages as received: journals and sealed captures."""
        return self.root / "captures"

    @property
    def raw(self) -> Path:
        """Typed Parquet, one folder per raw table."""
        return self.root / "raw"

    @property
    def state(self) -> Path:
        """What is neither data nor result: the ledger, locks."""
        return self.root / "state"

    @property
    def ledger(self) -> Path:
        """The quota ledger."""
        return self.state / "quota.sqlite"

    @property
    def warehouse(self) -> Path:
        """The published warehouse."""
        return self.root / "warehouse.duckdb"

    @property
    def warehouse_build(self) -> Path:
        """The warehouse under construction, in the same folder so that publishing is one rename."""
        return self.root / ".warehouse.build.duckdb"

    @property
    def dbt_target(self) -> Path:
        """Where dbt keeps its manifest, partial parse and run results."""
        return self.state / "dbt"

    @property
    def dagster_home(self) -> Path:
        """Home of the Dagster instance."""
        return self.root / "dagster"

    @property
    def ui_log(self) -> Path:
        """What Dagster's processes said since the UI was started last."""
        return self.dagster_home / "ui.log"

    @property
    def alerts(self) -> Path:
        """One line for each failed run."""
        return self.root / "alerts.jsonl"

    @property
    def reports(self) -> Path:
        """HTML reports and pictures."""
        return self.root / "reports"

    @property
    def audits(self) -> Path:
        """Audits of lists of ids: their results, and the pages behind them."""
        return self.root / "audits"

    @property
    def rehydrated(self) -> Path:
        """What could be rebuilt of lists of ids, and what could not."""
        return self.root / "rehydrated"

    @property
    def exports(self) -> Path:
        """Tables for people."""
        return self.root / "exports"

    @property
    def pseudonym_key(self) -> Path:
        """The key of the pseudonyms, apart from what is exported."""
        named = self.pseudonym_key_file
        return Path(named).expanduser().resolve() if named else self.state / "keys" / "pseudonyms.key"


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for a child process that shall work with these settings: this process's own, with them on top."""
    texts = {}
    for attribute, variable in VARIABLES.items():
        value = getattr(settings, attribute)
        texts[variable.name] = os.pathsep.join(map(str, value)) if isinstance(value, tuple) else str(value)
    return dict(os.environ) | texts | {"DAGSTER_HOME": str(settings.dagster_home)}


def prepare_root(settings: Settings) -> None:
    """Create the data root and its folders, readable by their owner alone.

    Raises SettingsError if it cannot be written to, or if it already holds data from another API: simulated rows must
    never stand beside real ones.
    """
    try:
        for folder in (settings.root, settings.captures, settings.raw, settings.state, settings.dagster_home):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A folder that was there before, or a generous umask, must not open the data to others.
        settings.root.chmod(0o700)
        probe = settings.state / f".writable.{os.getpid()}"
        probe.write_text("")
        probe.unlink()
        mark = settings.state / "origin"
        if not mark.exists():
            mark.write_text(settings.origin)
        held = mark.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"The data folder {settings.root} cannot be written to: {error.strerror}. Nothing was changed. "
            f"Make it writable, or set {VARIABLES['root'].name} to another folder."
        ) from error
    if held != settings.origin:
        raise SettingsError(
            f"The data folder {settings.root} holds data from {held}, but {VARIABLES['api_url'].name} points to "
            f"{settings.origin}. Simulated and real rows must not mix, so nothing was changed. "
            f"Set {VARIABLES['root'].name} to another folder."
        )
