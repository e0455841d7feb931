"""The registry of entities and fields: names, types, descriptions, and since when the API documents them.

The `fields=` parameter of requests, the Parquet schema, the codebook and the sandbox use it. Not here: endpoints and
responses (see tiktok/), files of the raw tables (see storage/raw_writer.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

TimeAxis = Literal["content", "observation"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an entity.

    `type` is the DuckDB type of its column in the raw table. `description` is shown in the UI: a noun phrase with the
    unit in parentheses. `source` is the section of the API reference, `since` the date (or year) from which the API
    documents the field. `aliases` are other spellings that the API may use; they are written to the same column.
    `requested` is false for fields that the API returns without a request for them.
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
    """A kind of record: its fields, its key, and its time axis.

    On the axis `content`, partitions are days of publication; on `observation`, they are periods of collection.
    `context` are columns that the collector adds from the request; they are not part of the response.
    """

    name: str
    grain: str
    time_axis: TimeAxis
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    context: tuple[Field, ...] = ()

    @property
    def requested(self) -> tuple[str, ...]:
        """Return the names for the `fields=` parameter of a request; empty if the endpoint takes none."""
        return tuple(field.name for field in self.fields if field.requested)

    @property
    def known(self) -> frozenset[str]:
        """Return all documented keys of a record, including aliases; any other key is an unknown field."""
        return frozenset(name for field in self.fields for name in (field.name, *field.aliases))

    def field(self, name: str) -> Field:
        """Return the field or context column `name`. Raise KeyError if there is none."""
        for field in (*self.fields, *self.context):
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name!r}")


CAPTURE_COLUMNS: tuple[Field, ...] = (
    Field(
        "observed_at", "TIMESTAMPTZ", "Arrival time of the page that contains the record (UTC)", "capture", unit="UTC"
    ),
    Field(
        "capture",
        "VARCHAR",
        "Id of the capture that contains the page: its file name in captures/ without the extension",
        "capture",
    ),
    Field(
        "unknown_fields", "JSON", "Fields of the response that are not in the field registry, as delivered", "capture"
    ),
)
"""The last columns of the raw table of every entity."""

ASKED_USERNAME = Field(
    "asked_username", "VARCHAR", "Handle of the account whose list or profile was requested", "request"
)
POSITION = Field("position", "BIGINT", "Position in the list as delivered, from 0 (rank)", "request")

_VIDEO: tuple[Field, ...] = (
    Field(
        "id", "BIGINT", "Id of the video; id >> 32 is the upload time (Unix seconds, UTC)", "3.1", aliases=("video_id",)
    ),
    Field("video_description", "VARCHAR", "Caption, with its hashtags and mentions", "3.1"),
    Field(
        "create_time", "BIGINT", "Publication time of the video (Unix seconds, UTC)", "3.1", unit="Unix seconds, UTC"
    ),
    Field("region_code", "VARCHAR", "Country in which the creator registered the account; upper or lower case", "3.1"),
    Field(
        "share_count",
        "BIGINT",
        "Shares as counted by the API (shares); up to 10 days old at delivery",
        "3.1",
        unit="shares",
    ),
    Field(
        "view_count",
        "BIGINT",
        "Views as counted by the API (views); up to 10 days old at delivery",
        "3.1",
        unit="views",
    ),
    Field(
        "like_count",
        "BIGINT",
        "Likes as counted by the API (likes); up to 10 days old at delivery",
        "3.1",
        unit="likes",
    ),
    Field(
        "comment_count",
        "BIGINT",
        "Comments as counted by the API (comments); up to 10 days old at delivery",
        "3.1",
        unit="comments",
    ),
    Field("music_id", "BIGINT", "Id of the sound", "3.1"),
    Field("hashtag_names", "VARCHAR[]", "Hashtags without #, not in the order of the caption", "3.1"),
    Field("username", "VARCHAR", "Handle of the creator", "3.1"),
    Field("effect_ids", "VARCHAR[]", "Ids of the effects used", "3.1"),
    Field("playlist_id", "BIGINT", "Id of the playlist that contains the video", "3.1"),
    Field("voice_to_text", "VARCHAR", "Transcript of the speech; the API has one for a minority of videos", "3.1"),
    Field("is_stem_verified", "BOOLEAN", "Whether the video is verified for the STEM feed", "3.1", since="2024-07-09"),
    Field(
        "favorites_count",
        "BIGINT",
        "Times saved as a favourite, as counted by the API (favourites)",
        "3.1",
        since="2024-07-09",
        unit="favourites",
        aliases=("favourites_count",),
    ),
    Field("video_duration", "BIGINT", "Length of the video (seconds)", "3.1", since="2024-07-09", unit="seconds"),
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
        "Interactive stickers; their names include on-screen text",
        "3.1",
        since="2025-04-17",
    ),
    Field(
        "effect_info_list",
        'STRUCT(effect_id VARCHAR, effect_name VARCHAR, effect_photo_url VARCHAR, "effect_photo_URI" VARCHAR)[]',
        "Effects with name and picture; the key of the picture differs between endpoints",
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
    Field(
        "video_label",
        "JSON",
        "Label shown with the video; its structure is not documented",
        "3.1",
        since="2024-11-04",
    ),
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
    Field("display_name", "VARCHAR", "Display name of the other account", "3.7", since="2024", requested=False),
)


def _user_videos(name: str, grain: str) -> Entity:
    return Entity(name, grain, "observation", ("asked_username", "id"), _USER_VIDEO, (ASKED_USERNAME, POSITION))


def _relations(name: str, grain: str) -> Entity:
    return Entity(name, grain, "observation", ("asked_username", "username"), _RELATION, (ASKED_USERNAME, POSITION))


_ALL: tuple[Entity, ...] = (
    Entity("videos", "one video as returned by one search", "content", ("id",), _VIDEO),
    Entity(
        "comments",
        "one comment or reply as returned by one list",
        "content",
        ("id",),
        (
            Field(
                "id",
                "BIGINT",
                "Id of the comment; id >> 32 is its approximate creation time (Unix seconds, UTC)",
                "3.2",
            ),
            Field("video_id", "BIGINT", "Id of the commented video", "3.2"),
            Field(
                "text",
                "VARCHAR",
                "Text as delivered: the API masks personal data, and the text of stickers is empty",
                "3.2",
            ),
            Field("like_count", "BIGINT", "Likes of the comment (likes)", "3.2", unit="likes"),
            Field(
                "reply_count", "BIGINT", "Replies to the comment as counted by the API (replies)", "3.2", unit="replies"
            ),
            Field(
                "parent_comment_id",
                "BIGINT",
                "Id of the comment that this one replies to; id of the video at top level",
                "3.2",
            ),
            Field(
                "create_time",
                "BIGINT",
                "Creation time of the comment (Unix seconds, UTC)",
                "3.2",
                unit="Unix seconds, UTC",
            ),
            Field(
                "display_name",
                "VARCHAR",
                "Display name of the author; only in a documented example",
                "3.2",
                since="2025",
                requested=False,
            ),
        ),
        (
            Field("asked_video_id", "BIGINT", "Id of the video whose comments were requested", "request"),
            Field(
                "asked_comment_id",
                "BIGINT",
                "Id of the comment whose replies were requested; null for the list of a video",
                "request",
            ),
            POSITION,
        ),
    ),
    Entity(
        "users",
        "one profile at one observation",
        "observation",
        ("asked_username",),
        (
            Field("display_name", "VARCHAR", "Display name of the account", "3.3"),
            Field("bio_description", "VARCHAR", "Text of the profile", "3.3"),
            Field("avatar_url", "VARCHAR", "Signed link to the profile picture; expires after one or two days", "3.3"),
            Field("is_verified", "BOOLEAN", "Whether the account has the verified badge", "3.3"),
            Field(
                "follower_count", "BIGINT", "Followers at the time of observation (accounts)", "3.3", unit="accounts"
            ),
            Field(
                "following_count",
                "BIGINT",
                "Followed accounts at the time of observation (accounts)",
                "3.3",
                unit="accounts",
            ),
            Field("likes_count", "BIGINT", "Likes received on all videos (likes)", "3.3", unit="likes"),
            Field("video_count", "BIGINT", "Public videos at the time of observation (videos)", "3.3", unit="videos"),
            Field("bio_url", "VARCHAR", "Link in the profile", "3.3", since="2024-11-04"),
            Field(
                "username",
                "VARCHAR",
                "Handle of the account; null if the API does not return it",
                "3.3",
                requested=False,
            ),
        ),
        (ASKED_USERNAME,),
    ),
    _user_videos("liked_videos", "one video on the list of likes of one account at one observation"),
    _user_videos("reposted_videos", "one video on the list of reposts of one account at one observation"),
    _user_videos("pinned_videos", "one video pinned on one account at one observation"),
    _relations("followers", "one follower of one account at one observation"),
    _relations("following", "one account followed by one account at one observation"),
    Entity(
        "playlists",
        "one page of one playlist at one observation",
        "observation",
        ("asked_playlist_id", "position"),
        (
            Field("playlist_id", "BIGINT", "Id of the playlist", "3.9", since="2024-07-09"),
            Field("playlist_name", "VARCHAR", "Name of the playlist", "3.9", since="2024-07-09", requested=False),
            Field(
                "playlist_item_total",
                "BIGINT",
                "Videos in the playlist as counted by the API (videos)",
                "3.9",
                since="2024-07-09",
                unit="videos",
                requested=False,
            ),
            Field(
                "playlist_last_updated",
                "BIGINT",
                "Time of the last change (Unix time); the unit is not documented",
                "3.9",
                since="2024-07-09",
                requested=False,
            ),
            Field(
                "playlist_video_ids",
                "BIGINT[]",
                "Ids of the videos on this page",
                "3.9",
                since="2024-07-09",
                requested=False,
            ),
        ),
        (
            Field("asked_playlist_id", "BIGINT", "Id of the playlist that was requested", "request"),
            Field("position", "BIGINT", "Position of the page's first video in the playlist, from 0 (rank)", "request"),
        ),
    ),
)

ENTITIES: dict[str, Entity] = {entity.name: entity for entity in _ALL}
"""Entities with an asset, by name."""

COVERAGE: tuple[Field, ...] = (
    Field("entity", "VARCHAR", "Collected entity", "collect"),
    Field("partition", "DATE", "Partition of the asset that the unit belongs to", "collect"),
    Field(
        "unit_kind",
        "VARCHAR",
        "Kind of the unit: day, part (of a day whose search was divided by further conditions), video, comment, "
        "account (for videos: accounts of the query that are searched separately), playlist, canary (a "
        "previously collected video that is searched for each week), or rename (a missing panel account whose videos "
        "are searched for)",
        "collect",
    ),
    Field(
        "unit",
        "VARCHAR",
        "Day, conditions of a part, id of a video, comment or playlist, or username; several values are separated by "
        "commas",
        "collect",
    ),
    Field("state", "VARCHAR", "State of the unit after this attempt", "collect"),
    Field("asked", "BIGINT", "Rows requested from the API (rows)", "collect", unit="rows"),
    Field("offered", "BIGINT", "Raw hits counted by the cursor, deliverable or not (rows)", "collect", unit="rows"),
    Field("kept", "BIGINT", "Distinct rows that were returned and retained (rows)", "collect", unit="rows"),
    Field(
        "expected",
        "BIGINT",
        "Rows expected from a field such as comment_count at the time of the request (rows)",
        "collect",
        unit="rows",
    ),
    Field(
        "requests",
        "DOUBLE",
        "Requests sent, in fractions if units shared a request (requests)",
        "collect",
        unit="requests",
    ),
    Field(
        "inclusion_probability",
        "DOUBLE",
        "Inclusion probability of the unit (ratio, 0 to 1); 1 if nothing was sampled; null for a top selection",
        "collect",
    ),
    Field("selection", "VARCHAR", "How the unit was selected: all, sample or top", "collect"),
    Field(
        "selection_rank",
        "BIGINT",
        "Rank by the count of a top selection, from 1 (rank)",
        "collect",
        unit="rank",
    ),
    Field(
        "selected_at",
        "TIMESTAMPTZ",
        "Time of the newest observation on which a sample or top selection is based (UTC)",
        "collect",
        unit="UTC",
    ),
    Field("first_at", "TIMESTAMPTZ", "Time of the first request of this attempt (UTC)", "collect", unit="UTC"),
    Field("last_at", "TIMESTAMPTZ", "Time of the last request of this attempt (UTC)", "collect", unit="UTC"),
    Field(
        "reason",
        "VARCHAR",
        "Reason why the unit is not complete, or what a complete unit lacks (such as rejected rows), as text",
        "collect",
    ),
    Field("next_try", "TIMESTAMPTZ", "Time of the next try (UTC); null if none is planned", "collect", unit="UTC"),
    Field("capture", "VARCHAR", "Id of the capture that contains the pages", "collect"),
)
"""Columns of raw/coverage: one row per unit and attempt. `day` is the UTC day on which the attempt ended."""

EXPECTED_UNITS: tuple[Field, ...] = (
    Field("entity", "VARCHAR", "Expected entity", "collect"),
    Field("partition", "DATE", "Partition of the asset that the unit belongs to", "collect"),
    Field("unit_kind", "VARCHAR", "Kind of the unit: day, video, account or playlist", "collect"),
    Field("unit", "VARCHAR", "Day, id of a video or playlist, or username", "collect"),
    Field("due_at", "TIMESTAMPTZ", "Time from which the unit can be collected (UTC)", "collect", unit="UTC"),
    Field("stratum", "VARCHAR", "Stratum of a sampled day; null for other units", "collect"),
    Field("stratum_days", "BIGINT", "Calendar days of the stratum (days)", "collect", unit="days"),
    Field("stratum_sampled", "BIGINT", "Days drawn from the stratum (days)", "collect", unit="days"),
    Field(
        "inclusion_probability",
        "DOUBLE",
        "Inclusion probability of a sampled day, or of a video that is selected for comments (ratio, 0 to 1)",
        "collect",
    ),
)
"""Columns of raw/expected_units: one row per unit that a study expects, as far as that is known without a request."""

REQUESTS: tuple[Field, ...] = (
    Field("pool", "VARCHAR", "Quota pool of the request", "quota"),
    Field("endpoint", "VARCHAR", "Endpoint of the request", "quota"),
    Field("entity", "VARCHAR", "Collected entity", "quota"),
    Field("unit", "VARCHAR", "Unit or search window of the request", "quota"),
    Field("sent_at", "TIMESTAMPTZ", "Time of the reservation (UTC)", "quota", unit="UTC"),
    Field("status", "INTEGER", "HTTP status; null without a response", "quota"),
    Field("code", "VARCHAR", "Error code of the API; ok on success", "quota"),
    Field("rows", "BIGINT", "Returned records (rows)", "quota", unit="rows"),
    Field("latency_ms", "DOUBLE", "Time until the complete response (milliseconds)", "quota", unit="milliseconds"),
    Field("log_id", "VARCHAR", "Id of the call in the logs of the API", "quota"),
)
"""Columns of raw/requests: one row per reserved request. `day` is the UTC quota day, `study` the requesting study."""


REJECTED: tuple[Field, ...] = (
    Field("entity", "VARCHAR", "Collected entity", "collect"),
    Field("partition", "DATE", "Partition of the asset that the unit belongs to", "collect"),
    Field("unit", "VARCHAR", "Unit whose list contains the element: day, video id, comment id or username", "collect"),
    Field(
        "position",
        "BIGINT",
        "Position of the element on its page, from 0; in a list of a video or an account, on the list",
        "collect",
    ),
    Field("field", "VARCHAR", "Name of the rejected value; null if the whole element was rejected", "collect"),
    Field("reason", "VARCHAR", "Reason of the rejection, such as `not an object` or `no id`", "collect"),
    Field("value", "JSON", "Element or value as delivered; text that is not JSON as a string", "collect"),
    Field("observed_at", "TIMESTAMPTZ", "Arrival time of the page (UTC)", "capture", unit="UTC"),
    Field("capture", "VARCHAR", "Id of the capture that contains the page", "capture"),
)
"""Columns of raw/rejected: one row per element or value that cannot be used.

