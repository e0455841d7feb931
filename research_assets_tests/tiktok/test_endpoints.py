"""The endpoints match reference §1.2 and the field registry."""

import pytest

from research_assets.fields import ENTITIES
from research_assets.tiktok.endpoints import BY_ENTITY, ENDPOINTS


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("video_query", "/v2/research/video/query/"),
        ("comment_list", "/v2/research/video/comment/list/"),
        ("user_info", "/v2/research/user/info/"),
        ("liked_videos", "/v2/research/user/liked_videos/"),
        ("pinned_videos", "/v2/research/user/pinned_videos/"),
        ("reposted_videos", "/v2/research/user/reposted_videos/"),
        ("followers", "/v2/research/user/followers/"),
        ("following", "/v2/research/user/following/"),
        ("playlist_info", "/v2/research/playlist/info/"),
        ("validation_create", "/v2/research/validation_task/create/"),
        ("validation_status", "/v2/research/validation_task_status/get/"),
        ("validation_download", "/v2/research/validation_task/download/"),
    ],
)
def test_endpoint_has_the_documented_path(name: str, path: str) -> None:
    assert ENDPOINTS[name].path == path
    assert ENDPOINTS[name].name == name


def test_there_are_twelve_endpoints() -> None:
    assert len(ENDPOINTS) == 12


def test_every_entity_has_an_endpoint() -> None:
    assert BY_ENTITY.keys() == ENTITIES.keys()


def test_only_follow_lists_use_the_follow_pool() -> None:
    assert {e.name for e in ENDPOINTS.values() if e.pool == "follow"} == {"followers", "following"}


def test_reposts_accept_both_keys_with_the_likelier_first() -> None:
    assert ENDPOINTS["reposted_videos"].payload_keys == ("reposted_videos", "user_reposted_videos")
