"""The one registry of what the API's entities are made of: names, types, meanings, since when.

The request's `fields=`, the Parquet schema, the codebook and the sandbox all read it. It knows nothing of endpoints,
answers or files; a fact about how a field travels belongs to `tiktok/`, a fact about where it is kept to `tables.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

TimeAxis = Literal["content", "observation"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an entity.

    `type` is the DuckDB type of its column in the raw table. `source` names the section of the API reference, `since`
    the date (or year) from which the API documents the field. `aliases` are other spellings under which the API may
    deliver it; they end in the same column. `requested` is false for what arrives without being asked for.
    """

    name: str
    type: str
    description: str
    source: str
    since: str = "2023"
    unit: str | None = None
    aliases: tuple[str, ...] = ()
    requested: bool = True


@dataclass(frozen=True, slots=True)
class Entity:
    """A kind of record: its fields, what identifies a record, and which of the two clocks it lives on.

    `context` are columns that the collector adds from the request: they are not part of the answer.
    """

    name: str
    grain: str
    time_axis: TimeAxis
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    context: tuple[Field, ...] = ()

    @property
    def requested(self) -> tuple[str, ...]:
        """The names for the request's `fields=`; empty where the endpoint takes none."""
        return tuple(field.name for field in self.fields if field.requested)

    @property
    def known(self) -> frozenset[str]:
        """Every key that may stand in a record, aliases included; anything else is an unknown field."""
        return frozenset(name for field in self.fields for name in (field.name, *field.aliases))

    def field(self, name: str) -> Field:
        """The field or context column called `name`; KeyError if there is none."""
        for field in (*self.fields, *self.context):
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name!r}")


CAPTURE_COLUMNS: tuple[Field, ...] = (
    Field("observed_at", "TIMESTAMPTZ", "When the page that holds this record arrived", "capture", unit="UTC"),
    Field(
        "capture",
        "VARCHAR",
        "Id of the capture that holds the page: the file name below captures/ without its ending",
        "capture",
    ),
    Field("unknown_fields", "JSON", "Fields of the answer that this registry does not know, as delivered", "capture"),
)
"""Columns that every raw table ends with."""

ASKED_USERNAME = Field("asked_username", "VARCHAR", "The account that was asked", "request")
POSITION = Field("position", "BIGINT", "Place of the record in the list as delivered, from 0", "request")

_VIDEO: tuple[Field, ...] = (
    Field("id", "BIGINT", "Video id; id >> 32 is the moment of upload", "3.1", aliases=("video_id",)),
    Field("video_description", "VARCHAR", "Caption, with its hashtags and mentions", "3.1"),
    Field("create_time", "BIGINT", "When the video was published", "3.1", unit="Unix seconds, UTC"),
    Field("region_code", "VARCHAR", "Country in which the creator registered; either case", "3.1"),
    Field("share_count", "BIGINT", "Shares so far; up to 10 days old when delivered", "3.1", unit="shares"),
    Field("view_count", "BIGINT", "Views so far; up to 10 days old when delivered", "3.1", unit="views"),
    Field("like_count", "BIGINT", "Likes so far; up to 10 days old when delivered", "3.1", unit="likes"),
    Field("comment_count", "BIGINT", "Comments so far; up to 10 days old when delivered", "3.1", unit="comments"),
    Field("music_id", "BIGINT", "Id of the sound", "3.1"),
    Field("hashtag_names", "VARCHAR[]", "Hashtags without #, not in the order of the caption", "3.1"),
    Field("username", "VARCHAR", "Handle of the creator", "3.1"),
    Field("effect_ids", "VARCHAR[]", "Ids of the effects used", "3.1"),
    Field("playlist_id", "BIGINT", "Playlist that the video belongs to", "3.1"),
    Field("voice_to_text", "VARCHAR", "Transcript of the speech, where the API has one", "3.1"),
    Field("is_stem_verified", "BOOLEAN", "Verified for the STEM feed", "3.1", since="2024-07-09"),
    Field(
        "favorites_count",
        "BIGINT",
        "Times saved as a favourite so far",
        "3.1",
        since="2024-07-09",
        unit="favourites",
        aliases=("favourites_count",),
    ),
    Field("video_duration", "BIGINT", "Length of the video", "3.1", since="2024-07-09", unit="seconds"),
    Field(
        "hashtag_info_list",
        "STRUCT(hashtag_id BIGINT, hashtag_name VARCHAR, hashtag_description VARCHAR)[]",
        "Hashtags with id and description",
        "3.1",
        since="2024-11-04",
    ),
    Field(
        "sticker_info_list",
        "STRUCT(sticker_id VARCHAR, sticker_name VARCHAR)[]",
        "Interactive stickers; on-screen text appears as their name",
        "3.1",
        since="2025-04-17",
    ),
    Field(
        "effect_info_list",
        'STRUCT(effect_id VARCHAR, effect_name VARCHAR, effect_photo_url VARCHAR, "effect_photo_URI" VARCHAR)[]',
        "Effects with name and picture; the picture's key differs between endpoints",
        "3.1",
        since="2025-04-17",
    ),
    Field(
        "video_mention_list",
        "VARCHAR[]",
        "Accounts named in the caption: handles without @, or display names",
        "3.1",
        since="2024-11-04",
    ),
    Field("video_label", "JSON", "Label shown with the video; its shape is not documented", "3.1", since="2024-11-04"),
    Field(
        "video_tag",
        "JSON",
        "Tags for AI-generated and branded content; the documentation contradicts itself on AIGC 1 and 2",
        "3.1.2",
        since="2025-04-17",
    ),
)

