"""The asset of the comments under a study's videos, by the day of the video."""

from dataclasses import asdict

import dagster as dg

from research_assets.assets._collection import CollectedEntity, asset_key
from research_assets.collect.spec import StudySpec

_COMMENTS_TEXT = {
    "all": "every video of the day that has comments",
    "top": "the {n} most commented videos of the day",
    "sample": "a random share of {share:.3g} of the day's videos (seed {seed}); their probability is kept",
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
