"""The page docs/marts.md, generated from dbt's descriptions; `make docs` writes it and test_docs.py compares it."""

import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from research_assets.assets.warehouse import prepare_manifest
from research_assets.settings import PROJECT_DIR, Settings
from research_assets.warehouse import codebook

PAGE = PROJECT_DIR / "docs" / "marts.md"

_HEAD = """# The marts

The [marts](glossary.md#mart) are the tables of the schema `marts` in `warehouse.duckdb`. Exports and notebooks use the
same names. All timestamps and days are UTC. `make docs` writes this page from dbt's descriptions. The mart `codebook`
contains the same descriptions together with the share of rows that fill each column in your own data, and
[its page](data.md#the-codebook) shows that share by month.
"""


def manifest() -> Mapping[str, Any]:
    """Return dbt's manifest of the current project."""
    with tempfile.TemporaryDirectory() as folder:
        path = prepare_manifest(Settings.from_env({"RESEARCH_DATA": folder, "TIKTOK_API_URL": "http://127.0.0.1"}))
        parsed: Mapping[str, Any] = orjson.loads(path.read_bytes())
        return parsed


def page(parsed: Mapping[str, Any]) -> str:
    """Return the page as Markdown."""
    models = [
        node for node in parsed["nodes"].values() if node["resource_type"] == "model" and node["fqn"][1] == "marts"
    ]
    models.append(_codebook())
    models.sort(key=lambda node: node["name"])
    contents = "\n".join(f"- [`{model['name']}`](#{model['name']})" for model in models)
    return "\n".join([_HEAD, contents, *(line for model in models for line in _mart(model))]) + "\n"


def _codebook() -> dict[str, Any]:
    """Return the codebook, which is counted from the other marts, as dbt describes a model."""
    columns = {name: {"data_type": kind, "description": text} for name, (kind, text, _) in codebook.COLUMNS.items()}
    return {"name": "codebook", "description": codebook.DESCRIPTION, "columns": columns, "config": {"meta": {}}}


def _mart(model: Mapping[str, Any]) -> Iterator[str]:
    sources = model["config"]["meta"].get("source", {})
    yield f"\n## {model['name']}\n\n{_line(model['description'])}\n"
    yield "| column | type | description | API field |\n| --- | --- | --- | --- |"
    for name, column in model["columns"].items():
        source = f"`{sources[name]}`" if name in sources else ""
        yield f"| `{name}` | {column['data_type']} | {_line(column['description'])} | {source} |"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(manifest()), encoding="utf-8")


if __name__ == "__main__":
    main()
