"""Files that a user put into the data folder are searched in every format, and named if they cannot be."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyreadstat
import pytest
import zstandard

from research_assets.compliance.exported_rows import item_rule
from research_assets.compliance.foreign_files import search_file
from research_assets.compliance.forget import preview_removal, remove_folder, remove_items
from research_assets.compliance.other_files import NotRewritten, clean_json_text, clean_sqlite, name_contains
from research_assets.compliance.whole_folders import EVERYTHING
from research_assets.export.pseudonyms import load_or_create_key as load_export_key
from research_assets.export.pseudonyms import make_pseudonymizer
from research_assets.settings import Settings
from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.withdrawals import Withdrawn, hash_handle
from research_assets.storage.withheld import Cleaner
from research_assets.warehouse.changes import BuildInput, write_record

VIDEO, OTHER = 7602399228894800784, 7602399228894800785
KEY = b"k" * 32
CLEANER = Cleaner(Withdrawn(frozenset([VIDEO]), frozenset(), frozenset([hash_handle(KEY, "anna.k")]), KEY))
NOW = datetime(2026, 6, 2, tzinfo=UTC)


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def tarred(content: bytes, mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        entry = tarfile.TarInfo("notes.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def stata(text: str) -> bytes:
    file = io.BytesIO()
    pd.DataFrame({"note": [text.ljust(24)], "id": [str(VIDEO if str(VIDEO) in text else OTHER)]}).to_stata(
        file, write_index=False, version=118
    )
    return file.getvalue()


def sav(text: str) -> bytes:
    frame = pd.DataFrame({"note": pd.Series([text], dtype=object)})
    with tempfile.TemporaryDirectory() as folder:
        pyreadstat.write_sav(frame, f"{folder}/a.sav")
        return Path(folder, "a.sav").read_bytes()


FORMATS: dict[str, Callable[[str], bytes]] = {
    "a.zip": lambda text: zipped("notes.txt", text.encode()),
    "a.xlsx": lambda text: zipped("xl/sharedStrings.xml", f"<t>{text}</t>".encode()),
    "a.docx": lambda text: zipped("word/document.xml", f"<w:t>{text}</w:t>".encode()),
    "in_name.zip": lambda text: zipped(f"{text}/notes.txt", b"x"),
    "nested.zip": lambda text: zipped("a.tar.gz", tarred(text.encode(), "w:gz")),
    "a.gz": lambda text: gzip.compress(text.encode()),
    "a.csv.bz2": lambda text: bz2.compress(text.encode()),
    "a.xz": lambda text: lzma.compress(text.encode()),
    "a.jsonl.zst": lambda text: zstandard.compress(text.encode()),
    "a.tar": lambda text: tarred(text.encode()),
    "a.tar.gz": lambda text: tarred(text.encode(), "w:gz"),
    "a.dta": stata,
    "a.sav": sav,
    "utf16.txt": lambda text: text.encode("utf-16"),
    "latin1.txt": lambda text: f"für {text}".encode("latin-1"),
    "binary.bin": lambda text: b"\0\1\2" + text.encode() + b"\0",
    "no_bom.txt": lambda text: text.encode("utf-16-le"),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", [f"see {VIDEO}", "see anna.k", "see @anna.k"])
def test_item_is_found_in_every_format(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](text))
    assert search_file(path, CLEANER) == "contains"


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("binary.bin", "no_bom.txt")])
def test_file_without_an_item_is_clean(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](f"see {OTHER}"))
    assert search_file(path, CLEANER) == "clean"


def encrypted_zip() -> bytes:
    content = bytearray(zipped("notes.txt", b"text"))
    for at in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[at] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("object.z", zlib.compress(b"see anna.k and 7602399228894800784", 9)),
        ("short.pdf", b"%PDF-1.4\nBT [(ann)-20(a.k)] TJ ET\n%%EOF"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c\0\4"),
        ("model.pkl", pickle.dumps({"ids": [OTHER], "none": b"\0"})),
        ("locked.zip", encrypted_zip()),
        ("damaged.zip", zipped("a", b"b" * 100)[:60]),
        ("damaged.gz", gzip.compress(b"text")[:-4]),
        ("picture.zip", zipped("picture.png", b"\x89PNG\0")),
        ("damaged.parquet", b"PAR1" + b"\0" * 50),
        ("old.dta", b"r\2\1\0" + b"\0" * 200),
        ("damaged.duckdb", b"\0" * 8 + b"DUCK" + b"\0" * 100),
    ],
    # Archives contain the time at which they were made.
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_format_that_cannot_be_searched_is_unknown(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert search_file(path, CLEANER) == "unknown"


@pytest.mark.parametrize(("video", "verdict"), [(VIDEO, "contains"), (OTHER, "clean")])
def test_tables_are_searched_by_value(tmp_path: Path, video: int, verdict: str) -> None:
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT {video} AS video_id, 'x' AS t) TO {sql_literal(tmp_path / 'a.parquet')} (FORMAT parquet)"
        )
    with duckdb.connect(str(tmp_path / "copy.duckdb")) as db:
        db.execute(f"CREATE TABLE mine AS SELECT {video} AS video_id, 'x' AS t")
    assert search_file(tmp_path / "a.parquet", CLEANER) == verdict
    assert search_file(tmp_path / "copy.duckdb", CLEANER) == verdict


@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        (f"{VIDEO} AS v", "contains"),
        (f'{VIDEO}::UBIGINT AS "Video ID"', "contains"),
        (f"{VIDEO}::DECIMAL(20, 0) AS v", "contains"),
        ("'Anna.K' AS Author", "contains"),
        ("'anna.k' AS v", "contains"),
        ('1 AS "anna.k"', "contains"),
        (f"{{'a': [{VIDEO}]}} AS v", "contains"),
        (f"MAP {{'{VIDEO}': 1}} AS v", "contains"),
        ("'see anna.k'::BLOB AS v", "contains"),
        ("'anna.k'::ENUM('anna.k') AS v", "contains"),
        ("'garden' AS creator", "contains"),
        ("'garden' AS study", "clean"),
        (f"{OTHER} AS v, 'annak' AS author, [1.5, NULL] AS l, now() AS t", "clean"),
    ],
)
def test_columns_of_a_users_table_may_have_any_name(tmp_path: Path, columns: str, verdict: str) -> None:
    cleaner = Cleaner(replace(CLEANER.withdrawn, accounts=CLEANER.withdrawn.accounts | {hash_handle(KEY, "garden")}))
    with duckdb.connect() as db:
        db.execute(f"COPY (SELECT {columns}) TO {sql_literal(tmp_path / 'a.pq')} (FORMAT parquet)")
    with duckdb.connect(str(tmp_path / "copy.duckdb")) as db:
        db.execute(f"CREATE TABLE mine AS SELECT {columns}")
    assert search_file(tmp_path / "a.pq", cleaner) == verdict
    assert search_file(tmp_path / "copy.duckdb", cleaner) == verdict


def test_unit_of_measurement_is_no_account() -> None:
    cleaner = Cleaner(replace(CLEANER.withdrawn, accounts=frozenset([hash_handle(KEY, "videos")])))
    assert item_rule(cleaner, ("mart", "column", "unit"))(("creators", "n_videos", "videos")) == {}
    assert item_rule(cleaner, ("entity", "unit"))(("users", "videos")) is None


def test_view_that_names_an_item_is_found(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "a.duckdb")) as db:
        db.execute("CREATE VIEW mine AS SELECT 1 AS n WHERE 'anna.k' <> ''")
    assert search_file(tmp_path / "a.duckdb", CLEANER) == "contains"


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine (who VARCHAR DEFAULT 'anna.k')",
        "CREATE TYPE mine AS ENUM ('anna.k', 'b')",
        "CREATE MACRO mine() AS 'anna.k'",
        "CREATE TABLE mine (n INTEGER); COMMENT ON TABLE mine IS 'as anna.k says'",
        "CREATE TABLE mine (n INTEGER); COMMENT ON COLUMN mine.n IS 'as anna.k says'",
    ],
)
def test_definition_that_names_an_item_is_found(tmp_path: Path, sql: str) -> None:
    with duckdb.connect(str(tmp_path / "a.duckdb")) as db:
        db.execute(sql)
    assert search_file(tmp_path / "a.duckdb", CLEANER) == "contains"
    # The same definitions without the item are searched, not refused.
    assert search_file(tmp_path / "a.duckdb", Cleaner(replace(CLEANER.withdrawn, accounts=frozenset()))) == "clean"


def test_metadata_of_a_parquet_file_are_searched(tmp_path: Path) -> None:
    folder = tmp_path / "anna.k"
    folder.mkdir()
    for author, verdict in (("anna.k", "contains"), ("ben.k", "clean")):
        path = folder / f"{verdict}.parquet"
        with duckdb.connect() as db:
            db.execute(
                f"COPY (SELECT 1 AS n) TO {sql_literal(path)} (FORMAT parquet, KV_METADATA {{author: '{author}'}})"
            )
        assert search_file(path, CLEANER) == verdict


def test_row_of_an_item_leaves_a_users_sqlite_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE v (video INTEGER PRIMARY KEY, note TEXT UNIQUE)")
        rows = [(VIDEO, "their words"), (OTHER, "of @anna.k"), (3, "anna.k"), (4, "of @Anna.K"), (5, "other")]
        db.executemany("INSERT INTO v VALUES (?, ?)", rows)
        db.commit()
    assert clean_sqlite(path, CLEANER, apply=False, is_foreign=True) == 4
    assert clean_sqlite(path, CLEANER, apply=True, is_foreign=True) == 4
    with closing(sqlite3.connect(path)) as db:
        # Two notes became the same text in a column that is unique.
        assert db.execute("SELECT note FROM v ORDER BY note").fetchall() == [("of [withdrawn]",), ("other",)]
    assert b"their words" not in path.read_bytes()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (a TEXT PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES ('anna.k')",
        "CREATE TABLE t (a BLOB); INSERT INTO t VALUES (CAST('see anna.k' AS BLOB))",
        "CREATE VIEW t AS SELECT 'anna.k' AS a",
        'CREATE TABLE t ("anna.k" INT)',
    ],
)
def test_item_that_cannot_be_removed_from_a_sqlite_file_is_reported(tmp_path: Path, sql: str) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as db:
        db.executescript(sql)
    with pytest.raises(NotRewritten, match="contains an item in "):
        clean_sqlite(tmp_path / "a.sqlite", CLEANER, apply=True, is_foreign=True)


def test_object_of_an_item_leaves_a_users_json_file() -> None:
    records = [{"id": VIDEO, "text": "their words"}, {"by": "anna.k", "n": 1}, {"by": "b", "text": "see\n@anna.k"}]
    expected = [{"by": "b", "text": "see\n[withdrawn]"}]
    assert json.loads(clean_json_text(json.dumps(records), CLEANER, is_foreign=True)) == expected
    lines = "".join(json.dumps(one) + "\n" for one in records)
    assert clean_json_text(lines, CLEANER, is_foreign=True) == json.dumps(expected[0]) + "\n"
    by_id = {str(VIDEO): {"text": "their words"}, "other": {"id": VIDEO}}
    assert json.loads(clean_json_text(json.dumps(by_id), CLEANER, is_foreign=True)) == {"other": None}


def test_small_number_of_a_file_is_no_id() -> None:
    cleaner = Cleaner(replace(CLEANER.withdrawn, videos=frozenset([5])))
    text = json.dumps({"n": 5, "l": [5], "t": "5"})
    assert clean_json_text(text, cleaner) == clean_json_text(text, cleaner, is_foreign=True) == text


@pytest.mark.parametrize(
    ("name", "contains"),
    [
        ("my/anna.k/a.csv", True),
        ("my/plot_anna.k.png", True),
        (f"v{VIDEO}.mp4", True),
        ("user-anna.k-2.tar.gz", True),
        ("annak.csv", False),
        ("annai.k/anna.csv", False),
        (f"{OTHER}.mp4", False),
    ],
)
def test_names_of_files_are_searched(name: str, contains: bool) -> None:
    assert name_contains(Path(name), CLEANER) is contains


def test_copies_of_databases_and_of_pseudonymous_exports_are_no_files_of_the_project(tmp_path: Path) -> None:
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path / "data")})
    pseudonym = make_pseudonymizer(load_export_key(settings.export_key))("video", str(VIDEO))
    with duckdb.connect(str(settings.root / "warehouse.duckdb.bak")) as db:
        db.execute(f"CREATE TABLE videos AS SELECT {VIDEO} AS video_id")
    (settings.root / "copy").mkdir()
    with duckdb.connect() as db:
        target = sql_literal(settings.root / "copy" / "videos.parquet")
        db.execute(f"COPY (SELECT '{pseudonym}' AS video_id) TO {target} (FORMAT parquet)")
    problems = preview_removal(settings, NOW, videos=[VIDEO]).problems
    assert [Path(one.split()[2]).name for one in problems] == ["videos.parquet", "warehouse.duckdb.bak"]


def test_removal_names_foreign_files_in_every_folder(tmp_path: Path) -> None:
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path / "data")})
    places = (
        "",
        *("captures/videos", "raw/videos", "raw", "reports", "exports", "exports/mine", "dagster/storage/model"),
        *("audits/list", "rehydrated/list", "population/captures", "state", "state/dbt", "state/verification"),
    )
    named = []
    for place in places:
        folder = settings.root / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "with.zip").write_bytes(zipped("a.txt", f"{VIDEO}".encode()))
        (folder / "without.zip").write_bytes(zipped("a.txt", f"{OTHER}".encode()))
        (folder / "picture.png").write_bytes(b"\x89PNG\0")
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1\0")
        named += [folder / "with.zip", folder / "picture.png"]
    preview = preview_removal(settings, NOW, videos=[VIDEO])
    (receipt,) = remove_items(settings, lambda: NOW, videos=[VIDEO])
    assert not receipt.is_complete
    for path in named:
        for problems in (preview.problems, receipt.problems):
            (problem,) = (one for one in problems if f"{path} " in one)
            assert ("contains an item" in problem) == (path.name == "with.zip"), problem
        assert path.exists()
    assert not [one for one in receipt.problems if "without.zip" in one or ".DS_Store" in one]
    # A folder without a manifest is no export.
    assert receipt.exports == ()
    for path in named:
        path.unlink()
    (receipt,) = remove_items(settings, lambda: NOW, videos=[VIDEO])
    assert receipt.is_complete


def test_copies_of_captures_and_raw_tables_in_their_folders_are_named(tmp_path: Path) -> None:
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path / "data")})
    event = zstandard.compress(f'{{"event": "start", "id": {VIDEO}}}\n'.encode())
    copies = [
        settings.captures / "copy.jsonl.zst",
        settings.captures / "backup" / "videos" / "study=garden" / "2026-02-01" / "copy.jsonl.zst",
        settings.raw / "backup" / "videos" / "study=garden" / "day=2026-02-01" / "copy.parquet",
    ]
    for path in copies:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".zst":
            path.write_bytes(event)
            continue
        with duckdb.connect() as db:
            db.execute(f"COPY (SELECT {VIDEO} AS id) TO {sql_literal(path)} (FORMAT parquet)")
    problems = preview_removal(settings, NOW, videos=[VIDEO]).problems
    assert sorted(one.split()[2] for one in problems) == sorted(map(str, copies))


@pytest.mark.parametrize("record", [None, "older", "same"])
def test_warehouse_with_an_item_that_the_raw_tables_lack_is_rebuilt(tmp_path: Path, record: str | None) -> None:
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path / "data")})
    settings.dbt_target.mkdir(parents=True)
    with duckdb.connect(str(settings.warehouse)) as db:
        db.execute(f"CREATE TABLE videos AS SELECT {VIDEO} AS video_id")
    if record:
        # A build from raw files; those of one that was restored from a backup may not exist any more.
        settings.warehouse.rename(settings.warehouse_build)
        present = {"videos": {"study=garden/day=2026-02-01": {"a.parquet": "1:1:1"}}} if record == "older" else {}
        of_builds = {"requests": {"study=x/day=2026-02-01": {"a.parquet": "1:1:1"}}}
        write_record(settings, BuildInput(present | of_builds, None), "")
        settings.warehouse_build.rename(settings.warehouse)
    counts = preview_removal(settings, NOW, videos=[VIDEO]).counts
    assert counts.get("warehouse") == (None if record == "same" else {"rebuilt": 1})
    assert "warehouse" not in preview_removal(settings, NOW, videos=[OTHER]).counts


def test_links_out_of_the_data_folder_are_named(tmp_path: Path) -> None:
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path / "data")})
    elsewhere = tmp_path / "elsewhere"
    for folder in (settings.root / "mine", elsewhere / "captures", elsewhere / "notes"):
        folder.mkdir(parents=True)
    for file in ("note.txt", "notes/note.txt", "captures/note.txt"):
        (elsewhere / file).write_text(f"see {VIDEO}")
    (elsewhere / "other.txt").write_text("nothing")
    (settings.root / "captures").symlink_to(elsewhere / "captures")
    for link, target in (("note.txt", "note.txt"), ("other.txt", "other.txt"), ("notes", "notes"), ("gone", "gone")):
        (settings.root / "mine" / link).symlink_to(elsewhere / target)
    (settings.root / "again").symlink_to(settings.root / "mine")
    (receipt,) = remove_items(settings, lambda: NOW, videos=[VIDEO])
    assert len(receipt.problems) == 2
    assert f"The files in {elsewhere / 'notes'}, to which the link" in receipt.problems[0]
    assert f"The file {elsewhere / 'note.txt'}, to which the link" in receipt.problems[1]
    assert (settings.root / "mine" / "note.txt").is_symlink()
    assert (elsewhere / "captures" / "note.txt").read_text() == ""


def test_removal_of_everything_reaches_folders_on_other_disks(tmp_path: Path) -> None:
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path / "data")})
    elsewhere = tmp_path / "elsewhere"
    for name in ("captures/videos", "state", "mine"):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "file.txt").write_text("x")
    settings.root.mkdir()
    (settings.root / "raw").mkdir()
    for link, target in (
        ("captures", "captures"),
        ("state", "state"),
        ("raw/videos", "captures/videos"),
        ("own", "mine"),
    ):
        (settings.root / link).symlink_to(elsewhere / target)
    (receipt,) = remove_folder(settings, lambda: NOW, EVERYTHING)
    assert not (elsewhere / "captures" / "videos").exists()
    assert not (elsewhere / "state" / "file.txt").exists()
    # A link of a person may lead to files that are no data of the project.
    assert (elsewhere / "mine" / "file.txt").exists()
    assert f"{elsewhere / 'mine'} (link own)" in receipt.notes[0]
