"""The table of layers, and the functions that check a source file against it; `test_import_rules.py` runs them.

A package here is a module or folder directly below `research_assets`. The `ruff.toml` files repeat what ruff's
`banned-api` can express for one folder, so that an editor shows it; this table is complete.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "research_assets"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"settings", "env_file", "clock", "fields", "text", "text_files"}),
    frozenset({"tiktok"}),
    frozenset({"storage"}),
    frozenset({"quota"}),
    frozenset({"study"}),
    frozenset({"units"}),
    frozenset({"estimates"}),
    frozenset({"planning", "collect"}),
    frozenset({"warehouse"}),
    frozenset({"report", "export"}),
    frozenset({"compliance"}),
    frozenset({"alerts", "partitions", "resources", "instance", "checks", "sensors", "assets", "component", "defs"}),
    frozenset({"definitions"}),
    frozenset({"cli"}),
)
"""The packages from the ground upwards. A package may import those of lower layers, and of its own layer only what
`WITHIN_LAYER` lists."""

WITHIN_LAYER: Mapping[str, frozenset[str]] = {
    # The codebook page of an export is the report's.
    "export": frozenset({"report"}),
    "checks": frozenset({"resources"}),
    "sensors": frozenset({"resources", "alerts", "partitions"}),
    "assets": frozenset({"resources", "checks", "partitions"}),
    "component": frozenset({"resources", "assets", "checks"}),
}

_ORCHESTRATION = frozenset({"dagster", "dagster_dbt", "dagster_duckdb", "dagster_graphql", "dagster_dg_cli", "dbt"})
_TABLE_LIBRARIES = frozenset({"pandas", "pyarrow", "polars"})
_BELOW_DAGSTER = _ORCHESTRATION | _TABLE_LIBRARIES


@dataclass(frozen=True, slots=True)
class PackageRule:
    """Imports that a package may have: which other packages, and which third-party ones (None: all but `banned`)."""

    packages_allowed: frozenset[str]
    third_party: frozenset[str] | None = None
    banned: frozenset[str] = frozenset()


def _rule(package: str, layer: int) -> PackageRule:
    below = frozenset[str]().union(*LAYERS[:layer])
    allowed = below | WITHIN_LAYER.get(package, frozenset())
    return PackageRule(allowed, banned=_BELOW_DAGSTER if layer < _DAGSTER_LAYER else frozenset())


_DAGSTER_LAYER = next(number for number, layer in enumerate(LAYERS) if "resources" in layer)
_STANDARD_LIBRARY_ONLY = PackageRule(frozenset(), frozenset())

PACKAGE_RULES: dict[str, PackageRule] = {
    **{package: _rule(package, number) for number, layer in enumerate(LAYERS) for package in layer},
    "clock": _STANDARD_LIBRARY_ONLY,
    "fields": _STANDARD_LIBRARY_ONLY,
    "text": _STANDARD_LIBRARY_ONLY,
    "text_files": _STANDARD_LIBRARY_ONLY,
    "env_file": PackageRule(frozenset({"text_files"}), frozenset({"dotenv"})),
    "settings": PackageRule(frozenset({"env_file"}), frozenset()),
    # Pure functions of numbers.
    "estimates": _STANDARD_LIBRARY_ONLY,
    # A library of its own: usable without this project's settings.
    "tiktok": PackageRule(frozenset({"fields", "clock", "text"}), frozenset({"httpx", "orjson", "tenacity", "anyio"})),
    # The simulated API shares the field registry with the client and nothing else, so that an error is not mirrored.
    "sandbox": PackageRule(frozenset({"fields", "clock"}), banned=_BELOW_DAGSTER),
    # The study component and the notebook's marts, by their short names, imported when they are used.
    "__init__": PackageRule(frozenset({"component", "warehouse"}), frozenset()),
    "warehouse": PackageRule(_rule("warehouse", 8).packages_allowed, banned=_BELOW_DAGSTER - {"dbt", "pandas"}),
    "export": PackageRule(_rule("export", 9).packages_allowed, banned=_BELOW_DAGSTER - {"pandas"}),
    # The demo runs the code location as it is; no command builds single assets.
    "cli": PackageRule(
        (_rule("cli", len(LAYERS) - 1).packages_allowed | {"sandbox"}) - {"assets", "checks", "component"}
    ),
}

READS_ENVIRONMENT: Mapping[str, str] = {
    "settings.py": "the one place",
    "warehouse/dbt_runner.py": "dbt inherits the environment without credentials",
}
"""Files that may touch the process environment, with the reason."""

_PUBLIC_DBT_MODULES = frozenset({"dbt.cli.main", "dagster_dbt"})
_DBT = frozenset({"dbt", "dagster_dbt"})
_DOTTED = re.compile(rf"{PACKAGE}(\.[a-z_]+)+(:[a-z_]+)?")


def package_of(path: Path) -> str:
    """Return the package of a source file, from its path below `research_assets`."""
    return path.parts[0].removesuffix(".py")


def imports(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Yield every name that a file imports as (line, dotted name): also inside functions and as dotted string."""
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
    """Yield what a source file does against the rules, one sentence each. `path` is relative to the package."""
    tree = ast.parse(source)
    rule = PACKAGE_RULES.get(package_of(path))
    if rule is None:
        yield f"{path}: the package {package_of(path)!r} is not in the table of layers; add what it may import"
        return
    for line, name in imports(tree, path):
        if violation := _violation(name, package_of(path), rule):
            yield f"{path}:{line}: {violation}"
    if path.as_posix() not in READS_ENVIRONMENT:
        for line in environment_uses(tree):
            yield f"{path}:{line}: touches the process environment; only settings.py does"
    for line, name in private_dbt_uses(tree):
        yield f"{path}:{line}: uses {name}, which changes without notice"


