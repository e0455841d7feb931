"""All environment variables and all paths of the project.

Importing the module reads nothing: a process calls `Settings.from_env()` once at its start. No other module reads the
environment or defines paths in the data folder. Not here: the format of `.env` (see env_file.py).
"""

import codecs
import errno
import ipaddress
import logging
import os
import re
import socket
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from research_assets.env_file import EnvFileError, read_env_file

_LOGGER = logging.getLogger(__name__)

PACKAGE_DIR = Path(__file__).resolve().parent
PROJECT_DIR = PACKAGE_DIR.parent
"""The checkout. Only where `IN_CHECKOUT` is true does this folder hold more than the package."""

IN_CHECKOUT = not (PACKAGE_DIR / "dbt_project").is_dir()
"""Whether the package runs from a checkout; an installed wheel has the dbt project inside the package."""

UI_COMMAND = "make ui" if IN_CHECKOUT else "research-assets ui"
"""The command that opens Dagster's UI, for messages."""

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


_MOST = 1_000_000
"""Highest number in a variable. Larger ones overflow in libraries."""


def _whole_number(text: str, least: int) -> int:
    if not re.fullmatch(r"[+-]?\d{1,20}", text, re.ASCII) or not least <= int(text) <= _MOST:
        raise ValueError(f"must be a whole number from {least} to {_MOST:,}, written without separators")
    return int(text)


def _positive(text: str) -> int:
    return _whole_number(text, 1)


def _not_negative(text: str) -> int:
    return _whole_number(text, 0)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= _MOST:
        raise ValueError(f"must be a number from 0 to {_MOST:,}, such as 2.5")
    return number


def _parse_memory(text: str) -> str:
    found = re.fullmatch(r"([1-9]\d{0,11})(?:([KMGT])i?B|(%))", text, re.ASCII)
    if not found:
        raise ValueError("must be a share such as 50% or a size such as 8GB")
    number, unit, is_share = int(found[1]), found[2], found[3]
    if number > 100 if is_share else not 10**8 <= number * 1000 ** (1 + "KMGT".index(unit)) <= 10**15:
        raise ValueError("must be a share of at most 100%, or a size from 100MB to 1000TB")
    return text


def _positive_float(text: str) -> float:
    number = _number(text)
    if number < 0.001:
        raise ValueError("must be at least 0.001")
    return number


def _percentage(text: str) -> float:
    number = _number(text)
    if number > 100:
        raise ValueError("must be a number from 0 to 100")
    return number


_QUOTES = '"\u201c\u201d\u201e\u2018\u2019'


def _credential(text: str) -> str:
    # A pasted key often contains a line break, an invisible space or the quotes of a word processor.
    is_quoted = len(text) > 1 and text[0] == text[-1] == "'"
    if is_quoted or any(c.isspace() or c in _QUOTES or unicodedata.category(c) in ("Cc", "Cf") for c in text):
        raise ValueError("must contain no blank, quote, control character or invisible character; copy it again")
    return text


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


_DATABASE_URL = re.compile(
    r"postgresql://([^\s/@?#]+@)?(\[[0-9A-Fa-f:.]+\]|[^\s/@?#:\[\]]+)(:\d{1,5})?/[^\s/?#]+(\?[^\s#]*)?"
)


def _database_url(text: str) -> str:
    if text and not _DATABASE_URL.fullmatch(text):
        raise ValueError(
            "must be empty, or the address of a PostgreSQL database such as postgresql://user:password@host/database"
        )
    return text


_MOST_PATH_BYTES = 3_000
"""Maximum length of a configured path. Linux allows 4,096 bytes for a whole path, macOS 1,024."""


def _path(text: str) -> Path:
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text):
        raise ValueError("must contain no control character, and must be valid UTF-8")
    if len(text.encode()) > _MOST_PATH_BYTES or any(len(part.encode()) > 255 for part in Path(text).parts):
        raise ValueError(f"must have at most {_MOST_PATH_BYTES:,} bytes, and at most 255 in each part")
    if not text.isascii() and codecs.lookup(sys.getfilesystemencoding()).name != "utf-8":
        raise ValueError("must contain ASCII only, or the locale must be one of UTF-8, such as LANG=C.UTF-8")
    # Without `~` it begins with the folder that relative paths count from (see `_absolute`).
    return Path(text).expanduser().resolve()


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(_path(part) for part in text.split(os.pathsep) if part)