_NOT_ON_USER_VIDEOS = frozenset({"effect_ids", "playlist_id", "voice_to_text"})
_USER_VIDEO = tuple(field for field in _VIDEO if field.name not in _NOT_ON_USER_VIDEOS)

_RELATION: tuple[Field, ...] = (
    Field("username", "VARCHAR", "Handle of the other account", "3.7", since="2024", requested=False),
    Field("display_name", "VARCHAR", "Name shown on the other account", "3.7", since="2024", requested=False),
)


def _user_videos(name: str, grain: str) -> Entity:
    return Entity(name, grain, "observation", ("asked_username", "id"), _USER_VIDEO, (ASKED_USERNAME, POSITION))


def _relations(name: str, grain: str) -> Entity:
    return Entity(name, grain, "observation", ("asked_username", "username"), _RELATION, (ASKED_USERNAME, POSITION))


_ALL: tuple[Entity, ...] = (
    Entity("videos", "one video as one search delivered it", "content", ("id",), _VIDEO),
    Entity(
        "comments",
        "one comment or reply as one list delivered it",
        "content",
        ("id",),
        (
            Field("id", "BIGINT", "Comment id; id >> 32 is about the moment of writing", "3.2"),
            Field("video_id", "BIGINT", "Video that the comment belongs to", "3.2"),
            Field("text", "VARCHAR", "Text as delivered: personal data masked by the API, empty for stickers", "3.2"),
            Field("like_count", "BIGINT", "Likes of the comment so far", "3.2", unit="likes"),
            Field("reply_count", "BIGINT", "Replies to the comment so far", "3.2", unit="replies"),
            Field("parent_comment_id", "BIGINT", "Comment that this replies to; the video's id at top level", "3.2"),
            Field("create_time", "BIGINT", "When the comment was written", "3.2", unit="Unix seconds, UTC"),
            Field("display_name", "VARCHAR", "Seen only in a documented reply", "3.2", since="2025", requested=False),
        ),
        (
            Field("asked_video_id", "BIGINT", "Video whose comments were asked", "request"),
            Field("asked_comment_id", "BIGINT", "Comment whose replies were asked; null for a video's list", "request"),
            POSITION,
        ),
    ),
    Entity(
        "users",
        "one profile as observed at one moment",
        "observation",
        ("asked_username",),
        (
            Field("display_name", "VARCHAR", "Name shown on the account", "3.3"),
            Field("bio_description", "VARCHAR", "Text of the profile", "3.3"),
            Field("avatar_url", "VARCHAR", "Signed link to the picture; expires after one or two days", "3.3"),
            Field("is_verified", "BOOLEAN", "Carries the verified badge", "3.3"),
            Field("follower_count", "BIGINT", "Followers now", "3.3", unit="accounts"),
            Field("following_count", "BIGINT", "Accounts followed now", "3.3", unit="accounts"),
            Field("likes_count", "BIGINT", "Likes received on all videos", "3.3", unit="likes"),
            Field("video_count", "BIGINT", "Public videos now", "3.3", unit="videos"),
            Field("bio_url", "VARCHAR", "Link in the profile", "3.3", since="2024-11-04"),
            Field("username", "VARCHAR", "Handle, where the API echoes it", "3.3", requested=False),
        ),
        (ASKED_USERNAME,),
    ),
    _user_videos("liked_videos", "one video on one account's list of likes, as observed at one moment"),
    _user_videos("reposted_videos", "one video on one account's list of reposts, as observed at one moment"),
    _user_videos("pinned_videos", "one video pinned on one account, as observed at one moment"),
    _relations("followers", "one follower of one account, as observed at one moment"),
    _relations("following", "one account followed by one account, as observed at one moment"),
)

ENTITIES: dict[str, Entity] = {entity.name: entity for entity in _ALL}
"""Every entity that becomes an asset, by name."""

