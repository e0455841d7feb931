"""The collector: plans what to ask, asks it within the quota, and says of each unit what came of it. No Dagster.

`collect` is the way in; `Ask` says what to collect, `Finished` and `Paused` what came of it.
"""

from research_assets.collect.model import Ask, Finished, Paused, Progress, Tools
from research_assets.collect.run import PastObservation, collect, refuse_past

__all__ = ["Ask", "Finished", "PastObservation", "Paused", "Progress", "Tools", "collect", "refuse_past"]
