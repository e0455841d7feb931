"""What can be asked: one line per endpoint of the Research API that the project uses.

A fact about a path, a pool of quota or the key under which records arrive belongs here. How a request is built belongs
to `requests.py`; what the records are made of, to `research_assets.fields`.
"""

from dataclasses import dataclass
from typing import Literal

Pool = Literal["research", "follow"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    `pool` is the quota that pays for a call. `entity` is the entity of `fields.ENTITIES` that it delivers, if any.
    `payload_keys` are the keys of `data` that may hold the list of records, the likelier spelling first. With `flat`
    there is no list: `data` itself is the one record. `section` is its place in the API reference.
    """

    name: str
    path: str
    pool: Pool
    entity: str | None
    payload_keys: tuple[str, ...]
    flat: bool
    section: str


def _endpoint(
    name: str,
    path: str,
    section: str,
    *payload_keys: str,
    entity: str | None = None,
    pool: Pool = "research",
    flat: bool = False,
) -> Endpoint:
    return Endpoint(name, f"/v2/research/{path}/", pool, entity, payload_keys, flat, section)


_ALL = (
    _endpoint("video_query", "video/query", "3.1", "videos", entity="videos"),
    _endpoint("comment_list", "video/comment/list", "3.2", "comments", entity="comments"),
    _endpoint("user_info", "user/info", "3.3", entity="users", flat=True),
    _endpoint("liked_videos", "user/liked_videos", "3.4", "user_liked_videos", entity="liked_videos"),
    _endpoint("pinned_videos", "user/pinned_videos", "3.5", "pinned_videos_list", entity="pinned_videos"),
    # The reference's object table and its example disagree about the key; both are in use among clients.
    _endpoint(
        "reposted_videos",
        "user/reposted_videos",
        "3.6",
        "reposted_videos",
        "user_reposted_videos",
        entity="reposted_videos",
    ),
    _endpoint("followers", "user/followers", "3.7", "user_followers", entity="followers", pool="follow"),
    _endpoint("following", "user/following", "3.8", "user_following", entity="following", pool="follow"),
    _endpoint("playlist_info", "playlist/info", "3.9", flat=True),
    _endpoint("validation_create", "validation_task/create", "3.11"),
    _endpoint("validation_status", "validation_task_status/get", "3.11"),
    _endpoint("validation_download", "validation_task/download", "3.11"),
)

ENDPOINTS: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in _ALL}
"""Every endpoint, by its name."""

BY_ENTITY: dict[str, Endpoint] = {endpoint.entity: endpoint for endpoint in _ALL if endpoint.entity}
"""The endpoint that delivers an entity, by the entity's name."""

# Whether token calls count against a quota is not known (reference §2); they are never reserved.
TOKEN = Endpoint("token", "/v2/oauth/token/", "research", None, (), True, "2")
"""Where tokens come from. It is not among `ENDPOINTS`: it delivers no data and its errors have another form."""

USER_ENDPOINTS: frozenset[str] = frozenset(e.name for e in _ALL if e.path.startswith("/v2/research/user/"))
"""Names of the endpoints that are asked about one account."""
