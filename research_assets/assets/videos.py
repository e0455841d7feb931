"""The asset of a study's videos: its search, day by day."""

from research_assets.assets._collection import CollectedEntity
from research_assets.collect.spec import StudySpec


def videos(study: StudySpec) -> CollectedEntity:
    """`<study>/videos`."""
    return CollectedEntity(
        entity="videos",
        cost="one request for each 100 videos, deliverable or not; neighbouring days that are sparse share one",
        rerun_note=(
            "A day that is complete is not asked again. Materializing a day that failed goes on at the page where "
            f"it stopped. A day is collected once it is {study.settle_days} days old, as new videos lag."
        ),
        code_version_inputs={"query": study.query},
        reference="https://developers.tiktok.com/doc/research-api-specs-query-videos",
    )
