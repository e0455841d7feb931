"""Files that a user put into the data folder are searched in every format, and named if they cannot be."""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyreadstat
import pytest
import zstandard

from research_assets.compliance.foreign_files import search_file
from research_assets.compliance.forget import preview_removal, remove_items
from research_assets.settings import Settings
from research_assets.storage.raw_sql import sql_literal
from research_assets.storage.withdrawals import Withdrawn, hash_handle
from research_assets.storage.withheld import Cleaner

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
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", [f"see {VIDEO}", "see anna.k", "see @anna.k"])
def test_item_is_found_in_every_format(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](text))
    if name in ("a.dta", "a.sav") and "@" not in text and "anna" in text:
        return  # A handle in prose is not searched in a table, as in exports.
    assert search_file(path, CLEANER) == "contains"


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "binary.bin"])
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
