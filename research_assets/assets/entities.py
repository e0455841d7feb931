"""The collected assets of a study: its videos and comments, the profiles it observes, and the lists of its panel.

One function per family of assets returns the entities that the study collects, with their summary, cost and re-run
note. Not here: the parts that all collected assets share (see collected.py).
"""

from dataclasses import asdict

import dagster as dg

from research_assets.assets.collected import CollectedEntity, asset_key
from research_assets.study.spec import StudySpec

_DOCS_URL = "https://developers.tiktok.com/doc/research-api-specs-query"

_COMMENTS_TEXT = {
    "all": "every video of the day that has comments",
    "top": "the {n} most commented videos of the day",
    "sample": "a random share of {fraction:.3g} of the day's videos (seed {seed}); "
    "the inclusion probability is recorded",
}

_USERS_TEXT = {
    "authors": "the authors of all videos collected so far",
    "top": "the {n} authors with most videos collected so far",
    "panel": "the accounts of the study's panel",
}

_ENGAGEMENT_TEXT = {
    "liked_videos": (
        "Videos that the accounts of the study's panel liked",
        "one request per 100 likes of an account that shows its likes; most accounts do not",
    ),
    "reposted_videos": (
        "Videos that the accounts of the study's panel reposted",
        "one request per 100 reposts of an account",
    ),
    "pinned_videos": ("Videos that the accounts of the study's panel pinned", "one request per account"),
}

_FOLLOW_TEXT = {
    "followers": "Followers of the accounts of the study's panel",
    "following": "Accounts that the accounts of the study's panel follow",
}


def videos(study: StudySpec) -> CollectedEntity:
    """Return `<study>/videos`."""
    return CollectedEntity(
        entity="videos",
        summary="Public videos that match the study's query",
        cost="one request per 100 matching videos, returned or not; neighbouring days with few videos share a request",
        rerun_note=(
            "Skips complete days. Resumes a failed day from its last page. "
            f"Collects a day once it is {study.settle_days} days old, "
            "because the API returns some videos up to 48 hours late."
        ),
        code_version_inputs={"query": study.query},
        reference=f"{_DOCS_URL}-videos",
    )


def comments(study: StudySpec) -> CollectedEntity | None:
    """Return `<study>/comments`, or None if the study collects no comments."""
    rule = asdict(study.comments)
    if study.comments.videos == "none":
        return None
    with_replies = study.comments.replies == "all"
    return CollectedEntity(
        entity="comments",
        summary=f"Comments{' and replies' if with_replies else ', without replies,'} of the study's videos",
        cost="one request per 100 comments of a video"
        + (", and one per 100 replies of a comment" if with_replies else "; no replies"),
        rerun_note=(
            f"Collects the comments of {_COMMENTS_TEXT[study.comments.videos].format(**rule)}. "
            "Skips videos with a count of zero, and lists whose newer count shows no more comments than the API "
            "withholds. "
            f"A count of zero is confirmed by an observation at an age of {study.count_confirmation_age} days or more; "
            "until then the day is too fresh. Requires the day's videos."
        ),
        code_version_inputs={"query": study.query, "comments": rule},
        reference=f"{_DOCS_URL}-video-comments",
        deps=(dg.AssetDep(asset_key(study, "videos")),),
    )


def users(study: StudySpec) -> CollectedEntity | None:
    """Return `<study>/users`, or None if the study observes no profiles."""
    rule = asdict(study.users)
    if study.users.who == "none":
        return None
    is_panel = study.users.who == "panel"
    accounts = _USERS_TEXT[study.users.who].format(**rule)
    every_day = dg.AssetDep(asset_key(study, "videos"), partition_mapping=dg.AllPartitionMapping())
    return CollectedEntity(
        entity="users",
        summary=f"Profiles of {accounts}",
        cost="one request per account",
        rerun_note=f"Skips accounts observed in the period. Collects accounts that are new among {accounts}.",
        code_version_inputs={"users": rule, "panel": study.panel}
        if is_panel
        else {"query": study.query, "users": rule},
        reference=f"{_DOCS_URL}-user-info",
        deps=() if is_panel else (every_day,),
    )


def playlists(study: StudySpec) -> CollectedEntity | None:
    """Return `<study>/playlists`, or None if the study collects none."""
    if not study.playlists:
        return None
    every_day = dg.AssetDep(asset_key(study, "videos"), partition_mapping=dg.AllPartitionMapping())
    return CollectedEntity(
        entity="playlists",
        summary="Playlists that contain videos of the study, with the ids of all their videos",
        cost="one request per 100 videos of a playlist, at least one",
        rerun_note=(
            "Skips playlists observed in the period. Collects those that were observed least recently first. "
            "Records a playlist that is not found as missing."
        ),
        code_version_inputs={"query": study.query, "playlists": study.playlists},
        reference="https://developers.tiktok.com/doc/research-api-specs-query-playlist-info",
        deps=(every_day,),
    )


def follow_lists(study: StudySpec) -> list[CollectedEntity]:
    """Return `<study>/followers` and `<study>/following`; nothing without a panel."""
    if not study.panel:
        return []
    return [
        CollectedEntity(
            entity=entity,
            summary=summary,
            cost="one request per 100 accounts on a list, from the pool for follow lists (20,000 requests a day)",
            rerun_note=(
                "Records the refusals of private accounts and hidden lists. Does not request them again in the period."
            ),
            code_version_inputs={"panel": study.panel},
            reference=f"{_DOCS_URL}-user-{entity}",
        )
        for entity, summary in _FOLLOW_TEXT.items()
    ]


def engagements(study: StudySpec) -> list[CollectedEntity]:
    """Return `<study>/liked_videos`, `reposted_videos` and `pinned_videos`; nothing without a panel."""
    if not study.panel:
        return []
    return [
        CollectedEntity(
            entity=entity,
            summary=summary,
            cost=cost,
            rerun_note="Records an account that refuses, and does not request it again in the period.",
            code_version_inputs={"panel": study.panel},
            reference=f"{_DOCS_URL}-user-{entity.replace('_', '-')}",
        )
        for entity, (summary, cost) in _ENGAGEMENT_TEXT.items()
    ]
