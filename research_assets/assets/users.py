"""The asset of the profiles that a study observes, period by period."""

from dataclasses import asdict

import dagster as dg

from research_assets.assets._collection import CollectedEntity, asset_key
from research_assets.collect.spec import StudySpec

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