def _optional_path(text: str) -> str:
    return str(_path(text)) if text else ""


_PATH_FORMS = {
    r"[\"'\u201c\u201d\u2018\u2019]": "must be without quotes",
    r"\$|%\w+%": "must be written out, because variables such as $HOME are not replaced here; ~ is the home folder",
    r"[A-Za-z][A-Za-z0-9+.-]+://": "must be a path on this machine, not an address",
    r"[A-Za-z]:[\\/]|\\\\": "must be a path of this system; WSL shows C:\\data as /mnt/c/data",
}
"""Beginnings of texts that are no path of this system; taken for relative paths, they would create a new folder."""


def _absolute(text: str, folder: Path) -> str:
    """Return a path, which counts from `folder` if it is relative. `~` is a home folder, as in a shell.

    Raises ValueError for a text that was meant to be another path.
    """
    for form, condition in _PATH_FORMS.items():
        if re.match(form, text):
            raise ValueError(condition)
    return text if text.startswith("~") else os.fspath(folder / text)


def _key_prefix(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*", text):
        raise ValueError("must be letters, digits and underscores, with / between the parts")
    return text


def _path_or_none(text: str) -> Path | None:
    return _path(text) if text else None


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
        lambda t: _path(t or str(home_folder() / "data")),
        "Folder of all data",
    ),
    "marts_folder": Variable(
        "RESEARCH_MARTS",
        "",
        _path_or_none,
        "Folder of marts that a build on Spark published; readers use it instead of warehouse.duckdb",
    ),
    "shared_marts": Variable(
        "RESEARCH_SHARED_MARTS",
        "",
        _path_or_none,
        "Folder to which each build copies the marts as Parquet files, for people who may read only them",
    ),
    "studies": Variable("RESEARCH_STUDIES", "", _paths, "Additional folders with studies, separated like PATH"),
    "client_key": Variable("TIKTOK_CLIENT_KEY", "", _credential, "Client key of the approved project"),
    "client_secret": Variable("TIKTOK_CLIENT_SECRET", "", _credential, "Client secret of the approved project"),
    "api_url": Variable("TIKTOK_API_URL", "https://open.tiktokapis.com", _url, "Address of the API"),
    "research_cap": Variable("RESEARCH_QUOTA", "1000", _positive, "Requests per day in the pool `research`"),
    "follow_cap": Variable("RESEARCH_FOLLOW_QUOTA", "20000", _positive, "Requests per day in the pool `follow`"),
    "quota_reserve": Variable(
        "RESEARCH_QUOTA_RESERVE",
        "0",
        _not_negative,
        "Requests of the pool `research` that are reserved for units due today; backfills do not use them",
    ),
    "ledger_url": Variable(
        "RESEARCH_LEDGER",
        "",
        _database_url,
        "PostgreSQL database of the quota ledger and the locks, for several machines; empty uses the data folder",
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
        _number,
        "Largest difference (hours) between the clocks of the API and of this machine; 0 uses that of the machine",
    ),
    "key_prefix": Variable(
        "RESEARCH_KEY_PREFIX",
        "",
        _key_prefix,
        "Prefix of the asset keys of the marts, for an instance in which another project has assets of the same names",
    ),
    "instance_home": Variable(
        "DAGSTER_HOME",
        "",
        _path_or_none,
        "Home folder of the Dagster instance. Default: the folder dagster in the data folder",
    ),
    "sensor_interval": Variable(
        "RESEARCH_SENSOR_INTERVAL", "30", _positive, "Interval between two ticks of the sensors (seconds)"
    ),
    "pseudonym_key_file": Variable(
        "RESEARCH_PSEUDONYM_KEY_FILE",
        "",
        _optional_path,
        "File with the key of pseudonyms; pseudonymous studies need one outside of the data folder",
    ),
    "pseudonym_key": Variable(
        "RESEARCH_PSEUDONYM_KEY",
        "",
        _credential,
        "Key of pseudonymous studies, at least 64 hexadecimal digits; takes precedence over the file",
    ),
    "warehouse_memory": Variable(
        "RESEARCH_WAREHOUSE_MEMORY",
        "50%",
        _parse_memory,
        "Memory limit of a warehouse build: a share of the machine's memory (50%) or a size (8GB)",
    ),
    "verify_days": Variable(
        "RESEARCH_VERIFY_DAYS",
        "15",
        _positive,
        "Days after which stored videos and comments are verified again; the terms name 15 or 30",
    ),
    "verify_lead_days": Variable(
        "RESEARCH_VERIFY_LEAD_DAYS",
        "1",
        _number,
        "Days before the due time at which verification begins, at most half of RESEARCH_VERIFY_DAYS",
    ),
    "verify_max_share": Variable(
        "RESEARCH_VERIFY_MAX_SHARE",
        "10",
        _percentage,
        "Share of a verified file (percent) that is withdrawn without confirmation by a person",
    ),
    "verify_lookup_share": Variable(
        "RESEARCH_VERIFY_LOOKUP_SHARE",
        "25",
        _percentage,
        "Share of the daily requests (percent) that look-ups of videos and accounts may use for verification",
    ),
    "reports_url": Variable("RESEARCH_REPORTS_URL", "", _parse_optional_url, "Address at which the reports are served"),
    "dagster_url": Variable(
        "RESEARCH_DAGSTER_URL", "", _parse_optional_url, "Address of Dagster's UI, for links from the coverage board"
    ),
    "alert_webhook": Variable(
        "RESEARCH_ALERT_WEBHOOK", "", _parse_optional_url, "Webhook that receives a message about each failed run"
    ),
}
"""Environment variables, by the name of the attribute of `Settings`."""

