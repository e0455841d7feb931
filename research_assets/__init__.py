"""Research Assets: TikTok's public data through its Research API, as a Dagster asset graph.

Nothing is imported here on purpose: importing the package must cost nothing and do nothing. Only `Study`, which study
files name as `type: research_assets.Study`, is found here when it is asked for.
"""

from typing import TYPE_CHECKING

if not TYPE_CHECKING:  # or mypy would take every misspelt name of a module for good

    def __getattr__(name: str) -> object:
        """The component of study files, imported at the first use."""
        if name == "Study":
            from research_assets.study import Study

            return Study
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Dagster looks for component types among these names."""
    return [*globals(), "Study"]
