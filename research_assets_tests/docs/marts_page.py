"""The page of the marts, made from dbt's own descriptions: `make docs` writes it, a test holds it against them."""

import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from research_assets.assets.warehouse import prepare_manifest
from research_assets.settings import PROJECT_DIR, Settings

PAGE = PROJECT_DIR / "docs" / "marts.md"

_HEAD = """# The marts

Tables of the schema `marts` in `warehouse.duckdb`, in every export, and in a notebook by their names. All moments and
days are UTC. Made from dbt's descriptions by `make docs`; the mart `codebook` has the same with types, origins and how
much of each column is filled in your own data, and [its page](data.md#the-codebook) shows it by month.
"""


def manifest() -> Mapping[str, Any]:
    """The manifest of dbt, of the project as it is now."""
    with tempfile.TemporaryDirectory() as folder:
        path = prepare_manifest(Settings.from_env({"RESEARCH_DATA": folder, "TIKTOK_API_URL": "http://127.0.0.1"}))
        parsed: Mapping[str, Any] = orjson.loads(path.read_bytes())
        return parsed


def page(parsed: Mapping[str, Any]) -> str:
    """The whole page, Markdown."""
    models = [
        node for node in parsed["nodes"].values() if node["resource_type"] == "model" and node["fqn"][1] == "marts"
    ]
    models.sort(key=lambda node: node["name"])
    contents = "\n".join(f"- [`{model['name']}`](#{model['name']})" for model in models)
    return "\n".join([_HEAD, contents, *(line for model in models for line in _mart(model))]) + "\n"


def _mart(model: Mapping[str, Any]) -> Iterator[str]:
    sources = model["config"]["meta"].get("source", {})
    yield f"\n## {model['name']}\n\n{_line(model['description'])}\n"
    yield "| column | type | meaning | from |\n| --- | --- | --- | --- |"
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