def _violation(name: str, package: str, rule: PackageRule) -> str | None:
    """Return why a package must not import `name`, or None."""
    top, _, rest = name.partition(".")
    if top == PACKAGE:
        target = rest.partition(".")[0]
        if target in PACKAGE_RULES and target != package and target not in rule.packages_allowed:
            return f"{package} must not import {target}"
        return None
    if name.startswith("dagster._core"):
        return f"imports {name}; dagster._core changes without notice"
    if top in sys.stdlib_module_names:
        return None
    if top in rule.banned or (rule.third_party is not None and top not in rule.third_party):
        return f"{package} must not import {top}"
    return None


def private_dbt_uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield uses of private names of dbt, dbt-duckdb and dagster-dbt as (line, name).

    Private are modules of dbt other than the documented entry point, and names with a leading underscore of anything
    that was imported from these packages.
    """
    imported: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.split(".")[0] in _DBT:
                        imported.add(alias.asname or alias.name.split(".")[0])
                        if alias.name not in _PUBLIC_DBT_MODULES:
                            yield node.lineno, alias.name
            case ast.ImportFrom(module=str(module), names=names, level=0) if module.split(".")[0] in _DBT:
                for alias in names:
                    imported.add(alias.asname or alias.name)
                    if module not in _PUBLIC_DBT_MODULES or alias.name.startswith("_"):
                        yield node.lineno, f"{module}.{alias.name}"
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute) if owner in imported:
                if attribute.startswith("_") and not attribute.startswith("__"):
                    yield node.lineno, f"{owner}.{attribute}"


def environment_uses(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that read or write the environment of the process."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=attribute) if attribute in names:
                yield node.lineno
            case ast.ImportFrom(module="os") if any(alias.name in names for alias in node.names):
                yield node.lineno


def import_circles(sources: Mapping[Path, str]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others; imports in functions count."""
    modules = {_module_name(path): path for path in sources}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        targets = (target for _, target in imports(ast.parse(sources[path]), path))
        found = {_known_module(target, modules) for target in targets}
        graph[name] = {target for target in found if target is not None and target != name}
    return [sorted(group) for group in _strong_components(graph) if len(group) > 1]


def _module_name(path: Path) -> str:
    return ".".join([PACKAGE, *path.with_suffix("").parts]).removesuffix(".__init__")


def _known_module(name: str, modules: Mapping[str, Path]) -> str | None:
    """Return the module that an imported dotted name means: itself, or the module that defines it."""
    if name in modules:
        return name
    owner = name.rpartition(".")[0]
    return owner if owner in modules else None


def _strong_components(graph: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """Yield the strongly connected components (Kosaraju's algorithm)."""
    order: list[str] = []
    visited: set[str] = set()
    for start in graph:
        stack = [(start, iter(graph[start]))] if start not in visited else []
        visited.add(start)
        while stack:
            node, rest = stack[-1]
            following = next((target for target in rest if target not in visited), None)
            if following is None:
                order.append(node)
                stack.pop()
            else:
                visited.add(following)
                stack.append((following, iter(graph[following])))
    reverse: dict[str, set[str]] = {node: set() for node in graph}
    for node, targets in graph.items():
        for target in targets:
            reverse[target].add(node)
    assigned: set[str] = set()
    for start in reversed(order):
        if start in assigned:
            continue
        component, pending = set(), [start]
        while pending:
            node = pending.pop()
            if node not in assigned:
                assigned.add(node)
                component.add(node)
                pending.extend(reverse[node])
        yield component
