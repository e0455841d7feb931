"""Research Assets: public TikTok data from the Research API as a Dagster asset graph.

The package offers `open`, which returns the marts in a notebook, and `Study`, the component type of study files
(`type: research_assets.Study`). Both import their modules at the first use, so importing the package is fast and has no
effects.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from research_assets.warehouse.notebook import Warehouse


def open(folder: "str | Path | None" = None) -> "Warehouse":
    """Open the marts of a data folder, read-only, as pandas DataFrames or as lazy DuckDB relations.

    Example: `research_assets.open("data").videos(study="gardening")`. Without `folder`, the data folder of the
    environment is used; if it contains no warehouse, that of the simulated data. Raises WarehouseReadError if there is
    no warehouse.
    """
    from research_assets.warehouse.notebook import open_warehouse

    return open_warehouse(folder)


if not TYPE_CHECKING:  # otherwise mypy would accept every misspelt attribute of the package

    def __getattr__(name: str) -> object:
        """Return the component type of study files, imported at the first use."""
        if name == "Study":
            from research_assets.component import Study

            return Study
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the package; Dagster searches them for component types."""
    return [*globals(), "Study"]
