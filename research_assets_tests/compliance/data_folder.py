"""A data folder with everything that a study leaves behind, from the real collector, build, report and export.

Two studies share their videos, so that an item is in the captures of both.
"""

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import orjson
import zstandard

from research_assets.alerts import append_alert
from research_assets.clock import week_of
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
from research_assets_tests.collect.harness import CollectorHarness, days, study

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
    )
    for name in ("garden", "kitchen")
)
assert set(STUDIES[0].panel) <= set(PANEL)


async def collect_data(settings: Settings) -> CollectorHarness:
    """Collect a day and a week of both studies, and a third day whose search is left open."""
    harness = CollectorHarness(settings, SandboxConfig())
    week = week_of(harness.clock.now().date())
    for spec in STUDIES:
        await harness.collect("videos", days(2), spec)
        await harness.collect("comments", days(2), spec)
        for entity in LISTS:
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

        @dg.asset
        def quoting() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(metadata={"example": " ".join(texts), "table": dg.MetadataValue.md(texts[0])})

        assert dg.materialize([quoting], instance=instance).success
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
    raw = path.read_bytes()
    yield raw
    if path.suffix == ".zst":
        yield zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
    elif path.suffix in (".parquet", ".duckdb"):
        for source in _sources(db, path):
            yield "\n".join(map(repr, db.execute(f"SELECT * FROM {source}").fetchall())).encode()
        if path.suffix == ".duckdb":
            db.execute("DETACH DATABASE IF EXISTS file")
    elif raw.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as lite:
            yield "\n".join(lite.iterdump()).encode()


def _sources(db: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return [f"read_parquet({sql_literal(path)}, hive_partitioning = false)"]
    if path.name == "scratch.duckdb":
        return []
    db.execute(f"ATTACH {sql_literal(path)} AS file (READ_ONLY)")
    return [
        f"file.{sql_identifier(schema)}.{sql_identifier(table)}"
        for schema, table in db.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'file'"
        ).fetchall()
    ]


def find(root: Path, texts: tuple[str, ...]) -> list[str]:
    """Return the files that contain one of some texts, without the log of withdrawals."""
    found = set()
    for path, content in contents(root):
        for text in texts:
            if text.encode() in content and path.name != "withdrawals.jsonl":
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
