"""The marks of simulated data on Dagster's pages: a kind, which the graph shows, and a paragraph of the description.

Not here: how the origin of data is known (see settings.py).
"""

from research_assets.settings import Settings

SIMULATED = "simulated: the data comes from the sandbox and describes no real account or video"
"""Text about simulated data on the pages of Dagster."""


def simulated_note(settings: Settings) -> str:
    """Return the paragraph that marks simulated data in a description; empty for data of the real API."""
    return f"Data: {SIMULATED}.\n\n" if settings.origin == "sandbox" else ""


def simulated_kind(settings: Settings) -> set[str]:
    """Return the kind that marks assets of simulated data in the graph; empty for data of the real API."""
    return {"simulated"} if settings.origin == "sandbox" else set()
