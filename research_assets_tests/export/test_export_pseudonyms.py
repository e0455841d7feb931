"""Pseudonyms: no file identifies people, and the same value has the same pseudonym in every export."""

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from research_assets.export import Export, ExportError, ExportRequest, export
from research_assets.export.pseudonyms import (
    load_or_create_key,
    make_pseudonymizer,
    make_scrubber,
    register,
    unregister,
)
from research_assets.export.treatment import TREATMENTS
from research_assets.settings import Settings
from research_assets_tests.export.export_warehouse import COMMENT, NOW, OTHER, REPLY, THIRD, VIDEO, make_warehouse

KEY = bytes(range(32))


def rows(export: Export, mart: str) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        relation = connection.sql(f"FROM '{export.folder}/parquet/{mart}.parquet'")
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def test_pseudonym_is_the_keyed_hash_of_kind_and_value() -> None:
    expected = hmac.new(KEY, b"user\0anna", hashlib.sha256).hexdigest()[:20]
    pseudonym = make_pseudonymizer(KEY)
    assert pseudonym("user", "anna") == pseudonym("user", "Anna") == f"user_{expected}"
    assert pseudonym("video", "anna") != f"video_{expected}"
    assert make_pseudonymizer(KEY[::-1])("user", "anna") != f"user_{expected}"


@pytest.mark.parametrize("length", [32, 64, 65])
def test_sql_computes_the_same_pseudonyms(length: int) -> None:
    key = bytes(range(length))
    values = ["anna", "ANNA", "ÄÖ.ß", "İı", "", "7602399228894800784", "a b", "🍅", "nul\0l", "x" * 200]
    with duckdb.connect() as connection:
        register(connection, key)
        for kind in ("user", "video"):
            found = connection.execute("SELECT pseudonym(?, unnest(?::VARCHAR[]))", [kind, values]).fetchall()
            assert [row[0] for row in found] == [make_pseudonymizer(key)(kind, value) for value in values]
        unregister(connection)


def test_accounts_and_ids_join_across_tables(pseudonymous_export: Export, export_settings: Settings) -> None:
    pseudonym = make_pseudonymizer(load_or_create_key(export_settings.export_key))
    anna, ben, carla = (pseudonym("user", name) for name in ("anna", "ben.k", "Frau Dr. Carla"))
    one, _, three = rows(pseudonymous_export, "videos")
    assert (one["username"], three["username"]) == (anna, ben)
    assert one["mentions"] == [ben, carla]
    assert one["description"] == (f'=HYPERLINK("x") mit @{ben}. und @{carla}!\r\n"Zeile 2", [link] [id] [address]')
    assert one["sticker_names"] == [f"@{anna}", None]
    assert one["video_id"] == pseudonym("video", str(VIDEO))
    assert (one["playlist_id"], three["music_id"]) == (None, pseudonym("music", "5"))
    comments = rows(pseudonymous_export, "comments")
    assert {comment["video_id"] for comment in comments} == {one["video_id"]}
    assert comments[1]["parent_comment_id"] == comments[0]["comment_id"]
    assert comments[0]["text"] == f"@{anna} schön"
    assert {user["username"] for user in rows(pseudonymous_export, "users")} == {anna, ben}
    video = one["video_id"]
    assert [unit["unit"] for unit in rows(pseudonymous_export, "coverage")] == [
        "2026-02-01",
        video,
        anna,
        f"{anna},{ben}",
        video,
    ]


def test_no_file_of_the_folder_identifies_people(pseudonymous_export: Export, export_settings: Settings) -> None:
    people = re.compile(r"anna|ben\.k|carla|x\.org|Ben K|12345678901234567", re.IGNORECASE)
    ids = {str(number) for number in (VIDEO, OTHER, THIRD, COMMENT, REPLY)}
    for path in pseudonymous_export.folder.rglob("*"):
        if path.is_dir():
            continue
        if path.suffix == ".parquet":
            content = json.dumps(rows(pseudonymous_export, path.stem), default=str)
        else:
            content = path.read_bytes().decode("utf-8", "replace")
        assert not people.search(content), path
        assert not [number for number in ids if number in content], path
        assert export_settings.export_key.read_text().strip() not in content


