"""Who may import what: the one table, and the functions that hold a source file against it. `test_layers` runs them.

A room is a module or package directly below `research_assets`. What ruff's `banned-api` can express per folder stands
in the `ruff.toml` files as well, so that an editor shows it; this table is complete.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "research_assets"
_ORCHESTRATION = frozenset({"dagster", "dagster_dbt", "dagster_duckdb", "dagster_graphql", "dagster_dg_cli", "dbt"})
_HEAVY = _ORCHESTRATION | {"pandas", "pyarrow", "polars"}

_GROUND = frozenset({"fields", "clock", "settings", "files"})
_STORE = frozenset(
    {"quota", "ledger_file", "shares", "captures", "journal", "locks", "tables", "table_sql", "replay", "workshop"}
)
_PURE = _GROUND | _STORE | {"tiktok", "collect"}
_STUDY_FILE = frozenset({"study_file", "study_model", "study_panel", "study_schema", "study_draft"})
_STUDY = _STUDY_FILE | {"study", "study_scaffold", "instance", "resources", "sensors", "checks"}


@dataclass(frozen=True, slots=True)
class PackageRule:
    """What a room may import: which other rooms, and which third-party packages (None: all but `banned`)."""

    packages_allowed: frozenset[str]
    packages: frozenset[str] | None = None
    banned: frozenset[str] = frozenset()


_NO_IMPORTS = PackageRule(frozenset(), frozenset())
_STORAGE_RULE = PackageRule(_GROUND | _STORE | {"tiktok"}, banned=_HEAVY)
_STUDY_RULE = PackageRule(_PURE | _STUDY_FILE, banned=_HEAVY)
_ORCHESTRATION_RULE = PackageRule(_PURE | _STUDY | {"alerts"})

PACKAGE_RULES: dict[str, PackageRule] = {
    # The component of study files and the marts in a notebook, by their short names, when they are asked for.
    "__init__": PackageRule(frozenset({"study", "notebook"}), frozenset()),
    "fields": _NO_IMPORTS,
    "clock": _NO_IMPORTS,
    "files": _NO_IMPORTS,
    "settings": PackageRule(frozenset(), frozenset({"dotenv"})),
    "alerts": PackageRule(frozenset({"settings", "files"}), frozenset({"httpx"})),
    "tiktok": PackageRule(frozenset({"fields", "clock"}), frozenset({"httpx", "orjson", "tenacity", "anyio"})),
    **dict.fromkeys(_STORE, _STORAGE_RULE),
    "collect": PackageRule(_PURE, banned=_HEAVY),
    # Its charts are Altair's; tables in hand stay with whoever opens the warehouse.
    "report": PackageRule(_PURE | {"reading"}, banned=_HEAVY),
    # Lists of ids from elsewhere, asked in the collector's way.
    "ids": PackageRule(_PURE, banned=_HEAVY),
    "sandbox": PackageRule(_GROUND, banned=_HEAVY),
    **dict.fromkeys(_STUDY, _ORCHESTRATION_RULE),
    **dict.fromkeys(_STUDY_FILE, _STUDY_RULE),
    "study": PackageRule(_ORCHESTRATION_RULE.packages_allowed | {"assets"}),
    "reading": PackageRule(_GROUND, frozenset({"duckdb"})),
    "notebook": PackageRule(_GROUND | {"reading"}, frozenset({"duckdb", "numpy", "pandas"})),
    # Its codebook is the page that stands beside the reports.
    "export": PackageRule(_GROUND | {"reading", "notebook", "collect", "report"}, banned=_HEAVY - {"pandas"}),
    "assets": PackageRule(_ORCHESTRATION_RULE.packages_allowed | {"report", "reading", "export"}),
    "definitions": PackageRule(_ORCHESTRATION_RULE.packages_allowed | {"assets", "defs"}),
    "defs": _ORCHESTRATION_RULE,
    # The demo runs the code location as it is; single assets are no business of a command.
    "cli": PackageRule(
        _ORCHESTRATION_RULE.packages_allowed | {"sandbox", "definitions", "report", "export", "reading", "ids"}
    ),
}

READS_ENVIRONMENT: dict[str, str] = {
    "settings.py": "the one place",
    "warehouse/dbt_runner.py": "dbt runs in this process and takes the folders of sources and artefacts from the environment",
}
"""Files that may touch the process environment, with the reason."""

_DOTTED = re.compile(rf"{PACKAGE}(\.[a-z_]+)+(:[a-z_]+)?")


def package_of(path: Path) -> str:
    """The room of a source file, from its path below the package."""
    return path.parts[0].removesuffix(".py")


def imports(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, also inside functions and by name in a string, as (line, dotted name)."""
    here = [PACKAGE, *path.with_suffix("").parts]
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield node.lineno, alias.name
            case ast.ImportFrom():
                base = here[: -node.level] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                for alias in node.names:
                    yield node.lineno, f"{module}.{alias.name}"
            case ast.Constant(value=str(text)) if _DOTTED.fullmatch(text):
                yield node.lineno, text.partition(":")[0]


def violations(source: str, path: Path) -> Iterator[str]:
    """What a source file does against the rules, one sentence each. `path` is relative to the package."""
    tree = ast.parse(source)
    room = PACKAGE_RULES.get(package_of(path))
    if room is None:
        yield f"{path}: the room {package_of(path)!r} has no line in the table of layers; say what it may import"
        return
    for line, name in imports(tree, path):
        if fault := _violation(name, package_of(path), room):
            yield f"{path}:{line}: {fault}"
    if path.as_posix() not in READS_ENVIRONMENT:
        for line in environment_uses(tree):
            yield f"{path}:{line}: touches the process environment; only settings.py does"


def _violation(name: str, here: str, room: PackageRule) -> str | None:
    """Why the import of `name` is against the rules of a room, or None."""
    top, _, rest = name.partition(".")
    if top == PACKAGE:
        target = rest.partition(".")[0]
        if target in PACKAGE_RULES and target != here and target not in room.packages_allowed:
            return f"{here} must not import the room {target}"
        return None
    if name.startswith("dagster._core"):
        return f"imports {name}; dagster._core changes without notice"
    if top in sys.stdlib_module_names:
        return None
    if top in room.banned or (room.packages is not None and top not in room.packages):
        return f"{here} must not import {top}"
    return None


def environment_uses(tree: ast.AST) -> Iterator[int]:
    """Lines that read or write the environment of the process."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=attribute) if attribute in names:
                yield node.lineno
            case ast.ImportFrom(module="os") if any(alias.name in names for alias in node.names):
                yield node.lineno