# The addresses of a webhook and of a database usually contain a password.
_SECRETS = frozenset({"client_key", "client_secret", "alert_webhook", "pseudonym_key", "ledger_url"})

_PATHS = frozenset({"root", "marts_folder", "shared_marts", "studies", "pseudonym_key_file", "instance_home"})

NOT_FOR_DBT = ("TIKTOK_", "DBT_", VARIABLES["pseudonym_key"].name, VARIABLES["ledger_url"].name)
"""Beginnings of the names of variables that a build of the marts does not inherit: it needs no secret."""

ENV_FILE = "RESEARCH_ENV_FILE"
"""Environment variable with the path of the `.env` file; default: `.env` in the home folder of the project."""

_NAMES = {variable.name: attribute for attribute, variable in VARIABLES.items()}
_INTERNAL = re.compile(r"RESEARCH_WAREHOUSE_\w+")
"""Variables that the project sets for dbt."""

_OUR_NAME = re.compile(r"(?i)\W*(RESEARCH|TIKTOK)_")


@dataclass(frozen=True, slots=True)
class UnknownVariable:
    """A variable that no one reads: its name, where it is set, and the nearest known name, if one is near."""

    name: str
    place: str
    nearest: str | None

    def __str__(self) -> str:
        meant = f" Do you mean {self.nearest}?" if self.nearest else " .env.example lists the known names."
        return f"The variable {self.name} in {self.place} is unknown, so its value is not used.{meant}"


def _is_ours(name: str) -> bool:
    """Return whether a name is one of the project's or looks like one."""
    return name in _NAMES or _OUR_NAME.match(name) is not None or _nearest(name) is not None


def _nearest(name: str) -> str | None:
    """Return the known name that is most similar, or None. Names without a prefix of the project must be very similar.

    The prefixes are the same in many names, so only the rest is compared: by its letters and by its words.
    """
    plain = re.sub("[^A-Z0-9]+", "_", name.upper()).strip("_")
    if not _OUR_NAME.match(name):
        return next(iter(get_close_matches(plain, _NAMES, 1, 0.85)), None)
    prefix, _, rest = plain.partition("_")

    def similarity(known: str) -> float:
        known_prefix, _, known_rest = known.partition("_")
        words, known_words = set(rest.split("_")), set(known_rest.split("_"))
        by_words = 2 * len(words & known_words) / (len(words) + len(known_words))
        by_letters = SequenceMatcher(None, rest, known_rest).ratio()
        return max(by_letters, by_words) + 0.1 * (prefix == known_prefix)

    best = max(_NAMES, key=similarity)
    return best if similarity(best) >= 0.55 else None