def test_readme_omits_names_of_the_query_and_warns(pseudonymous_export: Export, full_export: Export) -> None:
    text = (pseudonymous_export.folder / "README.md").read_text()
    assert '"field_values": "2 omitted"' in text
    assert '"garten"' in text
    assert "Pseudonymous data are not anonymous" in text
    assert "pseudonym of the account" in (pseudonymous_export.folder / "codebook.csv").read_text()
    assert '"field_values": ["anna", "ben"]' in (full_export.folder / "README.md").read_text()


def test_same_key_yields_the_same_pseudonyms_in_the_next_export(
    pseudonymous_export: Export, export_settings: Settings, tmp_path: Path
) -> None:
    second = export(export_settings, ExportRequest(marts=("users",), formats=("parquet",), pseudonymous=True), [], NOW)
    assert rows(second, "users") == rows(pseudonymous_export, "users")
    other_project = export(make_warehouse(tmp_path / "own"), second.request, [], NOW)
    assert rows(other_project, "users") != rows(pseudonymous_export, "users")


def test_key_is_private_and_in_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "project.key"
    key = load_or_create_key(path)
    assert (len(key), path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (32, 0o600, 0o700)
    assert load_or_create_key(path) == key
    assert list(path.parent.iterdir()) == [path]
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path / "data"), "RESEARCH_PSEUDONYM_KEY_FILE": str(path)})
    assert settings.export_key == path


def test_export_rejects_a_readable_or_invalid_key(own_export_settings: Settings) -> None:
    path = own_export_settings.export_key
    key = load_or_create_key(path)
    path.chmod(0o640)
    with pytest.raises(ExportError, match="can be read by other users"):
        export(own_export_settings, ExportRequest(pseudonymous=True), [], NOW)
    path.chmod(0o600)
    path.write_text("secret")
    with pytest.raises(ExportError, match="is not a number in hexadecimal digits") as raised:
        export(own_export_settings, ExportRequest(pseudonymous=True), [], NOW)
    assert "secret" not in str(raised.value)
    assert key.hex() not in str(raised.value)
    assert not own_export_settings.exports.exists()


def test_export_drops_a_column_without_a_treatment(own_export_settings: Settings) -> None:
    with duckdb.connect(str(own_export_settings.warehouse)) as connection:
        connection.execute("ALTER TABLE marts.users ADD COLUMN phone VARCHAR")
    exported = export(own_export_settings, ExportRequest(marts=("users",), pseudonymous=True), [], NOW)
    text = (exported.folder / "codebook.csv").read_text()
    assert "like_count" in text
    assert "phone" not in text


def test_every_column_has_one_treatment() -> None:
    for mart, treated in TREATMENTS.items():
        names = [name for columns in treated.values() for name in columns.split()]
        assert len(names) == len(set(names)), mart


@example([], ["ĸ¼澚Æ"])  # its pseudonym contains as many digits as an id
@given(
    st.lists(
        st.one_of(
            st.text(max_size=8),
            st.from_regex(r"[@\uff20][\w.]{0,9}\w", fullmatch=True),
            st.from_regex(r"[0-9]{16,20}", fullmatch=True),
            st.from_regex(r"https://[a-z]{1,5}\.org/@?[a-z]{1,5}", fullmatch=True),
        ),
        max_size=6,
    ),
    st.lists(st.from_regex(r"\w[\w .]{0,8}\w", fullmatch=True), max_size=2),
)
def test_scrubbed_text_contains_no_mention(words: list[str], names: list[str]) -> None:
    pseudonym = make_pseudonymizer(KEY)
    text = " ".join([*words, *(f"@{name}" for name in names)])
    scrubbed = make_scrubber(pseudonym)(text, names)
    for mention in re.findall(r"[@\uff20]\w+", scrubbed):
        assert re.fullmatch(r"@user_[0-9a-f]{20}\w*", mention)
    rest = re.sub(r"user_[0-9a-f]{20}", "", scrubbed)
    assert not re.search(r"(?<!\d)\d{16,20}(?!\d)", rest)
    assert "https://" not in scrubbed
