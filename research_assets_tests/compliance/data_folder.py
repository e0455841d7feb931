"""A data folder with everything that a study leaves behind, from the real collector, build, report and export.

Two studies share their videos, so that an item is in the captures of both.
"""

import hashlib
import io
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import httpx
import orjson
import zstandard

from research_assets.alerts import append_alert
from research_assets.clock import week_of
from research_assets.compliance.verification.raw_tables import write_verification_tables
from research_assets.export import FORMATS, ExportRequest
from research_assets.export.build import export
from research_assets.planning.expected_units import write_expected_units, write_request_log
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.world.accounts import PANEL
from research_assets.settings import Settings
from research_assets.storage.raw_sql import sql_identifier, sql_literal
from research_assets.storage.raw_writer import ensure_tables
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.warehouse import build
from research_assets_tests.collect.harness import (
    CollectorHarness,
    TamperingTransport,
    change_data,
    days,
    study,
)

QUERY = {
    "and": (
        {"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]},
        {"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},
    )
}
LISTS = ("users", "following", "liked_videos", "reposted_videos", "pinned_videos")
STUDIES: tuple[StudySpec, ...] = tuple(
    study(
        name,
        query=QUERY,
        panel=("sandbox_beet", "sandbox_balkon", "sandbox_likes"),
        comments=CommentRule(videos="top", n=3),
        users=UserRule(who="panel"),
        playlists=True,
    )
    for name in ("garden", "kitchen")
)
assert set(STUDIES[0].panel) <= set(PANEL)


def mark(identifier: object) -> str:
    """Return a word that only the text of the video or comment with this id contains, and that does not contain it."""
    return f"mark{hashlib.sha256(str(identifier).encode()).hexdigest()[:16]}"


def mark_texts(_: httpx.Request, response: httpx.Response) -> httpx.Response | None:
    """Return a response in which the text of each video and comment ends with its mark."""
    data = orjson.loads(response.content).get("data") or {}
    marked = {
        key: [row | {name: f"{row.get(name) or ''} {mark(row['id'])}"} for row in data[key]]
        for key, name in (("videos", "video_description"), ("comments", "text"))
        if data.get(key)
    }
    return change_data(response, **marked) if marked else None


async def collect_data(settings: Settings) -> CollectorHarness:
    """Collect a day and a week of both studies, and a third day whose search is left open."""
    harness = CollectorHarness(settings, SandboxConfig())
    transport = TamperingTransport(harness, mark_texts)
    week = week_of(harness.clock.now().date())
    for spec in STUDIES:
        await harness.collect("videos", days(2), spec, transport=transport)
        await harness.collect("comments", days(2), spec, transport=transport)
        for entity in (*LISTS, "playlists"):
            await harness.collect(entity, [week], spec)
    return harness


def build_marts(harness: CollectorHarness, settings: Settings, *, plan: bool = True) -> None:
    """Build the whole warehouse, as the asset does; without `plan` from the raw tables as they are."""
    now = harness.clock.now()
    with build.build_lock(settings):
        ensure_tables(settings.raw)
        if plan:
            write_expected_units(settings.raw, STUDIES, now)
            write_request_log(settings.raw, harness.ledger)
            write_verification_tables(settings)
        build_input, results = build.build_warehouse(settings, now=now, progress=lambda *_: None, full_refresh=True)
        assert not [result for result in results if result.failed]
        build.publish_warehouse(settings, build_input)


def write_results(harness: CollectorHarness, settings: Settings, texts: tuple[str, ...]) -> None:
    """Write exports, alerts, and a Dagster home whose event log and compute logs quote some texts."""
    now = harness.clock.now()
    for request in (
        ExportRequest(formats=FORMATS),
        ExportRequest(pseudonymous=True),
        ExportRequest(ids_only=True),
        ExportRequest(marts=("quota_usage",)),
    ):
        export(settings, request, STUDIES, now)
    append_alert(settings, {"message": f"1 units are open, for example {texts[0]}: HTTP 500", "kind": "run"})
    append_alert(settings, {"message": "nothing about a person", "kind": "run"})
    settings.ui_log.write_text(f"collecting {texts[0]}\nother\n")
    settings.dagster_home.mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(settings.dagster_home)) as instance:

        @dg.asset(config_schema={"note": str})
        def quoting() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(metadata={"example": " ".join(texts), "table": dg.MetadataValue.md(texts[0])})

        @dg.asset
        def failing(context: dg.AssetExecutionContext) -> None:
            context.log.warning(f"@{texts[0]} did not answer")
            raise ValueError(f"no answer for {texts[0]}, video {texts[-1]}")

        config = {"ops": {"quoting": {"config": {"note": f"wants {texts[0]} and {texts[-1]}"}}}}
        assert dg.materialize([quoting], instance=instance, run_config=config, tags={"about": texts[0]}).success
        assert not dg.materialize([failing], instance=instance, raise_on_error=False).success
    logs = settings.dagster_home / "storage" / "run" / "compute_logs"
    logs.mkdir(parents=True)
    (logs / "step.err").write_text(f"INFO {texts[0]} and video {texts[-1]}\n")


@dataclass(frozen=True, slots=True)
class Folder:
    """A collected data folder, its harness, and the bytes and rows of its files."""

    harness: CollectorHarness
    settings: Settings

    def copy(self, root: Path) -> "Folder":
        """Return a copy in another root."""
        shutil.copytree(self.settings.root, root)
        return Folder(self.harness, replace(self.settings, root=root))


def digests(settings: Settings) -> dict[str, bytes]:
    """Return the content of every file of a data folder that a removal may not change without a reason."""
    return {
        str(path.relative_to(settings.root)): path.read_bytes()
        for path in sorted(settings.root.rglob("*"))
        if path.is_file() and "/locks/" not in str(path)
    }


def marts(settings: Settings) -> dict[str, list[Any]]:
    """Return the rows of every mart."""
    with duckdb.connect() as db:
        db.execute(f"ATTACH {sql_literal(settings.warehouse)} AS file (READ_ONLY)")
        tables = db.execute("SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name='file'").fetchall()
        return {
            table: sorted(map(repr, db.execute(f"SELECT * FROM file.{schema}.{sql_identifier(table)}").fetchall()))
            for schema, table in tables
        }


def contents(root: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the bytes of every file, and what they hold once decompressed or read as a table."""
    with duckdb.connect() as db:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            if path.name.endswith(("-shm", "-wal")) and not path.exists():
                continue  # SQLite removes these files when the database is read and closed.
            yield from ((path, content) for content in _forms(db, path))


def _forms(db: duckdb.DuckDBPyConnection, path: Path) -> Iterator[bytes]:
    """Yield the content of a file, and what it is by its first bytes, which drafts and copies have as well."""
    raw = path.read_bytes()
    yield raw
    if raw.startswith(b"\x28\xb5\x2f\xfd"):
        yield zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
    elif raw.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif raw.startswith(b"PAR1"):
        digest = hashlib.sha256(raw).digest()
        if digest not in _parquet_rows:
            _parquet_rows[digest] = _rows(db, f"read_parquet({sql_literal(path)}, hive_partitioning = false)")
        yield _parquet_rows[digest]
    elif raw[8:12] == b"DUCK":
        db.execute(f"ATTACH {sql_literal(path)} AS file (READ_ONLY)")
        tables = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'file'"
        for schema, table in db.execute(tables).fetchall():
            yield _rows(db, f"file.{sql_identifier(schema)}.{sql_identifier(table)}")
        db.execute("DETACH file")
    elif raw.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as lite:
            yield "\n".join(lite.iterdump()).encode()


_WORD = re.compile(r"\w+", re.ASCII)

_parquet_rows: dict[bytes, bytes] = {}
"""Rows of the Parquet files that were read, by the digest of the file: most are the same in each copy of a folder."""


def _rows(db: duckdb.DuckDBPyConnection, source: str) -> bytes:
    return "\n".join(map(repr, db.execute(f"SELECT * FROM {source}").fetchall())).encode()


def find(root: Path, texts: tuple[str, ...]) -> list[str]:
    """Return the files that contain one of some texts, without the log of withdrawals."""
    # A text of word characters lies within one word. The different words of a file are a small part of its bytes.
    words = re.compile(rb"\w{%d,}" % min(map(len, texts), default=1))
    found = set()
    for path, content in contents(root):
        if path.name != "withdrawals.jsonl":
            of_words = b"\n".join(set(words.findall(content)))
            for text in texts:
                if text.encode() in (of_words if _WORD.fullmatch(text) else content):
                    found.add(f"{path.relative_to(root)}: {text}")
    return sorted(found)


def records(settings: Settings, entity: str) -> Iterator[Mapping[str, Any]]:
    """Yield the records in the sealed captures of an entity."""
    for path in sorted(settings.captures.glob(f"{entity}/*/*/*.zst")):
        text = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
        for line in text.splitlines():
            event = orjson.loads(line)
            if event["event"] == "page":
                data = event["answer"]["data"]
                for value in [data, *data.values()]:
                    yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()