def _unknown_variables(names: Collection[str], place: str) -> list[UnknownVariable]:
    return [
        UnknownVariable(name, place, _nearest(name))
        for name in sorted(names)
        if name not in _NAMES and name != ENV_FILE and not _INTERNAL.fullmatch(name) and _is_ours(name)
    ]


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of `VARIABLES`, and the paths in the data folder. Its `repr` contains no secrets."""

    root: Path
    marts_folder: Path | None
    shared_marts: Path | None
    studies: tuple[Path, ...]
    client_key: str = field(repr=False)
    client_secret: str = field(repr=False)
    api_url: str
    research_cap: int
    follow_cap: int
    quota_reserve: int
    ledger_url: str = field(repr=False)
    rate_limit: float
    concurrency: int
    timeout: float
    page_size: int
    window_days: int
    username_batch: int
    comment_limit: int
    pseudonym_key_file: str
    pseudonym_key: str = field(repr=False)
    max_clock_offset: float
    sensor_interval: int
    warehouse_memory: str
    key_prefix: str
    instance_home: Path | None
    reports_url: str
    dagster_url: str
    verify_days: int
    verify_lead_days: float
    verify_max_share: float
    verify_lookup_share: float
    alert_webhook: str = field(repr=False)
    named: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """Attributes that the environment or `.env` sets; the others have their defaults."""
    unknown: tuple[UnknownVariable, ...] = field(default=(), compare=False, repr=False)
    """Variables with names of the project, or similar ones, that the project does not know."""

    def __post_init__(self) -> None:
        """Note whether the locks of the data folder are in a database, for the functions that lock files of it."""
        _DATABASES[self.root] = self.ledger_url

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, over: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment; without `environ`, the `.env` file overridden by the environment of the process.

        An empty variable overrides nothing. Relative paths count from the folder of the `.env` file that contains
        them, otherwise from the current folder. `over` overrides both. Without a data folder in the environment,
        simulated data has a folder of its own inside the default one. Unknown names are in `unknown`; without
        `environ`, each is logged once. Raises SettingsError with the variable, its value and the allowed values.
        """
        unknown: list[UnknownVariable] = []
        folders: dict[str, Path] = {}
        if environ is None:
            environ = dict(os.environ)
            file = _env_file(environ)
            try:
                in_file = read_env_file(
                    file, environ, is_ours=_is_ours, is_literal=lambda name: _NAMES.get(name) in _SECRETS
                )
            except EnvFileError as error:
                raise SettingsError(f"{error} Nothing was started.") from error
            unknown += _unknown_variables([name for name, text in in_file.items() if text.strip()], str(file))
            for name, text in in_file.items():
                # Dagster's `dg` copies the file into the environment of its processes.
                if environ.get(name, "").strip() in ("", text.strip()):
                    environ[name], folders[name] = text, file.parent
            in_environment = [name for name, text in environ.items() if text.strip() and name not in in_file]
            unknown += _unknown_variables(in_environment, "the environment")
            _log_once(unknown)
        environ = dict(environ) | dict(over or {})
        folders = {name: folder for name, folder in folders.items() if name not in (over or {})}
        values = {}
        for attribute, variable in VARIABLES.items():
            text = environ.get(variable.name, "").strip() or variable.default
            try:
                path = text
                if attribute in _PATHS and text:
                    folder = folders.get(variable.name, Path.cwd())
                    # An address contains the separator of paths, and so does C:\data.
                    parts = text.split(os.pathsep) if variable.read is _paths and "://" not in text else [text]
                    path = os.pathsep.join(_absolute(part, folder) for part in map(str.strip, parts) if part)
                values[attribute] = variable.read(path)
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
        named = frozenset(a for a, variable in VARIABLES.items() if environ.get(variable.name, "").strip())
        settings = cls(**values, named=named, unknown=tuple(unknown))
        if settings.origin == "sandbox" and not environ.get(VARIABLES["root"].name, "").strip():
            return settings.for_sandbox()
        return settings

    def for_sandbox(self) -> "Settings":
        """Return the settings with the default data folder of simulated data, a folder inside the real one."""
        return replace(self, root=self.root / "sandbox")

    @property
    def origin(self) -> str:
        """Return the origin of the data: the address of the API, or `sandbox` for any loopback address."""
        return "sandbox" if _is_loopback(urlsplit(self.api_url).hostname or "") else self.api_url

    @property
    def is_simulated(self) -> bool:
        """Return whether the data in the data folder is simulated, or will be if the folder is empty."""
        return (stored_origin(self) or self.origin) == "sandbox"

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
    def warehouse_prefix(self) -> tuple[str, ...]:
        """First parts of the asset keys of staging, seeds and marts; empty by default."""
        return tuple(self.key_prefix.split("/")) if self.key_prefix else ()

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
    def ledger_schema(self) -> str:
        """Schema of the quota ledger in the database of `ledger_url`; simulated requests have one of their own."""
        return "research_assets_sandbox" if self.origin == "sandbox" else "research_assets"

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
        """Home folder of the Dagster instance: that of `DAGSTER_HOME`, else a folder in the data root."""
        return self.instance_home or self.root / "dagster"

    @property
    def ui_log(self) -> Path:
        """Log file of the Dagster processes since the last start of the UI."""
        return self.root / "ui.log"

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
    def population(self) -> Path:
        """Folder of the random draws for estimates of the number of videos: received pages."""
        return self.root / "population"

    @property
    def exports(self) -> Path:
        """Folder of the exports."""
        return self.root / "exports"

    def is_own_folder(self, path: Path) -> bool:
        """Return whether a folder is one of the project in the data folder, not one that a person put there.

        It may be a link to a folder on another disk.
        """
        if path.is_relative_to(self.captures) or path.is_relative_to(self.raw):
            return True
        id_lists = (self.audits, self.rehydrated, self.population)
        return path in (self.state, self.dbt_target, self.reports, self.exports, self.root / "dagster", *id_lists)

    @property
    def export_key(self) -> Path:
        """File of the key for pseudonyms in exports, outside the folder of the exports."""
        named = self.pseudonym_key_file
        return Path(named) if named else self.state / "keys" / "pseudonyms.key"


