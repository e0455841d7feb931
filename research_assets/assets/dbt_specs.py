"""Asset and check specs of the dbt models, from dbt's manifest.

They equal those of dagster-dbt, but creating them imports neither dagster-dbt nor dbt. That import took half of the
time to load the code location, in every run, code server and command. `meta.dagster` of the dbt project is not read.

Not here: how the models are built (see warehouse.py).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

GROUP = "warehouse"
"""Asset group that contains those of the layers: staging with the seeds, intermediate, and marts."""

DBT_FOLDER = "dbt_project"
"""Folder of the dbt project in the repository."""

UNIQUE_ID = "dagster_dbt/unique_id"
"""Metadata key of dbt's id of the model or test, the same as dagster-dbt's."""

_ASSET_TYPES = ("model", "seed", "snapshot")
_TAG = re.compile(r"[\w.-]{1,63}")
"""Tags that Dagster accepts. Others are dropped, as dagster-dbt does."""


def dbt_specs(
    manifest: Mapping[str, Any], upstream: Mapping[str, Sequence[dg.AssetKey]], prefix: Sequence[str] = ()
) -> tuple[list[dg.AssetSpec], list[dg.AssetCheckSpec]]:
    """Return an asset spec for each model and seed and a check spec for each test.

    `upstream` contains the assets that write each raw table, by table; they take the place of dbt's sources. The keys
    of models and seeds begin with `prefix`.
    """
    nodes = {unique_id: node for unique_id, node in manifest["nodes"].items() if _is_asset(node)}
    kinds = {"dbt", manifest["metadata"]["adapter_type"]}
    specs = [_asset_spec(node, manifest, upstream, kinds, prefix) for node in nodes.values()]
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    return specs, [check for test in tests if (check := _check_spec(test, nodes, prefix)) is not None]


def source_tables(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the raw table of each source, by dbt's unique id."""
    return {unique_id: source["name"] for unique_id, source in manifest["sources"].items()}


def upstream_assets(table: str, upstream: Mapping[str, Sequence[dg.AssetKey]]) -> Sequence[dg.AssetKey]:
    """Return the assets that write a raw table: all for `coverage`, none for tables that the build writes itself."""
    if table == "coverage":
        return sorted({key for keys in upstream.values() for key in keys})
    return upstream.get(table, ())


def _is_asset(node: Mapping[str, Any]) -> bool:
    return node["resource_type"] in _ASSET_TYPES and node["config"]["materialized"] != "ephemeral"


def _asset_spec(
    node: Mapping[str, Any],
    manifest: Mapping[str, Any],
    upstream: Mapping[str, Sequence[dg.AssetKey]],
    kinds: set[str],
    prefix: Sequence[str],
) -> dg.AssetSpec:
    sources, parents = source_tables(manifest), list(dict.fromkeys(_parents(node, manifest)))
    models = [_key(manifest["nodes"][parent], prefix) for parent in parents if parent not in sources]
    collected = {key for parent in parents if parent in sources for key in upstream_assets(sources[parent], upstream)}
    code = node["raw_code"]
    return dg.AssetSpec(
        _key(node, prefix),
        deps=[*models, *sorted(collected)],
        description=_description(node),
        # Each build reports the columns with their origin; in the UI the project's column descriptions would hide it.
        metadata={
            UNIQUE_ID: node["unique_id"],
            "dagster-dbt/materialization_type": node["config"]["materialized"],
            "dagster/table_name": ".".join(node[part] for part in ("database", "schema", "alias") if node[part]),
            "dagster/storage_kind": manifest["metadata"]["adapter_type"],
        },
        skippable=True,
        group_name=_group(node, [manifest["nodes"][parent] for parent in parents if parent not in sources]),
        code_version=hashlib.sha1(code.encode()).hexdigest() if code else node["checksum"]["checksum"],
        tags={tag: "" for tag in node["tags"] if _TAG.fullmatch(tag)},
        kinds=kinds,
    )


def _check_spec(
    test: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]], prefix: Sequence[str]
) -> dg.AssetCheckSpec | None:
    """Return the spec of a test; None for a test of sources only.

    A test of two models is a check of the model in whose file it is, or of the first one.
    """
    parents = [parent for parent in test["depends_on"]["nodes"] if parent in nodes]
    tested: str | None = test.get("attached_node") or next(iter(parents), None)
    if tested is None or tested not in nodes:
        return None
    return dg.AssetCheckSpec(
        test["name"],
        asset=_key(nodes[tested], prefix),
        description=_test_description(test) or test["description"] or None,
        additional_deps={_key(nodes[parent], prefix) for parent in parents} - {_key(nodes[tested], prefix)},
        metadata={UNIQUE_ID: test["unique_id"]},
        blocking=test["config"]["severity"].lower() == "error",
    )


def _description(node: Mapping[str, Any]) -> str:
    """Return the description of a model or seed and where its SQL is; the page of an asset shows the columns below."""
    text = node["description"].strip() or f"dbt {node['resource_type']} {node['name']}."
    # Lists of assets show the first line only.
    first, _, rest = text.partition(". ")
    parts = (f"{first}." if rest else first, rest, f"Defined in `{DBT_FOLDER}/{node['original_file_path']}`.")
    return "\n\n".join(part for part in parts if part)


def is_mart(key: dg.AssetKey) -> bool:
    """Return whether a key of `dbt_specs` is that of a mart."""
    return key.path[-2:-1] == ["marts"]


def _key(node: Mapping[str, Any], prefix: Sequence[str]) -> dg.AssetKey:
    schema = node["config"].get("schema")
    return dg.AssetKey([*prefix, *([schema] if schema else []), node["name"]])


def _group(node: Mapping[str, Any], models: Iterable[Mapping[str, Any]]) -> str:
    """Return the nested group of a node with these parents: its layer, which is the first folder below `models`.

    Seeds have no parents, and marts read them as they read staging. An intermediate model that reads marts belongs to
    them, because no group is both up- and downstream of another.
    """
    if node["resource_type"] == "seed":
        return f"{GROUP}/staging"
    return f"{GROUP}/{'marts' if any(model['fqn'][1] == 'marts' for model in models) else node['fqn'][1]}"


def _parents(node: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the models, seeds and sources that a node reads; an ephemeral model stands for its own parents."""
    for parent in node["depends_on"].get("nodes", ()):  # a seed has none
        if parent in manifest["sources"] or _is_asset(manifest["nodes"][parent]):
            yield parent
        else:
            yield from _parents(manifest["nodes"][parent], manifest)


def _test_description(test: Mapping[str, Any]) -> str | None:
    """Return the condition that holds when a test passes; None for a test of another kind."""
    metadata = test.get("test_metadata") or {"name": None, "kwargs": {}}
    values = metadata["kwargs"]
    match metadata["name"]:
        case "grain":
            nullable = values.get("nullable", [])
            besides = f" except for {', '.join(nullable)}" if nullable else ""
            return f"No two rows have the same {', '.join(values['columns'])}, and none of these is null{besides}."
        case "accepted_values":
            return f"Each {values['column_name']} is one of: {', '.join(values['values'])}."
        case "foreign_key":
            parent = values["to"].removeprefix("ref('").removesuffix("')")
            return f"Each row's {', '.join(values['columns'])} are those of a row of {parent}."
    return None
