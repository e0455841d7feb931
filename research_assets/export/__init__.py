"""Exports: marts as files for people, in a folder that says of itself what it holds.

Reads the published warehouse and writes one folder below `exports/` for each export: Parquet, CSV or Stata, whole or
pseudonymous, or only ids. DuckDB streams the rows; only Stata passes through pandas. No Dagster: the assets are in
`assets/export.py`, the command in `cli/export.py`.
"""

from research_assets.export.build import export, list_exports
from research_assets.export.request import DEFAULT_FORMATS, FORMATS, Export, ExportError, ExportRequest

__all__ = ["DEFAULT_FORMATS", "FORMATS", "Export", "ExportError", "ExportRequest", "export", "list_exports"]