_DATABASES: dict[Path, str] = {}
"""Address of the database of each data folder that settings of this process name; empty for one without."""


def shared_folder(path: Path) -> tuple[Path, str] | None:
    """Return the data folder that contains a path and the address of its database (RESEARCH_LEDGER); None without."""
    root = next((folder for folder in (path, *path.parents) if folder in _DATABASES), None)
    return (root, _DATABASES[root]) if root is not None and _DATABASES[root] else None


FOLDER_ID = "folder_id"
"""File in the folder `state` with the identity of a data folder whose locks are in a database."""


def unknown_database(state: Path) -> str:
    """Return why a data folder cannot be used without a database; empty if its locks are not in one."""
    if shared_folder(state) is not None or not (state / FOLDER_ID).exists():
        return ""
    return (
        f"The locks of the data folder {state.parent} are in a database, because it was used with "
        f"{VARIABLES['ledger_url'].name}, which is not set here. No request was sent and nothing was changed. "
        "Set it to the same database as on the other machines. If no machine uses the database any more, delete the "
        f"file {state / FOLDER_ID}."
    )


def stored_origin(settings: Settings) -> str:
    """Return the origin of the data in the data folder; empty if the folder contains none, or nobody may read it.

    Raises SettingsError if the file is damaged: nothing else shows whether the data is simulated.
    """
    mark = settings.state / "origin"
    try:
        text = mark.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""
    except (OSError, ValueError):
        text = "damaged"
    if text and text != "sandbox" and not re.fullmatch(r"https?://[!-~]+", text):
        raise SettingsError(
            f"The file {mark}, which says where the data is from, is damaged. Nothing was changed. Restore it from a "
            f"backup, or write the address of the API into it ({VARIABLES['api_url'].default}; for simulated data the "
            "word sandbox)."
        )
    return text


def env_file() -> Path:
    """Return the path of the `.env` file, which may not exist. Raises SettingsError like `Settings.from_env`."""
    return _env_file(os.environ)


