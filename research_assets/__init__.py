"""Research Assets: TikTok's public data through its Research API, as a Dagster asset graph.

Nothing is imported here on purpose: importing the package must cost nothing and do nothing. What is offered by the
package's own name is found when it is asked for: `open`, the marts in a notebook, and `Study`, which study files name
as `type: research_assets.Study`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from research_assets.warehouse.notebook import Warehouse


def open(place: "str | Path | None" = None) -> "Warehouse":
    """The marts of a data folder as pandas DataFrames, or lazily as DuckDB relations; read-only.

    `research_assets.open("data").videos(study="gardening")`. Without a name it is the folder that the environment
    sets; where only simulated data was collected, that is opened.
    Raises ReadingError if there is no warehouse.
    """
    from research_assets.warehouse.notebook import open_warehouse

    return open_warehouse(place)


if not TYPE_CHECKING:  # or mypy would take every misspelt name of a module for good

    def __getattr__(name: str) -> object:
        """The component of study files, imported at the first use."""
        if name == "Study":
            from research_assets.component import Study

            return Study
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Dagster looks for component types among these names."""
    return [*globals(), "Study"]