PLAYLIST: tuple[Field, ...] = (
    Field("playlist_id", "BIGINT", "Playlist id", "3.9", since="2024-07-09"),
    Field("playlist_name", "VARCHAR", "Name of the playlist", "3.9", since="2024-07-09", requested=False),
    Field("playlist_item_total", "BIGINT", "Videos in it", "3.9", "2024-07-09", unit="videos", requested=False),
    Field("playlist_last_updated", "BIGINT", "Last change; unit not documented", "3.9", "2024-07-09", requested=False),
    Field("playlist_video_ids", "BIGINT[]", "Videos of this page", "3.9", since="2024-07-09", requested=False),
)
"""Fields of the playlist endpoint, which the client can ask but which is no asset."""


COVERAGE: tuple[Field, ...] = (
    Field("entity", "VARCHAR", "Entity that was asked for", "collect"),
    Field("partition", "DATE", "Partition of the asset that the unit belongs to", "collect"),
    Field(
        "unit_kind",
        "VARCHAR",
        "What a unit is: day, video, comment, account (of videos: accounts of the query that were asked apart), or "
        "canary (a video known from before that is looked for each week)",
        "collect",
    ),
    Field("unit", "VARCHAR", "The day, video id, comment id or username; several with a comma between", "collect"),
    Field("state", "VARCHAR", "State of the unit after this attempt", "collect"),
    Field("asked", "BIGINT", "Rows that the requests asked for", "collect", unit="rows"),
    Field("offered", "BIGINT", "Raw hits that the cursor counted, deliverable or not", "collect", unit="rows"),
    Field("kept", "BIGINT", "Distinct rows that arrived and were kept", "collect", unit="rows"),
    Field("expected", "BIGINT", "Rows that another field promised, such as comment_count", "collect", unit="rows"),
    Field("requests", "DOUBLE", "Requests spent; a share where units shared them", "collect", unit="requests"),
    Field(
        "inclusion_probability",
        "DOUBLE",
        "Chance with which the unit was drawn into a sample; 1 without one",
        "collect",
    ),
    Field("first_at", "TIMESTAMPTZ", "First request of this attempt", "collect", unit="UTC"),
    Field("last_at", "TIMESTAMPTZ", "Last request of this attempt", "collect", unit="UTC"),
    Field("reason", "VARCHAR", "Why the unit is not complete, in words", "collect"),
    Field("next_try", "TIMESTAMPTZ", "When the unit is asked again, if it is", "collect", unit="UTC"),
    Field("capture", "VARCHAR", "The capture that holds the pages", "collect"),
)
"""Columns of raw/coverage: one row per unit and attempt. `day` there is the UTC day on which the attempt ended."""

EXPECTED_UNITS: tuple[Field, ...] = (
    Field("entity", "VARCHAR", "Entity that the study wants", "collect"),
    Field("partition", "DATE", "Partition of the asset", "collect"),
    Field("unit_kind", "VARCHAR", "What a unit is: day, video or account", "collect"),
    Field("unit", "VARCHAR", "The day, video id or username", "collect"),
    Field("due_at", "TIMESTAMPTZ", "From when on it can be asked", "collect", unit="UTC"),
)
"""Columns of raw/wanted: one row per unit that a study wants as far as it is known without asking."""

REQUESTS: tuple[Field, ...] = (
    Field("pool", "VARCHAR", "Quota pool that paid", "quota"),
    Field("endpoint", "VARCHAR", "Endpoint that was asked", "quota"),
    Field("entity", "VARCHAR", "Entity that it was asked for", "quota"),
    Field("unit", "VARCHAR", "Unit or window that it served", "quota"),
    Field("sent_at", "TIMESTAMPTZ", "When its place in the quota was taken", "quota", unit="UTC"),
    Field("status", "INTEGER", "HTTP status; null if no answer came", "quota"),
    Field("code", "VARCHAR", "The API's error code, ok on success", "quota"),
    Field("rows", "BIGINT", "Records returned", "quota", unit="rows"),
    Field("latency_ms", "DOUBLE", "Time to the full answer", "quota", unit="milliseconds"),
    Field("log_id", "VARCHAR", "The API's own id of the call", "quota"),
)
"""Columns of raw/requests: one row per request ever reserved. `day` is the UTC quota day, `study` who asked."""


def table_columns(entity: Entity) -> tuple[Field, ...]:
    """Columns of an entity's raw table, in order: the API's fields, the request's context, the capture's stamp."""
    return (*entity.fields, *entity.context, *CAPTURE_COLUMNS)


def raw_tables() -> dict[str, tuple[Field, ...]]:
    """Every table below raw/ with its columns; `study` and `day` come on top, from the folder names."""
    tables = {name: table_columns(entity) for name, entity in ENTITIES.items()}
    return tables | {"coverage": COVERAGE, "wanted": EXPECTED_UNITS, "requests": REQUESTS}


def column_definitions(columns: Iterable[Field]) -> str:
    """The columns as SQL: `"id" BIGINT, "text" VARCHAR`."""
    return ", ".join(f'"{column.name}" {column.type}' for column in columns)
