"""The asset of the comments under a study's videos, by the day of the video."""

from dataclasses import asdict

import dagster as dg

from research_assets.assets.collected import CollectedEntity, asset_key
from research_assets.study.spec import StudySpec

# JOINED: """The assets of what the panel's accounts like, repost and pin, period by period."""


# JOINED: """The assets of the panel's follow lists, period by period."""


# JOINED: """The asset of the profiles that a study observes, period by period."""


# JOINED: """The asset of a study's videos: its search, day by day."""


_COMMENTS_TEXT = {
    "all": "every video of the day that has comments",
    "top": "the {n} most commented videos of the day",
    "sample": "a random share of {fraction:.3g} of the day's videos (seed {seed}); their probability is kept",
}


def comments(study: StudySpec) -> CollectedEntity | None:
    """`<study>/comments`, or None if the study wants none."""
    rule = asdict(study.comments)
    if study.comments.videos == "none":
        return None
    replies = ", and one for each 100 replies of a comment" if study.comments.replies == "all" else "; no replies"
    return CollectedEntity(
        entity="comments",
        cost="one request for each 100 comments of a video" + replies,
        rerun_note=(
            f"Asked are the comments of {_COMMENTS_TEXT[study.comments.videos].format(**rule)}. Videos without comments, "
            "or with as many as at the last look, are not asked. The videos of the same day come first."
        ),
        code_version_inputs={"query": study.query, "comments": rule},
        reference="https://developers.tiktok.com/doc/research-api-specs-query-video-comments",
        deps=(dg.AssetDep(asset_key(study, "videos")),),
    )


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


_USERS_TEXT = {
    "authors": "the authors of all videos held so far",
    "top": "the {n} authors with most videos held so far",
    "panel": "the accounts of the study's panel",
}


def users(study: StudySpec) -> CollectedEntity | None:
    """`<study>/users`, or None if the study wants none."""
    rule = asdict(study.users)
    if study.users.who == "none":
        return None
    panel = study.users.who == "panel"
    every_day = dg.AssetDep(asset_key(study, "videos"), partition_mapping=dg.AllPartitionMapping())
    return CollectedEntity(
        entity="users",
        cost="one request for each account",
        rerun_note=f"Observed are {_USERS_TEXT[study.users.who].format(**rule)}; whoever is new among them is asked.",
        code_version_inputs={"users": rule, "panel": study.panel} if panel else {"query": study.query, "users": rule},
        reference="https://developers.tiktok.com/doc/research-api-specs-query-user-info",
        deps=() if panel else (every_day,),
    )


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
