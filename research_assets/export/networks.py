"""Networks of an export: follows, mentions, shared sounds and hashtags, pairs of hashtags, and shares for CooRTweet.

Each study has networks of its own, because an edge counts the videos of one study. A network contains the nodes of its
edges and no other nodes. An edge of videos lists them with their times, so that a removal of data can take one video
out of it (see network_rewriting.py). Networks are queried from the columns of a mart after the treatment of a
pseudonymous export. Not here: the file formats (see network_files.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from research_assets.export import columns
from research_assets.export.network_files import (
    Attribute,
    NetworkTables,
    write_coortweet,
    write_gephi,
    write_gexf,
    write_graphml,
)
from research_assets.export.request import (
    ExportedFile,
    ExportError,
    ExportRequest,
    MartSelection,
)
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.text import file_name
from research_assets.warehouse.reader import Mart, filter_condition

MAX_EDGES = 200_000
"""Maximum number of edges of a GraphML or GEXF file, which is created in memory: 1.2 GB for as many."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network: its name, the mart that must be selected, and the mart and the columns from which it is read.

    `uses` is the SQL of its uses, with the columns `source`, `target`, `content` (id of the video; null for follows),
    `sec` (Unix seconds) and those of `edge_attributes`; `{rows}` is the selected part of the mart. An edge combines
    the uses with the same ends. `ends` are the names of its ends in the marts, by which a removal finds accounts.
    """

    name: str
    selected_by: str
    read_from: str
    columns: tuple[str, ...]
    uses: str
    ends: tuple[str, str]
    kinds: tuple[str, str]
    description: str
    is_directed: bool = False
    edge_attributes: tuple[Attribute, ...] = ()

    @property
    def is_of_videos(self) -> bool:
        """Return whether an edge counts videos."""
        return self.read_from != "follows"


_AT = "epoch(created_at)::BIGINT"
_FOLLOWS = "follow_network"

NETWORKS: tuple[Network, ...] = (
    Network(
        _FOLLOWS,
        "follows",
        "follows",
        (
            *("source_username", "target_username", "first_seen_at", "last_seen_at"),
            *("is_current", "is_mutual", "is_left_censored"),
        ),
        "SELECT source_username AS source, target_username AS target, NULL::VARCHAR AS content, NULL::BIGINT AS sec, "
        "epoch(first_seen_at)::BIGINT AS first_second, epoch(last_seen_at)::BIGINT AS last_second, is_current, "
        "is_mutual, is_left_censored FROM {rows}",
        ("source_username", "target_username"),
        ("account", "account"),
        "who follows whom: from the follower to the followed account, from its first to its last observation",
        is_directed=True,
        edge_attributes=(
            Attribute("is_current", "BOOLEAN"),
            Attribute("is_mutual", "BOOLEAN"),
            Attribute("is_left_censored", "BOOLEAN"),
        ),
    ),
    Network(
        "mention_network",
        "mentions",
        "mentions",
        ("username", "mentioned_username", "video_id", "comment_id", "is_handle", "created_at"),
        f"SELECT DISTINCT username AS source, mentioned_username AS target, video_id::VARCHAR AS content, {_AT} AS sec "
        # The API does not return the authors of comments, and a display name is no account.
        "FROM {rows} WHERE comment_id IS NULL AND is_handle",
        ("username", "mentioned_username"),
        ("account", "account"),
        "who mentions whom in captions: from the creator to the mentioned handle, weighted by videos",
        is_directed=True,
    ),
    Network(
        "sound_network",
        "videos",
        "videos",
        ("username", "music_id", "video_id", "created_at"),
        "SELECT username AS source, 'music:' || music_id AS target, video_id::VARCHAR AS content, "
        f"{_AT} AS sec FROM {{rows}}",
        ("username", "sound"),
        ("account", "sound"),
        "shared sounds (two-mode): a creator and a sound, weighted by videos",
    ),
    Network(
        "hashtag_network",
        "videos",
        "videos",
        ("username", "hashtags", "video_id", "created_at"),
        "SELECT DISTINCT username AS source, '#' || unnest(hashtags) AS target, video_id::VARCHAR AS content, "
        f"{_AT} AS sec FROM {{rows}}",
        ("username", "hashtag"),
        ("account", "hashtag"),
        "shared hashtags (two-mode): a creator and a hashtag, weighted by videos",
    ),
    Network(
        "hashtag_pair_network",
        "hashtag_pairs",
        "videos",
        ("hashtags", "video_id", "created_at"),
        "SELECT one.hashtag AS source, other.hashtag AS target, one.content, one.sec FROM tagged AS one JOIN tagged AS "
        "other ON one.content = other.content AND one.hashtag < other.hashtag",
        ("hashtag", "other_hashtag"),
        ("hashtag", "hashtag"),
        "pairs of hashtags: two hashtags of the same video, weighted by videos",
    ),
)
"""The networks of an export, by the order of their files."""

_TAGGED = (
    f"SELECT DISTINCT video_id::VARCHAR AS content, {_AT} AS sec, '#' || unnest(hashtags) AS hashtag FROM {{rows}}"
)

_LINK = r"(?i)https?://[^\s<>\"'\[\]]*[^\s<>\"'\[\]().,;:!?]"
_SHARES: Mapping[str, tuple[str, str, tuple[str, ...], str]] = {
    "sounds": ("videos", "videos", ("music_id",), "'music:' || music_id"),
    "hashtags": ("videos", "videos", ("hashtags",), "'#' || unnest(hashtags)"),
    "mentions": ("mentions", "mentions", ("mentioned_username", "comment_id", "is_handle"), "mentioned_username"),
    "links": ("videos", "videos", ("description",), f"unnest(regexp_extract_all(description, {sql_literal(_LINK)}))"),
}
"""Shares for CooRTweet: the selected mart, the mart that is read, its columns, and the SQL of the shared object."""


def write_networks(
    connection: duckdb.DuckDBPyConnection,
    selections: Sequence[MartSelection],
    marts: Mapping[str, Mart],
    request: ExportRequest,
    studies: Sequence[str],
    build: Path,
    *,
    simulated: bool,
) -> list[ExportedFile]:
    """Write the networks of each study in the network formats of a request, and return the files.

    A network is written if its mart is selected; one without edges is not. Raise ExportError if a network is too large
    for a format.
    """
    formats = list(request.network_formats)
    selected = {one.mart.name: one for one in selections}
    written: list[ExportedFile] = []
    for study in studies if formats else ():
        for network in NETWORKS if formats != ["coortweet"] else ():
            if network.selected_by in selected and _has_columns(marts, network.read_from, network.columns):
                tables = _tables(connection, network, marts, request, study, simulated=simulated)
                written += _write_network(connection, tables, formats, study, build)
        if "coortweet" in formats:
            written += _write_shares(connection, selected, marts, request, study, build, simulated=simulated)
    return written


def _has_columns(marts: Mapping[str, Mart], name: str, needed: Sequence[str]) -> bool:
    return name in marts and {"study", *needed} <= set(marts[name].names)


def _rows_sql(marts: Mapping[str, Mart], name: str, needed: Sequence[str], request: ExportRequest, study: str) -> str:
    """Return the query of the selected rows of one study of a mart, with its treated columns."""
    mart = marts[name]
    # Rows of a mart without days are those of all days, as its selection says.
    days = (request.first, request.last) if mart.day_column is not None else (None, None)
    exported = columns.export_columns(mart, pseudonymous=request.pseudonymous, simulated=False)
    expressions = [f"{one.sql} AS {sql_identifier(one.name)}" for one in exported if one.name in needed]
    missing = [f"NULL AS {sql_identifier(one)}" for one in needed if one not in {column.name for column in exported}]
    where = filter_condition(mart, (study,), *days)
    return f"(SELECT {', '.join([*expressions, *missing])} FROM {sql_identifier(name)} WHERE {where})"


_ACCOUNT_ATTRIBUTES = (
    Attribute("is_verified", "BOOLEAN"),
    Attribute("follower_count", "BIGINT"),
    Attribute("following_count", "BIGINT"),
    Attribute("video_count", "BIGINT"),
)
"""Values of the profile, for the accounts of the network of follows."""


def _tables(
    connection: duckdb.DuckDBPyConnection,
    network: Network,
    marts: Mapping[str, Mart],
    request: ExportRequest,
    study: str,
    *,
    simulated: bool,
) -> NetworkTables:
    """Create the temporary tables `edges` and `nodes` of a network."""
    rows = _rows_sql(marts, network.read_from, network.columns, request, study)
    tagged = f"WITH tagged AS ({_TAGGED.format(rows=rows)}) " if "tagged" in network.uses else ""
    uses = tagged + network.uses.format(rows=rows)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE uses AS SELECT * FROM ({uses}) WHERE source <> '' AND target <> ''"
    )
    if network.is_of_videos:
        contents = "string_agg(content || '@' || coalesce(sec::VARCHAR, ''), ' ' ORDER BY sec, content)"
        edge = f"count(*) AS weight, min(sec) AS first_second, max(sec) AS last_second, {contents} AS contents"
        node = "count(DISTINCT content) AS n_videos, min(sec) AS first_second, max(sec) AS last_second"
    else:
        edge = "1 AS weight, min(first_second) AS first_second, max(last_second) AS last_second"
        node = "min(first_second) AS first_second, max(last_second) AS last_second"
    more = "".join(f", any_value({one.name}) AS {one.name}" for one in network.edge_attributes)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE edges AS SELECT source, target, {edge}{more} FROM uses GROUP BY source, target "
        "ORDER BY source, target"
    )
    ends = " UNION ALL ".join(
        f"SELECT {end} AS id, {sql_literal(kind)} AS kind, * EXCLUDE (source, target) FROM uses"
        for end, kind in zip(("source", "target"), network.kinds, strict=True)
    )
    nodes = f"SELECT id, any_value(kind) AS kind, {node} FROM ({ends}) GROUP BY id"
    node_attributes: tuple[Attribute, ...] = ()
    needed = ("username", *(one.name for one in _ACCOUNT_ATTRIBUTES))
    if network.name == _FOLLOWS and _has_columns(marts, "users", needed):
        node_attributes = _ACCOUNT_ATTRIBUTES
        profiles = _rows_sql(marts, "users", needed, request, study)
        nodes = f"SELECT * FROM ({nodes}) LEFT JOIN {profiles} AS users ON id = users.username"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE nodes AS SELECT * FROM ({nodes}) ORDER BY id")
    return NetworkTables(
        network.name,
        study,
        network.kinds,
        is_directed=network.is_directed,
        has_contents=network.is_of_videos,
        edge_attributes=network.edge_attributes,
        node_attributes=node_attributes,
        simulated=simulated,
    )


def _write_network(
    connection: duckdb.DuckDBPyConnection, tables: NetworkTables, formats: Sequence[str], study: str, build: Path
) -> Iterator[ExportedFile]:
    ((n_edges,),) = connection.execute("SELECT count(*) FROM edges").fetchall()
    if not n_edges:
        return
    for file_format in formats:
        if file_format == "coortweet":
            continue
        folder = _study_folder(build / file_format, study)
        if file_format == "gephi":
            for kind, path, rows in write_gephi(connection, tables, folder):
                yield ExportedFile.of(build, path, f"{tables.name}{kind}", file_format, rows)
            continue
        if n_edges > MAX_EDGES:
            raise ExportError(
                f"The {tables.name} of the study {study} has {n_edges:,} edges, too many for {file_format}: the limit "
                f"is {MAX_EDGES:,}, because the file is created in memory. Nothing was exported. Request fewer days, "
                "or the format gephi or parquet, which have no limit."
            )
        path = folder / f"{tables.name}.{file_format}"
        (write_graphml if file_format == "graphml" else write_gexf)(connection, tables, path)
        yield ExportedFile.of(build, path, tables.name, file_format, n_edges)


def _write_shares(
    connection: duckdb.DuckDBPyConnection,
    selected: Mapping[str, MartSelection],
    marts: Mapping[str, Mart],
    request: ExportRequest,
    study: str,
    build: Path,
    *,
    simulated: bool,
) -> Iterator[ExportedFile]:
    for name, (selected_by, read_from, own, shared) in _SHARES.items():
        needed = ("username", "video_id", "created_at", *own)
        # A pseudonymous export has no links.
        if selected_by not in selected or not _has_columns(marts, read_from, needed):
            continue
        if name == "links" and request.pseudonymous:
            continue
        rows = _rows_sql(marts, read_from, needed, request, study)
        where = "WHERE comment_id IS NULL AND is_handle" if read_from == "mentions" else ""
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE shares AS SELECT DISTINCT * FROM (SELECT "
            f"{shared} AS object_id, username AS account_id, video_id::VARCHAR AS content_id, {_AT} AS timestamp_share "
            f"FROM {rows} {where}) WHERE object_id <> '' AND account_id <> '' AND timestamp_share IS NOT NULL "
            "ORDER BY object_id, timestamp_share, content_id"
        )
        ((n_rows,),) = connection.execute("SELECT count(*) FROM shares").fetchall()
        if n_rows:
            path = _study_folder(build / "coortweet", study) / f"shared_{name}.csv"
            rows_written = write_coortweet(connection, study, path, simulated=simulated)
            yield ExportedFile.of(build, path, f"shared_{name}", "coortweet", rows_written)


def _study_folder(folder: Path, study: str) -> Path:
    """Return the folder of a study in the folder of a format; it is created if it does not exist."""
    path = folder / file_name(study)
    for one in (folder, path):
        one.mkdir(mode=0o700, exist_ok=True)
    return path
