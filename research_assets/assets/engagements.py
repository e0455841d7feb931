"""The assets of what the panel's accounts like, repost and pin, period by period."""

from research_assets.assets._collection import CollectedEntity
from research_assets.collect.spec import StudySpec

_ENGAGEMENT_COST = {
    "liked_videos": "one request for each 100 likes of an account that shows them; most do not",
    "reposted_videos": "one request for each 100 reposts of an account",
    "pinned_videos": "one request for each account",
}


def engagements(study: StudySpec) -> list[CollectedEntity]:
    """`<study>/liked_videos`, `reposted_videos` and `pinned_videos`; nothing without a panel."""
    if not study.panel:
        return []
    return [
        CollectedEntity(
            entity=entity,
            cost=cost,
            rerun_note="An account that refuses is recorded and not asked again in the period.",
            code_version_inputs={"panel": study.panel},
            reference=f"https://developers.tiktok.com/doc/research-api-specs-query-user-{entity.replace('_', '-')}",
        )
        for entity, cost in _ENGAGEMENT_COST.items()
    ]
