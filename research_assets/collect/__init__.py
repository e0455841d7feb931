"""The collector: plans what to ask, asks it within the quota, and says of each unit what came of it. No Dagster.

`collect` is the way in; `Ask` says what to collect, `Finished` and `Paused` what came of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from research_assets.collect.run import PeriodNotCurrent, collect, require_current_period
    from research_assets.collect.types import CollectionTask, CollectorContext, PartitionResult, Paused, RunProgress

__all__ = [
    "CollectionTask",
    "CollectorContext",
    "PartitionResult",
    "Paused",
    "PeriodNotCurrent",
    "RunProgress",
    "collect",
    "require_current_period",
]

_RUN = ("PastObservation", "collect", "refuse_past")

if not TYPE_CHECKING:  # or mypy would take every misspelt name of a module for good

    def __getattr__(name: str) -> object:
        """The way in, imported at the first use: who only plans or looks does not pay for the client."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{'run' if name in _RUN else 'model'}"), name)
