"""Exports: marts as files for people, in a folder that says of itself what it holds.

Reads the published warehouse and writes one folder below `exports/` for each export: Parquet, CSV or Stata, whole or
pseudonymous, or only ids. DuckDB streams the rows; only Stata passes through pandas. No Dagster: the assets are in
`assets/export.py`, the command in `cli/export.py`.
"""

from research_assets.export.make import Made, made, make_export
from research_assets.export.order import FORMATS, USUAL, ExportError, Order

__all__ = ["FORMATS", "USUAL", "ExportError", "Made", "Order", "made", "make_export"]
