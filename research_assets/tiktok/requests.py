"""Requests to the endpoints: one function per kind of request, which checks its arguments.

A rejected request costs quota, so arguments that the API would certainly reject raise ValueError here. Not here:
sending (see client.py), the grammar of a query (see query.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, get_args

from research_assets.fields import ENTITIES
from research_assets.tiktok.endpoints import BY_ENTITY, ENDPOINTS, Endpoint
from research_assets.tiktok.ids import require_id

MAX_COUNT = 100
"""Maximum number of records in one response."""

MAX_WINDOW_DAYS = 31
"""Maximum number of calendar days in one search, both ends included (reference §3.1)."""

UserList = Literal["liked_videos", "reposted_videos", "pinned_videos", "followers", "following"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request without its token: the endpoint, the JSON body, and the names for `fields=`."""

    endpoint: Endpoint
    body: Mapping[str, Any]
    fields: tuple[str, ...]

    @property
    def to_dict(self) -> dict[str, Any]:
        """Return the request in the form that a journal stores."""
        return {"endpoint": self.endpoint.name, "body": dict(self.body), "fields": list(self.fields)}

    @property
    def unit(self) -> str:
        """Return the unit as text: `@name`, `video 7`, `2026-02-01..2026-02-28`; with the cursor, if any."""
        body = self.body
        if "start_date" in body:
            unit = "..".join(f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in (body["start_date"], body["end_date"]))
        elif "username" in body:
            unit = f"@{body['username']}"
        else:
            unit = next((f"{k.removesuffix('_id')} {v}" for k, v in body.items() if k.endswith("_id")), "")
        return f"{unit} from cursor {body['cursor']}" if "cursor" in body else unit


def video_query(
    query: Mapping[str, Sequence[Mapping[str, Any]]],
    start: date,
    end: date,
    *,
    fields: Iterable[str] | None = None,
    max_count: int = MAX_COUNT,
    cursor: int | None = None,
    search_id: str | None = None,
    is_random: bool | None = None,
) -> Request:
    """Search videos of the UTC days `start` to `end`, both included (reference §3.1).

    `query` is in the form of the API, as `query.parse_query` returns it. A later page repeats the arguments of the
    first page with `cursor` and `search_id` of the previous response. Raises ValueError with the name of the argument.
    """
    groups = {name: [dict(condition) for condition in group] for name, group in query.items() if group}
    if not groups:
        raise ValueError("query: contains no condition; the API rejects a search without one (reference §3.1)")
    days = (end - start).days + 1
    if days < 1:
        raise ValueError(f"end={end}: is before start={start}")
    if days > MAX_WINDOW_DAYS:
        raise ValueError(
            f"end={end}: the window from {start} has {days} days; the API accepts at most {MAX_WINDOW_DAYS} "
            "(reference §3.1)"
        )
    if search_id is not None and not (isinstance(search_id, str) and search_id):
        raise ValueError(f"search_id={search_id!r}: must be the text from the previous page, or None")
    body: dict[str, Any] = {
        "query": groups,
        "start_date": f"{start:%Y%m%d}",
        "end_date": f"{end:%Y%m%d}",
        **_page(max_count, cursor),
    }
    if search_id is not None:
        body["search_id"] = search_id
    if is_random is not None:
        body["is_random"] = is_random
    return Request(ENDPOINTS["video_query"], body, _fields("videos", fields))


def comment_list(
    *,
    video_id: int | None = None,
    comment_id: int | None = None,
    fields: Iterable[str] | None = None,
    max_count: int = MAX_COUNT,
    cursor: int | None = None,
) -> Request:
    """List the comments of a video or the replies to a comment: exactly one id is given (reference §3.2).

    Raises ValueError with the name of the argument.
    """
    if (video_id is None) == (comment_id is None):
        raise ValueError("video_id, comment_id: exactly one of the two must be given (reference §3.2)")
    name, value = ("comment_id", comment_id) if video_id is None else ("video_id", video_id)
    body = {name: require_id(name, value)}
    return Request(ENDPOINTS["comment_list"], body | _page(max_count, cursor), _fields("comments", fields))


def user_info(username: str, *, fields: Iterable[str] | None = None) -> Request:
    """Request the current profile of one account (reference §3.3). Raises ValueError with the name of the argument."""
    return Request(ENDPOINTS["user_info"], {"username": _username(username)}, _fields("users", fields))


def user_list(
    entity: UserList,
    username: str,
    *,
    fields: Iterable[str] | None = None,
    max_count: int = MAX_COUNT,
    cursor: int | None = None,
) -> Request:
    """Request a page of a current list of one account (reference §§3.4 to 3.8).

    `cursor` is opaque: an index for reposts, a time for the other lists. Pinned videos come in one response and take
    neither count nor cursor; follow lists take no fields. Raises ValueError with the name of the argument.
    """
    if entity not in get_args(UserList):
        raise ValueError(f"entity={entity!r}: must be one of {', '.join(get_args(UserList))}")
    body: dict[str, Any] = {"username": _username(username)}
    if entity != "pinned_videos":
        body |= _page(max_count, cursor)
    elif cursor is not None:
        raise ValueError(f"cursor={cursor}: pinned videos come in one response (reference §3.5)")
    return Request(BY_ENTITY[entity], body, _fields(entity, fields))


def playlist_info(playlist_id: int, *, cursor: int | None = None, max_count: int = MAX_COUNT) -> Request:
    """Request a playlist with a page of its video ids (reference §3.9). Raises ValueError with the argument's name."""
    body = {"playlist_id": require_id("playlist_id", playlist_id), **_page(max_count, cursor)}
    return Request(ENDPOINTS["playlist_info"], body, _fields("playlists", None))


def _page(max_count: int, cursor: int | None) -> dict[str, int]:
    if not 1 <= max_count <= MAX_COUNT:
        raise ValueError(f"max_count={max_count}: must be 1 to {MAX_COUNT}")
    if cursor is None:
        return {"max_count": max_count}
    if isinstance(cursor, bool) or not isinstance(cursor, int) or cursor < 0:
        raise ValueError(f"cursor={cursor!r}: must be the number from the previous page, or None")
    return {"max_count": max_count, "cursor": cursor}


def _username(username: str) -> str:
    name = username.strip().removeprefix("@")
    if not name or any(c.isspace() or c < " " for c in name):
        raise ValueError(f"username={username!r}: must have at least one character and no blanks")
    return name


def _fields(entity: str, fields: Iterable[str] | None) -> tuple[str, ...]:
    allowed = ENTITIES[entity].requested
    if fields is None:
        return allowed
    requested = tuple(dict.fromkeys(fields))
    unknown = [name for name in requested if name not in allowed]
    if unknown:
        raise ValueError(
            f"fields: {', '.join(map(repr, unknown))} cannot be requested for {entity}; "
            f"allowed: {', '.join(allowed) or 'none, because this endpoint takes no fields'}"
        )
    if not requested and allowed:
        raise ValueError(f"fields: empty; omit it to request all fields of {entity}")
    return requested
