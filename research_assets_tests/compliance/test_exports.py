"""Exports lose the rows of withdrawn items in every format, and nothing else; what is left reads as before."""

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pandas.io.stata import StataReader

from research_assets.compliance.forget import Receipt, preview_removal, remove_folder, remove_items
from research_assets.export import FORMATS, Export, ExportRequest, export, list_exports, spss
from research_assets.export.pseudonyms import load_or_create_key, make_pseudonymizer
from research_assets.export.rewriting import find_changes, write_changes
from research_assets.settings import Settings
from research_assets.storage.raw_sql import sql_literal
from research_assets_tests.export.export_warehouse import (
    COMMENT,
    NOW,
    OTHER,
    REPLY,
    STUDY,
    THIRD,
    VIDEO,
    make_warehouse,
)
from research_assets_tests.export.test_archive import check_archive

LATER = datetime(2026, 6, 2, tzinfo=UTC)
MENTIONING, BY_ANOTHER = 7602399228894800999, 7602400000000000777


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, Export]]:
    """A warehouse in which others mention the withdrawn account and video, and its exports."""
    settings = make_warehouse(tmp_path_factory.mktemp("exported") / "data")
    with duckdb.connect(str(settings.warehouse)) as db:
        db.execute(
            "INSERT INTO marts.videos (study, video_id, day, username, created_at, description, hashtags, mentions, "
            "sticker_names, view_count) VALUES ('garden', ?, '2026-02-03', 'dora', '2026-02-03 10:00:00+00', ?, "
            "['garten'], ['anna', 'ben.k'], ['a', '@anna'], 5000000000)",
            [MENTIONING, f'=1, "so" @Anna, @ben.k\nand {VIDEO}'],
        )
        db.execute(
            "INSERT INTO marts.comments VALUES ('garden', ?, ?, '2026-02-03', NULL, 0, 'hi @anna!', '')",
            [BY_ANOTHER, MENTIONING],
        )
        db.execute("CREATE TABLE marts.follows (study VARCHAR, source_username VARCHAR, target_username VARCHAR)")
        db.execute("INSERT INTO marts.follows VALUES ('garden', 'ben.k', 'ANNA'), ('bikes', 'ben.k', 'dora')")
        db.execute("CREATE TABLE marts.engagements (study VARCHAR, username VARCHAR, video_id BIGINT, kind VARCHAR)")
        db.execute(f"INSERT INTO marts.engagements VALUES ('garden', 'ben.k', {VIDEO}, 'like')")
        db.execute(
            "CREATE TABLE marts.codebook (mart VARCHAR, column_number BIGINT, column_name VARCHAR, type VARCHAR, "
            "unit VARCHAR, description VARCHAR, source_field VARCHAR, available_since VARCHAR, n_rows BIGINT, "
            "n_filled BIGINT, examples VARCHAR, "
            "fill_by_month STRUCT(month DATE, n_rows BIGINT, n_filled BIGINT)[])"
        )
        db.execute(
            "INSERT INTO marts.codebook VALUES ('videos', 5, 'region_code', 'varchar', '', 'Region.', 'region_code', "
            "'', 4, 2, 'DE, anna', NULL)"
        )
    requests = {
        "plain": ExportRequest(formats=FORMATS),
        "pseudonymous": ExportRequest(formats=FORMATS, pseudonymous=True),
        "ids": ExportRequest(ids_only=True),
        "quota": ExportRequest(marts=("quota_usage",), formats=FORMATS),
    }
    return settings, {name: export(settings, request, [STUDY], NOW) for name, request in requests.items()}


@pytest.fixture
def settings(exported: tuple[Settings, dict[str, Export]], tmp_path: Path) -> Settings:
    """A copy of the data folder."""
    return replace(exported[0], root=shutil.copytree(exported[0].root, tmp_path / "data"))


@pytest.fixture
def exports(exported: tuple[Settings, dict[str, Export]], settings: Settings) -> dict[str, Export]:
    """The exports in the copy, by name."""
    return {name: replace(one, folder=settings.exports / one.folder.name) for name, one in exported[1].items()}


