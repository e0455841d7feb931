"""The asset of the comments under a study's videos, by the day of the video."""

from dataclasses import asdict

import dagster as dg

from research_assets.assets._collection import Family, asset_key
from research_assets.collect.spec import StudySpec

_WHICH = {
    "all": "every video of the day that has comments",
    "top": "the {n} most commented videos of the day",
    "sample": "a random share of {share:.3g} of the day's videos (seed {seed}); their probability is kept",
}


def comments(study: StudySpec) -> Family | None:
    """`<study>/comments`, or None if the study wants none."""
    rule = asdict(study.comments)
    if study.comments.videos == "none":
        return None
    replies = ", and one for each 100 replies of a comment" if study.comments.replies == "all" else "; no replies"
    return Family(
        entity="comments",
        cost="one request for each 100 comments of a video" + replies,
        again=(
            f"Asked are the comments of {_WHICH[study.comments.videos].format(**rule)}. Videos without comments, "
            "or with as many as at the last look, are not asked. The videos of the same day come first."
        ),
        asked={"query": study.query, "comments": rule},
        reference="https://developers.tiktok.com/doc/research-api-specs-query-video-comments",
        deps=(dg.AssetDep(asset_key(study, "videos")),),
    )