def _env_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the `.env` file. Raises SettingsError if the environment names a file that does not exist."""
    named = environ.get(ENV_FILE, "").strip()
    if not named:
        file = home_folder() / ".env"
        # An editor on Windows adds the suffix, and does not show it.
        if not file.exists() and (other := file.with_name(".env.txt")).exists():
            raise SettingsError(f"The file {other} is not read. Nothing was started. Rename it to {file.name}.")
        return file
    try:
        file = _path(_absolute(named, Path.cwd()))
    except (ValueError, RuntimeError) as error:
        raise SettingsError(f"{ENV_FILE} cannot be used: {error}. Nothing was started.") from error
    if not file.exists():
        raise SettingsError(
            f"{ENV_FILE}={named!r} names a file that does not exist. Nothing was started. Correct or unset it."
        )
    return file


_logged: set[UnknownVariable] = set()
"""Unknown variables that this process has logged."""


def _log_once(unknown: Collection[UnknownVariable]) -> None:
    for one in unknown:
        if one not in _logged:
            _logged.add(one)
            _LOGGER.warning("%s", one)


def _is_loopback(host: str) -> bool:
    """Return whether a host name means this machine, in any of its spellings. Resolves no name."""
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        # Also the short forms, such as 127.1.
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        try:
            parsed = ipaddress.IPv6Address(host)
        except ValueError:
            return False
        address = parsed.ipv4_mapped or parsed
    return address.is_loopback or address.is_unspecified


def uses_sandbox(settings: Settings) -> bool:
    """Return whether the settings name no API: neither credentials nor an address.

    Raises SettingsError if only the key or only the secret is set, which is an error and no choice of the sandbox.
    """
    key, secret = VARIABLES["client_key"].name, VARIABLES["client_secret"].name
    if bool(settings.client_key) != bool(settings.client_secret):
        present, missing = (key, secret) if settings.client_key else (secret, key)
        similar = "".join(f" {one}" for one in settings.unknown if one.nearest == missing)
        raise SettingsError(
            f"{present} is set but {missing} is not.{similar} No request was sent. Set both for the real API, or unset "
            "both."
        )
    return not settings.client_key and "api_url" not in settings.named


def data_settings() -> Settings:
    """Return the settings for whatever shows collected data: commands, and Dagster's processes however started.

    Without an API these are the settings of the simulated data, with the demo study; a data folder that is named is
    read as it is. Raises SettingsError if a name of a variable is similar to one that would choose the API.
    """
    settings = Settings.from_env()
    if uses_sandbox(settings):
        require_no_similar_name(settings)
        if "root" not in settings.named or stored_origin(settings) == "sandbox":
            over = {VARIABLES["api_url"].name: "http://127.0.0.1"} | LOCAL_LEDGER | with_demo_study(settings)
            return Settings.from_env(over=over)
    return settings


def require_no_similar_name(settings: Settings) -> None:
    """Raise SettingsError if an unknown variable is probably meant to choose the API or the data folder."""
    chosen_by = {VARIABLES[name].name for name in ("client_key", "client_secret", "api_url", "root")}
    similar = [one for one in settings.unknown if one.nearest in chosen_by]
    if similar:
        raise SettingsError(
            f"{' '.join(map(str, similar))} Neither the credentials nor the address of an API are set, and the "
            "simulated API was not used instead. No request was sent. Correct the name, or unset the variable to use "
            "the simulated API."
        )


def with_demo_study(settings: Settings) -> dict[str, str]:
    """Return the setting that adds the demo study; empty if the environment names studies."""
    return {} if settings.studies else {VARIABLES["studies"].name: str(DEMO_STUDIES_DIR)}


def export_credentials(settings: Settings) -> None:
    """Put the secrets of the settings into the environment of this process, where Dagster's `EnvVar` reads them.

    They may come from a `.env` file that Dagster has not read. Missing ones are empty, so that the project's own
    message says what is missing.
    """
    for attribute in ("client_key", "client_secret", "ledger_url"):
        os.environ[VARIABLES[attribute].name] = getattr(settings, attribute)


LOCAL_LEDGER = {VARIABLES["ledger_url"].name: ""}
"""Setting of a simulated API that the project starts by itself: its ledger is in the data folder of simulated data."""

NO_TELEMETRY: Mapping[str, str] = {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DO_NOT_TRACK": "1",
}
"""Variables that switch off telemetry of Dagster and dbt, whatever their own settings say."""


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a child process with these settings: that of this process, overridden by them."""
    texts = {}
    for attribute, variable in VARIABLES.items():
        value = getattr(settings, attribute)
        if isinstance(value, tuple):
            texts[variable.name] = os.pathsep.join(map(str, value))
        else:
            texts[variable.name] = "" if value is None else str(value)
    texts[VARIABLES["instance_home"].name] = str(settings.dagster_home)
    return {**os.environ, **texts, **NO_TELEMETRY}