def remove(settings: Settings) -> Receipt:
    (receipt,) = remove_items(settings, lambda: LATER, handles=["anna"], videos=[VIDEO], comments=[COMMENT])
    return receipt


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".sav":
        frame: Any = spss.read_table(path).frame
        return [
            {name: None if value != value else value for name, value in row.items()} for row in frame.to_dict("records")
        ]
    if path.suffix == ".dta":
        with StataReader(path, convert_categoricals=False) as opened:
            reader: Any = opened
            return [
                {name: None if value != value else value for name, value in row.items()}
                for row in reader.read().to_dict("records")
            ]
    with duckdb.connect() as db:
        result = db.execute(f"FROM read_parquet({sql_literal(path)})")
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def texts(folder: Path) -> Iterator[str]:
    """Yield the text of every file of an export, tables as their rows."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in (".parquet", ".dta", ".sav"):
            yield repr(rows(path))
        # The font of the codebook page contains any short word somewhere.
        yield re.sub("base64,[A-Za-z0-9+/=]+", "", path.read_bytes().decode("utf-8", "ignore"))


def is_withdrawn(row: Mapping[str, Any], items: set[str]) -> bool:
    """Return whether a row belongs to one of some items, written as text, by its keys."""
    keys = [str(value) for name, value in row.items() if name.endswith(("id", "username", "unit"))]
    return any(key.lower().removeprefix("id_") in items for key in keys)


def test_exports_lose_exactly_the_rows_of_withdrawn_items(
    settings: Settings, exports: dict[str, Export], tmp_path: Path
) -> None:
    shutil.copytree(settings.exports, tmp_path / "before")
    pseudonym = make_pseudonymizer(load_or_create_key(settings.export_key))
    plain = {"anna", str(VIDEO), str(COMMENT)}
    hidden = {pseudonym("user", "anna"), pseudonym("video", str(VIDEO)), pseudonym("comment", str(COMMENT))}
    receipt = remove(settings)
    assert receipt.is_complete, receipt.problems
    assert receipt.exports == ()
    assert set(receipt.rewritten_exports) == {one.folder.name for one in exports.values()}
    n_changed = 0
    for name, one in exports.items():
        items = hidden if name == "pseudonymous" else plain
        for text in texts(one.folder):
            assert not any(item in text.replace(one.folder.name, "").lower() for item in items), (name, text[:300])
        for file in one.files:
            before, after = rows(tmp_path / "before" / one.folder.name / file.path), rows(one.folder / file.path)
            kept = [row for row in before if not is_withdrawn(row, items)]
            assert len(after) == len(kept), file
            for old, new in zip(kept, after, strict=True):
                changed = {column for column in old if old[column] != new[column]}
                assert not changed or any(item in repr(old).lower() for item in items | plain), (file, changed)
                assert changed <= {"description", "mentions", "sticker_names", "text", "examples", "unit"}, changed
            n_changed += before != after
            if before == after:
                content = (tmp_path / "before" / one.folder.name / file.path).read_bytes()
                assert (one.folder / file.path).read_bytes() == content
    assert n_changed == receipt.counts["exports"]["files rewritten"] - 5  # the queries in 3 READMEs, 2 codebook pages
    # The same command again finds nothing.
    assert not preview_removal(settings, LATER, handles=["anna"], videos=[VIDEO], comments=[COMMENT]).counts


def test_text_that_mentions_an_item_stays_without_the_mention(settings: Settings, exports: dict[str, Export]) -> None:
    plain = exports["plain"]
    remove(settings)
    expected = '=1, "so" [withdrawn], @ben.k\nand [withdrawn]'
    (parquet,) = (row for row in rows(plain.folder / "parquet/videos.parquet") if row["video_id"] == MENTIONING)
    assert parquet["description"] == expected
    assert parquet["mentions"] == ["ben.k"]
    assert parquet["sticker_names"] == ["a", "[withdrawn]"]
    (line,) = (row for row in rows(plain.folder / "csv/videos.csv") if row["video_id"] == f"id_{MENTIONING}")
    assert line["description"] == f"'{expected}"
    assert line["mentions"] == '["ben.k"]'
    assert line["sticker_names"] == '["a","[withdrawn]"]'
    (stata,) = (row for row in rows(plain.folder / "stata/videos.dta") if row["video_id"] == str(MENTIONING))
    assert stata["description"] == expected
    assert stata["mentions"] == '["ben.k"]'
    for name in ("parquet/comments.parquet", "csv/comments.csv", "stata/comments.dta", "spss/comments.sav"):
        assert [row["text"] for row in rows(plain.folder / name)] == ["hi [withdrawn]!"]
    assert [row["unit"] for row in rows(plain.folder / "csv/coverage.csv")] == ["2026-02-01", "ben.k"]
    assert [row["examples"] for row in rows(plain.folder / "csv/codebook.csv")] == ["DE, [withdrawn]"]


def test_pseudonymous_export_stays_without_the_mention(settings: Settings, exports: dict[str, Export]) -> None:
    hidden = exports["pseudonymous"]
    remove(settings)
    (row,) = rows(hidden.folder / "csv/comments.csv")
    assert row["text"] == "hi [withdrawn]!"
    pseudonym = make_pseudonymizer(load_or_create_key(settings.export_key))
    other = pseudonym("user", "ben.k")
    assert [one["unit"] for one in rows(hidden.folder / "csv/coverage.csv")] == ["2026-02-01", other]
    (video,) = (
        one
        for one in rows(hidden.folder / "parquet/videos.parquet")
        if one["video_id"] == pseudonym("video", str(MENTIONING))
    )
    assert video["mentions"] == [other]


def test_kept_rows_of_csv_keep_every_byte(settings: Settings, exports: dict[str, Export]) -> None:
    plain = exports["plain"]
    before = {file.path: (plain.folder / file.path).read_bytes() for file in plain.files if file.format == "csv"}
    remove(settings)
    for name, old in before.items():
        new = (plain.folder / name).read_bytes()
        assert new.splitlines(keepends=True)[0] == old.splitlines(keepends=True)[0]
        for line in new.splitlines(keepends=True):
            assert line in old or b"[withdrawn]" in line or b"ben.k" in line, (name, line)


def test_stata_files_keep_types_formats_and_labels(
    settings: Settings, exports: dict[str, Export], tmp_path: Path
) -> None:
    plain = exports["plain"]
    shutil.copytree(plain.folder, tmp_path / "before")
    remove(settings)
    for path in sorted(plain.folder.glob("stata/*.dta")):
        old, new = (_stata_header(one) for one in (tmp_path / "before" / "stata" / path.name, path))
        # A text column is as wide as its longest text.
        assert old == new, path.name


def _stata_header(path: Path) -> tuple[Any, ...]:
    content = path.read_bytes()
    sections = {}
    for name in ("variable_types", "varnames", "formats", "variable_labels", "label", "timestamp"):
        found = re.search(rf"<{name}>(.*?)</{name}>".encode(), content, re.DOTALL)
        assert found is not None
        sections[name] = found[1]
    types = [
        int.from_bytes(sections["variable_types"][at : at + 2], "little")
        for at in range(0, len(sections["variable_types"]), 2)
    ]
    formats = [re.sub(rb"^%-?\d+s", b"%s", one) for one in re.findall(rb"%[^\0]+", sections["formats"])]
    return (
        ["text" if kind <= 2045 else kind for kind in types],
        formats,
        sections["varnames"],
        sections["variable_labels"],
        sections["label"],
        sections["timestamp"],
    )


def test_spss_files_keep_labels_formats_and_measurement_levels(
    settings: Settings, exports: dict[str, Export], tmp_path: Path
) -> None:
    plain = exports["plain"]
    shutil.copytree(plain.folder, tmp_path / "before")
    remove(settings)
    for path in sorted(plain.folder.glob("spss/*.sav")):
        old, new = (spss.read_table(one) for one in (tmp_path / "before" / "spss" / path.name, path))
        assert (old.labels, old.value_labels, old.measures, old.file_label) == (
            *(new.labels, new.value_labels, new.measures, new.file_label),
        )
        # A text is as wide as the longest one.
        assert [re.sub("^A.*", "A", one) for one in old.formats.values()] == [
            re.sub("^A.*", "A", one) for one in new.formats.values()
        ]


def test_parquet_keeps_types_and_compression(settings: Settings, exports: dict[str, Export], tmp_path: Path) -> None:
    plain = exports["plain"]
    shutil.copytree(plain.folder, tmp_path / "before")
    remove(settings)
    with duckdb.connect() as db:
        for path in sorted(plain.folder.glob("parquet/*.parquet")):
            described, codecs = [], []
            for one in (tmp_path / "before" / "parquet" / path.name, path):
                described.append(db.execute(f"DESCRIBE FROM read_parquet({sql_literal(one)})").fetchall())
                codecs.append(
                    db.execute(f"SELECT DISTINCT compression FROM parquet_metadata({sql_literal(one)})").fetchall()
                )
            assert described[0] == described[1]
            assert set(codecs[1]) <= set(codecs[0]) == {("ZSTD",)}


def test_manifest_and_readme_agree_with_the_files(settings: Settings, exports: dict[str, Export]) -> None:
    remove(settings)
    for one in list_exports(settings):
        for file in one.files:
            content = (one.folder / file.path).read_bytes()
            assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            assert file.rows == len(rows(one.folder / file.path))
        readme = (one.folder / "README.md").read_text()
        for mart, number in one.rows.items():
            assert f"| `{mart}` | {number} |" in readme or f"`ids.csv`: {number} ids" in readme
    plain = next(one for one in list_exports(settings) if one.folder == exports["plain"].folder)
    (removal,) = plain.removals
    assert removal.at == LATER
    assert removal.rows == {"comments": 2, "coverage": 3, "engagements": 1, "follows": 1, "users": 1, "videos": 1}
    assert removal.cleaned == ("codebook",)
    readme = (plain.folder / "README.md").read_text()
    assert "- 2026-06-02 (UTC), rows of items that were withdrawn: `comments` 2, " in readme
    assert '"field_values": ["ben"]' in readme
    # A second removal adds its entry.
    remove_items(settings, lambda: LATER, videos=[OTHER])
    plain = next(one for one in list_exports(settings) if one.folder == exports["plain"].folder)
    assert [one.rows for one in plain.removals[1:]] == [{"videos": 1}]
    assert (plain.folder / "README.md").read_text().count("## Removed rows") == 1


def test_descriptions_agree_with_the_rewritten_files(settings: Settings, exports: dict[str, Export]) -> None:
    (exports["plain"].folder / "notes.txt").write_text("of a user\n")
    remove(settings)
    (exports["plain"].folder / "notes.txt").unlink()
    for one in list_exports(settings):
        check_archive(one.folder, {file.path: file.rows for file in one.files})
        statement = (one.folder / "DATA_STATEMENT.md").read_text()
        assert ("rows of items that were withdrawn" in statement) == bool(one.removals)
        assert "## Licence and terms" in statement


def test_export_with_an_unreadable_table_is_removed_and_named(settings: Settings, exports: dict[str, Export]) -> None:
    path = exports["plain"].folder / "parquet" / "comments.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    receipt = remove(settings)
    assert receipt.is_complete
    assert receipt.exports == (exports["plain"].folder.name,)
    assert not exports["plain"].folder.exists()
    assert exports["pseudonymous"].folder.exists()
    assert json.loads(receipt.path.read_bytes())["removed_exports"] == [exports["plain"].folder.name]


def test_export_whose_deletion_was_interrupted_is_deleted(
    settings: Settings, exports: dict[str, Export], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exports["plain"].folder
    (folder / "parquet" / "comments.parquet").write_bytes(b"damaged")

    real = shutil.rmtree

    def interrupt(path: Path, **options: Any) -> None:
        if path != folder:
            real(path, **options)
            return
        (path / "manifest.json").unlink()
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("research_assets.compliance.exports.shutil.rmtree", interrupt)
        with pytest.raises(OSError, match="Input/output"):
            remove(settings)
    assert folder.exists()
    (receipt,) = remove_items(settings, lambda: LATER)
    assert receipt.is_complete, receipt.problems
    assert receipt.exports == (folder.name,)
    assert receipt.counts["exports"]["removed"] == 1
    assert not folder.exists()


@pytest.mark.parametrize("contains", [True, False])
def test_csv_that_a_spreadsheet_saved_is_removed_only_with_an_item(
    settings: Settings, exports: dict[str, Export], contains: bool
) -> None:
    quota = exports["quota"]
    text = f"day;pool\n2026-02-03;{VIDEO if contains else 1}\na;b;c,d\n"
    (quota.folder / "csv" / "quota_usage.csv").write_bytes(text.encode())
    receipt = remove(settings)
    assert (quota.folder.name in receipt.exports) == contains
    assert quota.folder.exists() != contains


def test_files_that_a_user_put_into_an_export_are_cleaned_and_kept(
    settings: Settings, exports: dict[str, Export]
) -> None:
    plain = exports["plain"]
    (plain.folder / "notes.txt").write_text(f"keep\nsee {VIDEO}\n")
    (plain.folder / "model.R").write_text("lm(y ~ x)\n")
    receipt = remove(settings)
    assert receipt.is_complete
    assert (plain.folder / "notes.txt").read_text() == "keep\n"
    assert (plain.folder / "model.R").read_text() == "lm(y ~ x)\n"


def test_study_leaves_exports_of_several_studies(settings: Settings, exports: dict[str, Export]) -> None:
    only = export(settings, ExportRequest(studies=("garden",)), [STUDY], NOW)
    other = export(settings, ExportRequest(studies=("bikes",)), [], NOW)
    both = export(settings, ExportRequest(studies=("bikes", "garden"), formats=FORMATS), [STUDY], NOW)
    content = {path: path.read_bytes() for path in other.folder.rglob("*") if path.is_file()}
    settings.warehouse.unlink()  # it is of no capture, and would be built again without rows
    settings.reports.mkdir(exist_ok=True)
    for name in ("garden.html", "garden-coverage.html", "bikes-coverage.html"):
        (settings.reports / name).write_text("<p>a page")
    (receipt,) = remove_folder(settings, lambda: LATER, "garden")
    assert [path.name for path in settings.reports.iterdir()] == ["bikes-coverage.html"]
    # The list of ids has no column of the study, and of the quota only this study used some.
    assert set(receipt.exports) == {only.folder.name, exports["ids"].folder.name, exports["quota"].folder.name}
    assert {path: path.read_bytes() for path in content} == content
    for folder in (exports["plain"].folder, both.folder):
        for path in folder.rglob("*"):
            if path.suffix in (".parquet", ".dta", ".sav", ".csv") and path.stem not in ("codebook", "api_changes"):
                assert all(row["study"] == "bikes" for row in rows(path)), path
        assert [row["video_id"] for row in rows(folder / "parquet/videos.parquet")] == [THIRD]
        assert [row["examples"] for row in rows(folder / "parquet/codebook.parquet")] == [None]
        readme = (folder / "README.md").read_text()
        assert "rows of the study `garden`" in readme
        assert "Study `garden`, " not in readme
        assert "| garden |" not in readme
        assert "for example" not in (folder / "codebook.html").read_text()
    # What remains of an export is removed with its last study.
    (receipt,) = remove_folder(settings, lambda: LATER, "bikes")
    assert both.folder.name in receipt.exports
    assert not list(settings.exports.iterdir())


def test_rewriting_without_changes_keeps_the_values_of_every_format(exports: dict[str, Export], tmp_path: Path) -> None:
    plain = exports["plain"]
    for file in plain.files:
        path = plain.folder / file.path
        changes = find_changes(path, lambda _names: lambda _row: {})
        assert changes.rows == file.rows
        assert not changes
        draft = write_changes(path, replace(changes), tmp_path)
        assert rows(draft) == rows(path), path
        if path.suffix == ".csv":
            assert draft.read_bytes() == path.read_bytes()


def test_removal_that_was_interrupted_finishes_the_manifest(
    settings: Settings, exports: dict[str, Export], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = exports["plain"]

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("research_assets.compliance.exports.record_removal", fail)
        with pytest.raises(OSError, match="No space"):
            remove(settings)
    # The checksums show that the export is not finished.
    manifest = json.loads((plain.folder / "manifest.json").read_text())
    assert any(
        hashlib.sha256((plain.folder / one["path"]).read_bytes()).hexdigest() != one["sha256"]
        for one in manifest["files"]
    )
    (receipt,) = remove_items(settings, lambda: LATER)
    assert receipt.is_complete
    assert receipt.counts["exports"]["files rewritten"] > 20
    (removal,) = next(one for one in list_exports(settings) if one.folder == plain.folder).removals
    assert removal.rows["comments"] == 2
    assert COMMENT != REPLY


def test_profile_that_a_look_up_did_not_find_leaves_exports_and_its_videos_stay(
    settings: Settings, exports: dict[str, Export]
) -> None:
    pseudonym = make_pseudonymizer(load_or_create_key(settings.export_key))
    names = {"plain": "anna", "pseudonymous": pseudonym("user", "anna")}
    tables = {
        (name, file.path): (exports[name].folder / file.path).read_bytes()
        for name in names
        for file in exports[name].files
    }
    (receipt,) = remove_items(settings, lambda: LATER, handles=["anna"], found_by="lookup")
    assert receipt.is_complete, receipt.problems
    assert receipt.exports == ()
    assert set(receipt.rewritten_exports) >= {exports[name].folder.name for name in names}
    changed: dict[str, set[str]] = {}
    for (name, table), before in tables.items():
        path = exports[name].folder / table
        if path.read_bytes() != before:
            changed.setdefault(name, set()).add(path.stem)
        if path.stem == "follows":
            assert all(str(row["target_username"]).lower() != names[name] for row in rows(path))
        if path.stem == "videos":
            assert any(row["username"] == names[name] for row in rows(path))
    assert changed["plain"] == changed["pseudonymous"]
    assert "videos" not in changed["plain"]
    assert "follows" in changed["plain"]
