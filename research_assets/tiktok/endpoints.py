"""The endpoints of the Research API that the project uses: paths, quota pools and keys of the records.

Not here: building requests (see requests.py), fields of the records (see fields.py).
"""

from dataclasses import dataclass
from typing import Literal

Pool = Literal["research", "follow"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    `pool` is the quota pool that a call counts against. `entity` is the entity of `fields.ENTITIES` that it returns, or
    None. `payload_keys` are the possible keys of the list of records in `data`, the more likely spelling first. With
    `flat`, `data` is a single record and contains no list. `section` is the section of the API reference. With
    `indexed`, the cursor is a position in the result.
    """

    name: str
    path: str
    pool: Pool
    entity: str | None
    payload_keys: tuple[str, ...]
    flat: bool
    section: str
    indexed: bool = False


def _endpoint(
    name: str,
    path: str,
    section: str,
    *payload_keys: str,
    entity: str | None = None,
    pool: Pool = "research",
    flat: bool = False,
    indexed: bool = False,
) -> Endpoint:
    return Endpoint(name, f"/v2/research/{path}/", pool, entity, payload_keys, flat, section, indexed)


_ALL = (
    _endpoint("video_query", "video/query", "3.1", "videos", entity="videos", indexed=True),
    _endpoint("comment_list", "video/comment/list", "3.2", "comments", entity="comments", indexed=True),
    _endpoint("user_info", "user/info", "3.3", entity="users", flat=True),
    _endpoint("liked_videos", "user/liked_videos", "3.4", "user_liked_videos", entity="liked_videos"),
    _endpoint("pinned_videos", "user/pinned_videos", "3.5", "pinned_videos_list", entity="pinned_videos"),
    # The object table and the example of the reference give different keys; clients use both.
    _endpoint(
        "reposted_videos",
        "user/reposted_videos",
        "3.6",
        "reposted_videos",
        "user_reposted_videos",
        entity="reposted_videos",
        indexed=True,
    ),
    _endpoint("followers", "user/followers", "3.7", "user_followers", entity="followers", pool="follow"),
    _endpoint("following", "user/following", "3.8", "user_following", entity="following", pool="follow"),
    _endpoint("playlist_info", "playlist/info", "3.9", entity="playlists", flat=True, indexed=True),
    _endpoint("validation_create", "validation_task/create", "3.11"),
    _endpoint("validation_status", "validation_task_status/get", "3.11"),
    _endpoint("validation_download", "validation_task/download", "3.11"),
)

ENDPOINTS: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in _ALL}
"""Every data endpoint, by name."""

BY_ENTITY: dict[str, Endpoint] = {endpoint.entity: endpoint for endpoint in _ALL if endpoint.entity}
"""The endpoint that returns an entity, by the name of the entity."""

# The reference does not say whether token calls count against a quota (§2); the project never reserves them.
TOKEN = Endpoint("token", "/v2/oauth/token/", "research", None, (), True, "2")
"""The token endpoint. It is not part of `ENDPOINTS`: it returns no data, and its errors have another form."""

USER_ENDPOINTS: frozenset[str] = frozenset(e.name for e in _ALL if e.path.startswith("/v2/research/user/"))
"""Names of the endpoints that take one account."""