`day` is the UTC day of the capture's first page.
"""


VERIFIED: tuple[Field, ...] = (
    Field("id", "BIGINT", "Id of the video or comment", "compliance"),
    Field("verified_at", "TIMESTAMPTZ", "Time of the newest verification with the API (UTC)", "compliance", unit="UTC"),
)
"""Columns of raw/verified_videos and raw/verified_comments: one row per id of a study that was verified.

`study` and `day` are those of the id in raw/videos or raw/comments.
"""

WITHDRAWALS: tuple[Field, ...] = (
    Field("receipt", "VARCHAR", "Id of the receipt of the removal", "compliance"),
    Field("kind", "VARCHAR", "Kind of the items: video, comment or account", "compliance"),
    Field("found_by", "VARCHAR", "How the items were found: forgotten, compliance or lookup", "compliance"),
    Field("withdrawn_at", "TIMESTAMPTZ", "Time of the withdrawal (UTC)", "compliance", unit="UTC"),
    Field("n_items", "BIGINT", "Withdrawn items (items)", "compliance", unit="items"),
)
"""Columns of raw/withdrawals: the withdrawn items of one removal by kind. `day` is the UTC day of the withdrawal."""

POPULATION: tuple[Field, ...] = (
    Field("capture", "VARCHAR", "Capture that contains the draws", "capture"),
    Field("started_at", "TIMESTAMPTZ", "Time of the first draw (UTC)", "collect", unit="UTC"),
    Field("ended_at", "TIMESTAMPTZ", "Time of the last draw (UTC)", "collect", unit="UTC"),
    Field("n_requests", "BIGINT", "Requests of the run, failed ones included (requests)", "collect", unit="requests"),
    Field("n_draws", "BIGINT", "Answered draws (draws)", "collect", unit="draws"),
    Field("n_drawn", "BIGINT", "Videos of all draws (videos)", "collect", unit="videos"),
    Field("n_distinct", "BIGINT", "Distinct videos of all draws (videos)", "collect", unit="videos"),
    Field(
        "n_pairs", "BIGINT", "Products of the sizes of two draws, summed over pairs (pairs)", "collect", unit="pairs"
    ),
    Field("n_shared", "BIGINT", "Videos that two draws share, summed over pairs (videos)", "collect", unit="videos"),
    Field("estimate", "DOUBLE", "Estimated number of videos; null without a shared one", "collect", unit="videos"),
    Field("estimate_low", "DOUBLE", "Lower 95 % limit of the number of videos", "collect", unit="videos"),
    Field("estimate_high", "DOUBLE", "Upper 95 % limit; null without a shared video", "collect", unit="videos"),
    Field("hour_p_value", "DOUBLE", "p-value of equal probability by hour of upload (ratio, 0 to 1)", "collect"),
    Field("region_p_value", "DOUBLE", "p-value of equal probability by region (ratio, 0 to 1)", "collect"),
    Field("length_p_value", "DOUBLE", "p-value of equal probability by length (ratio, 0 to 1)", "collect"),
)
"""Columns of raw/population: one row per run of random draws. `day` is the UTC day of publication of the videos."""

ENTITIES_OF_ACCOUNTS = tuple(
    name for name, entity in ENTITIES.items() if entity.time_axis == "observation" and name != "playlists"
)
"""Entities whose units are accounts."""

ALL_STUDIES = "__all__"
"""Study of the rows that belong to no single study; no study can have this name."""

VERIFIED_TABLES = {"verified_videos": "videos", "verified_comments": "comments"}
"""Raw tables of verified ids, with the raw tables whose ids they have."""

WRITTEN_BY_BUILDS = ("expected_units", "population", "requests", *VERIFIED_TABLES, "withdrawals")
"""Raw tables that each build updates: from the studies, the ledger, the random draws, and the files of verification."""


def table_columns(entity: Entity) -> tuple[Field, ...]:
    """Return the columns of the raw table of an entity in order: API fields, request context, capture columns."""
    return (*entity.fields, *entity.context, *CAPTURE_COLUMNS)


def raw_tables() -> dict[str, tuple[Field, ...]]:
    """Return the columns of every raw table by name, without `study` and `day`, which are folder names."""
    tables = {name: table_columns(entity) for name, entity in ENTITIES.items()}
    return tables | {
        "coverage": COVERAGE,
        "expected_units": EXPECTED_UNITS,
        "population": POPULATION,
        "rejected": REJECTED,
        "requests": REQUESTS,
        **dict.fromkeys(VERIFIED_TABLES, VERIFIED),
        "withdrawals": WITHDRAWALS,
    }


def column_definitions(columns: Iterable[Field]) -> str:
    """Return the columns as SQL: `"id" BIGINT, "text" VARCHAR`."""
    return ", ".join(f'"{column.name}" {column.type}' for column in columns)
