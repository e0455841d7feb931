"""Coarse releases: what they leave out, what they round, and that withdrawn items leave them."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from research_assets.compliance.forget import remove_items
from research_assets.export import FORMATS, Export, ExportError, ExportRequest, export, list_exports
from research_assets.export.coarse import SMALL_CELL, release_key
from research_assets.settings import Settings
from research_assets_tests.export.export_warehouse import NOW, STUDY, VIDEO, make_warehouse, record_build
from research_assets_tests.export.test_archive import check_archive

LATER = datetime(2026, 6, 2, tzinfo=UTC)
N = 2 * SMALL_CELL


def make_release_warehouse(root: Path) -> Settings:
    """Return a warehouse with `N` more videos of as many accounts in DE and one of an account in FR."""
    settings = make_warehouse(root)
    with duckdb.connect(str(settings.warehouse)) as db:
        db.execute("ALTER TABLE marts.videos ADD COLUMN uploaded_at TIMESTAMPTZ")
        for number in range(N + 1):
            db.execute(
                "INSERT INTO marts.videos (study, video_id, day, username, region_code, created_at, uploaded_at, "
                "description, hashtags, view_count) VALUES ('garden', ?, '2026-02-04', ?, ?, "
                "'2026-02-04 10:11:12+00', '2026-02-04 10:11:10+00', 'a text', ?, 123456)",
                [
                    VIDEO + 1000 + number,
                    f"user{number}",
                    "FR" if number == N else "DE",
                    ["common", f"rare{number}"],
                ],
            )
        db.execute("CREATE TABLE marts.hashtags (study VARCHAR, hashtag VARCHAR, n_creators BIGINT, n_videos BIGINT)")
        db.execute("INSERT INTO marts.hashtags VALUES ('garden', 'common', 21, 215), ('garden', 'rare1', 1, 3)")
        db.execute("CREATE TABLE marts.rejected_rows (study VARCHAR, value_json VARCHAR)")
    record_build(settings)
    return settings


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Export]:
    settings = make_release_warehouse(tmp_path_factory.mktemp("release") / "data")
    return settings, export(settings, ExportRequest(formats=FORMATS, coarse=True), [STUDY], NOW)


def table(one: Export, mart: str) -> list[dict[str, Any]]:
    with duckdb.connect() as db:
        result = db.execute(f"FROM '{one.folder}/parquet/{mart}.parquet'")
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def test_coarse_values_have_less_detail(release: tuple[Settings, Export]) -> None:
    videos = table(release[1], "videos")
    assert len(videos) == N + 4
    assert not set(videos[0]) & {"uploaded_at", "description", "voice_to_text", "label_json", "hashtag_info"}
    added = [row for row in videos if str(row["day"]) == "2026-02-04"]
    assert {row["created_at"] for row in added} == {row["day"] for row in added}
    assert {row["view_count"] for row in added} == {120_000}
    # One video is in FR.
    assert {row["region_code"] for row in added} == {"DE", None}
    assert all(row["hashtags"] == ["common"] for row in added)


def test_small_cells_of_aggregates_are_null(release: tuple[Settings, Export]) -> None:
    rows = {row["n_videos"]: row for row in table(release[1], "hashtags")}
    assert set(rows) == {220, None}
    assert rows[220]["hashtag"] == "common"
    assert (rows[None]["hashtag"], rows[None]["n_creators"]) == (None, None)


def test_release_contains_no_identifier_and_no_time(release: tuple[Settings, Export]) -> None:
    settings, one = release
    for path in one.folder.rglob("*.csv"):
        text = path.read_text()
        assert not re.search(r"id_\d{17}|(?<![\da-z_.])\d{17}|T\d\d:\d\d|anna|user1\b|rare1|a text", text), path
    keys = {row["video_id"] for row in table(one, "videos")}
    again = export(settings, ExportRequest(formats=("parquet",), coarse=True), [STUDY], NOW)
    assert not keys & {row["video_id"] for row in table(again, "videos")}
    assert list(one.skipped) == ["rejected_rows"]


def test_disclosure_report_counts_unique_rows(release: tuple[Settings, Export]) -> None:
    text = (release[1].folder / "DISCLOSURE.md").read_text()
    # Alone on study, day and region: the videos of anna, of bikes and of 2 February, and the one in FR.
    assert f"| `videos` | study, day, created_at, region_code | {N + 4} | 4 ({4 / (N + 4):.1%}) | 4 | 1 |" in text
    assert "is not anonymous" in text
    assert "Texts are not contained" in text
    assert "not anonymous" in (release[1].folder / "README.md").read_text()


def test_states_of_the_coverage_are_no_small_cells(release: tuple[Settings, Export]) -> None:
    # Otherwise a release would hide its rare gaps.
    assert sorted(row["state"] for row in table(release[1], "coverage")) == [*["complete"] * 3, "failed", "missing"]


def test_texts_are_contained_on_request(tmp_path: Path) -> None:
    settings = make_release_warehouse(tmp_path / "data")
    one = export(settings, ExportRequest(formats=("parquet",), coarse=True, texts=True), [STUDY], NOW)
    assert [row["description"] for row in table(one, "videos")].count("a text") == N + 1
    assert "Texts are contained on request" in (one.folder / "DISCLOSURE.md").read_text()


def test_removal_finds_withdrawn_items_in_a_release(tmp_path: Path) -> None:
    settings = make_release_warehouse(tmp_path / "data")
    one = export(settings, ExportRequest(formats=FORMATS, coarse=True), [STUDY], NOW)
    (receipt,) = remove_items(settings, lambda: LATER, handles=["user3"], videos=[VIDEO])
    assert receipt.is_complete, receipt.problems
    assert receipt.rewritten_exports == (one.folder.name,)
    (now,) = list_exports(settings)
    assert now.rows["videos"] == one.rows["videos"] - 2
    check_archive(now.folder, {file.path: file.rows for file in now.files})


def test_release_without_its_key_is_removed_by_a_removal(tmp_path: Path) -> None:
    settings = make_release_warehouse(tmp_path / "data")
    one = export(settings, ExportRequest(formats=("csv",), coarse=True), [STUDY], NOW)
    release_key(settings, one.folder.name).unlink()
    (receipt,) = remove_items(settings, lambda: LATER, handles=["user3"])
    assert receipt.exports == (one.folder.name,)
    assert not one.folder.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ExportRequest(coarse=True, pseudonymous=True),
        ExportRequest(coarse=True, ids_only=True),
        ExportRequest(texts=True),
    ],
)
def test_contradictory_requests_are_refused(own_export_settings: Settings, wrong: ExportRequest) -> None:
    with pytest.raises(ExportError, match="Nothing was exported"):
        export(own_export_settings, wrong, [], NOW)
