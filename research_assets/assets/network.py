"""The assets of the panel's follow lists, period by period."""

from research_assets.assets._collection import CollectedEntity
from research_assets.collect.spec import StudySpec


def follow_lists(study: StudySpec) -> list[CollectedEntity]:
    """`<study>/followers` and `<study>/following`; nothing without a panel."""
    if not study.panel:
        return []
    return [
        CollectedEntity(
            entity=entity,
            cost="one request for each 100 accounts on a list, of the pool for follow lists (20,000 a day)",
            rerun_note="Private accounts and hidden lists refuse; that is recorded and not asked again in the period.",
            code_version_inputs={"panel": study.panel},
            reference=f"https://developers.tiktok.com/doc/research-api-specs-query-user-{entity}",
        )
        for entity in ("followers", "following")
    ]