def keep_new_files_private() -> None:
    """Make all files that this process and its children create readable by their owner alone, whatever the umask.

    Libraries create files as well: DuckDB, SQLite, dbt and Dagster in the data folder.
    """
    os.umask(0o077)


def prepare_root(settings: Settings) -> None:
    """Create the data root and its folders, readable by their owner alone, like all that this process creates later.

    Raises SettingsError if it cannot be written to, if a path contains a character that a build of the marts cannot
    use, if its locks are in a database that is not set, or if it already contains data from another API, because
    simulated and real rows must not mix.
    """
    keep_new_files_private()
    _require_usable_paths(settings)
    if problem := unknown_database(settings.state):
        raise SettingsError(problem)
    try:
        for folder in (settings.root, settings.captures, settings.raw, settings.state, settings.dagster_home):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # An existing folder may have other permissions, and the umask may allow access by others.
        _make_private(settings.root)
        # Each of them may be a file system of its own.
        for folder in (settings.state, settings.captures, settings.raw):
            with tempfile.TemporaryFile(dir=folder):
                pass
        folder = settings.state
        stored_origin(settings)
        existing = _read_or_write_origin(folder / "origin", settings.origin)
    except OSError as error:
        where = "" if folder == settings.root else f", in {folder}"
        raise SettingsError(
            f"The data folder {settings.root} cannot be written to{where}: {error.strerror}. Nothing was changed. "
            f"Make it writable, or set {VARIABLES['root'].name} to another folder."
        ) from error
    if existing != settings.origin:
        raise SettingsError(
            f"The data folder {settings.root} contains data from {existing}, but {VARIABLES['api_url'].name} points to "
            f"{settings.origin}. Simulated and real rows must not mix, so nothing was changed. "
            f"Set {VARIABLES['root'].name} to another folder."
        )


UNUSABLE_IN_DATA_FOLDER = "#?*[\\="
"""Characters that no path of a data folder may contain.

dbt-duckdb reads the path of a database as a URL, which ends at `#` and `?`. DuckDB reads `*`, `?` and `[` as patterns,
which match files of other folders, `key=value` as a partition, and a backslash as a slash."""

UNUSABLE_IN_DBT_PROJECT = "'"
"""Characters that the path of the dbt project may not contain: dbt-duckdb puts the path of a seed into SQL as it is."""


def _require_usable_paths(settings: Settings) -> None:
    """Raise SettingsError for a path with which no mart could be built from the collected data."""
    for folder, characters, name, remedy in (
        (settings.root, UNUSABLE_IN_DATA_FOLDER, "data folder", f"Set {VARIABLES['root'].name} to another folder."),
        (DBT_PROJECT_DIR, UNUSABLE_IN_DBT_PROJECT, "folder of the dbt project", "Move the project to another folder."),
    ):
        if found := [character for character in characters if character in str(folder)]:
            raise SettingsError(
                f"The {name} {folder} cannot be used, because no mart can be built with a path that contains "
                f"{' or '.join(found)}. No request was sent and nothing was changed. {remedy}"
            )


def _make_private(folder: Path) -> None:
    """Make a folder accessible to its owner alone. Raises SettingsError if its file system cannot.

    exFAT, FAT and many network shares keep no permissions of their own: those of the mount apply.
    """
    try:
        folder.chmod(0o700)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise
    if folder.stat().st_mode & 0o077:
        raise SettingsError(
            f"The data folder {folder} can be read by other users, and its file system stores no permissions. No "
            "request was sent. Mount it for its owner alone (exFAT and FAT: umask=077; SMB: dir_mode=0700,"
            f"file_mode=0600), or set {VARIABLES['root'].name} to a folder on another file system."
        )


def _read_or_write_origin(mark: Path, origin: str) -> str:
    """Return the origin of the data; durably write it first if there is none.

    A file without text is that of a process that was killed here, before it wrote any data.
    """
    if not (mark.exists() and mark.read_text(encoding="utf-8").strip()):
        with mark.open("w", encoding="utf-8") as file:
            file.write(origin)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(mark.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return mark.read_text(encoding="utf-8").strip()
