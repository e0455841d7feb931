"""Exports: marts as Parquet, CSV, Stata or SPSS files, and networks; complete or pseudonymous, or only the ids.

The package reads the published warehouse and writes one folder below `exports/` per export, with a codebook, a README
and a manifest. DuckDB streams the rows; only Stata and SPSS files pass through pandas.
Not here: the Dagster asset (see assets/export.py), the command (see cli/export.py).
"""

from research_assets.export.build import export, list_exports
from research_assets.export.request import DEFAULT_FORMATS, FORMATS, NETWORK_FORMATS, Export, ExportError, ExportRequest

__all__ = [
    "DEFAULT_FORMATS",
    "FORMATS",
    "NETWORK_FORMATS",
    "Export",
    "ExportError",
    "ExportRequest",
    "export",
    "list_exports",
]
