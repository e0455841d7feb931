"""Coding sheets: the draw, the sheet as an export, and its score when it comes back."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from research_assets.cli import main
from research_assets.compliance.forget import remove_items
from research_assets.export import Export, ExportError, ExportRequest, export, list_exports
from research_assets.export.coding import CodingSheetError, read_sheet
from research_assets.settings import Settings
from research_assets_tests.export.export_warehouse import NOW, STUDY
from research_assets_tests.export.test_archive import check_archive
from research_assets_tests.export.test_coarse import make_release_warehouse

SHEET = "csv/videos.csv"


@pytest.fixture(scope="module")
def coding_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_release_warehouse(tmp_path_factory.mktemp("coding") / "data")


def drawn(settings: Settings, n: int, seed: int = 1, by: str = "", *, pseudonymous: bool = False) -> Export:
    request = ExportRequest(("garden",), ("videos",), None, None, ("csv",), pseudonymous, draw=n, seed=seed, by=by)
    return export(settings, request, [STUDY], NOW)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_draw_is_random_repeatable_and_states_its_probability(coding_settings: Settings) -> None:
    one = drawn(coding_settings, 8)
    sheet = rows(one.folder / SHEET)
    assert len(sheet) == len({row["video_id"] for row in sheet}) == 8
    assert list(sheet[0])[:5] == ["video_id", "draw_probability", "code", "coder", "note"]
    # The study has 23 videos.
    assert {float(row["draw_probability"]) for row in sheet} == {8 / 23}
    assert {row["code"] for row in sheet} == {""}
    assert rows(drawn(coding_settings, 8).folder / SHEET) == sheet
    assert rows(drawn(coding_settings, 8, seed=2).folder / SHEET) != sheet
    check_archive(one.folder, {SHEET: 8})
    text = "random sample of 8 of 23 rows without replacement, seed 1"
    assert text in (one.folder / "README.md").read_text()
    assert text in (one.folder / "DATA_STATEMENT.md").read_text()


def test_draw_in_strata_has_the_probability_of_each_stratum(coding_settings: Settings) -> None:
    one = drawn(coding_settings, 9, by="region_code")
    sheet = rows(one.folder / SHEET)
    text = "random sample of 5 of 23 rows without replacement, at most 3 of each value of region_code, seed 1"
    assert text in (one.folder / "README.md").read_text()
    found = {row["region_code"]: float(row["draw_probability"]) for row in sheet}
    # 21 videos in DE, one in FR, one in NA; three of each, or all.
    assert found == {"DE": pytest.approx(3 / 21), "FR": 1.0, "NA": 1.0}
    assert "random sample of 23 of 23 rows" in (drawn(coding_settings, 99).folder / "README.md").read_text()
    with pytest.raises(ExportError, match="more than the 2 rows to draw"):
        drawn(coding_settings, 2, by="region_code")
    with pytest.raises(ExportError, match="has no column region;"):
        drawn(coding_settings, 2, by="region")


def test_pseudonymous_sheet_has_no_account(coding_settings: Settings) -> None:
    text = (drawn(coding_settings, 23, pseudonymous=True).folder / SHEET).read_text()
    assert "user1," not in text
    assert "anna" not in text
    assert "draw_probability" in text


def test_sheet_that_was_filled_in_is_scored(coding_settings: Settings, tmp_path: Path) -> None:
    sheet = rows(drawn(coding_settings, 9, by="region_code").folder / SHEET)
    path = tmp_path / "coded.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        # As a German spreadsheet program saves it.
        writer = csv.DictWriter(file, list(sheet[0]), delimiter=";")
        writer.writeheader()
        for number, row in enumerate(sorted(sheet, key=lambda row: row["region_code"])):
            row["code"] = ("yes", "0", "", "1", "no")[number]
            row["draw_probability"] = row["draw_probability"].replace(".", ",")
            writer.writerow(row)
    coded = read_sheet(path, rule="region_code=DE")
    assert (len(coded.items), coded.n_uncoded) == (4, 1)
    result = CliRunner().invoke(main, ["score", str(path), "--rule", "region_code=DE"])
    assert result.exit_code == 0, result.output
    # Relevant: one of two in DE, which stands for 7, and the one in FR.
    output = " ".join(result.output.split())
    assert "Precision: 50.0% (95 % interval" in output
    assert "Recall: 87.5% (95 % interval" in output
    output = " ".join(CliRunner().invoke(main, ["score", str(path)]).output.split())
    assert "Recall: not estimable, because the rule selects every coded row" in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code\n1\n", "has no column draw_probability"),
        ("draw_probability,code\n0.5,maybe\n", "line 2: 'maybe' in the column code is neither yes nor no"),
        ("draw_probability,code\n2,1\n", "line 2: '2' is no draw_probability"),
    ],
)
def test_sheet_that_cannot_be_scored_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(CodingSheetError, match=message):
        read_sheet(tmp_path / "a.csv")


def test_removal_removes_withdrawn_rows_of_a_sheet(tmp_path: Path) -> None:
    settings = make_release_warehouse(tmp_path / "data")
    one = drawn(settings, 23)
    (receipt,) = remove_items(settings, lambda: datetime(2026, 6, 2, tzinfo=UTC), handles=["user3"])
    assert receipt.is_complete, receipt.problems
    (now,) = list_exports(settings)
    assert now.rows["videos"] == one.rows["videos"] - 1 == 22
    check_archive(now.folder, {SHEET: 22})


@pytest.mark.parametrize(
    "wrong",
    [ExportRequest(draw=5), ExportRequest(("garden",), ("users",), formats=("csv",), draw=5), ExportRequest(seed=1)],
)
def test_contradictory_draws_are_refused(coding_settings: Settings, wrong: ExportRequest) -> None:
    with pytest.raises(ExportError, match="Nothing was exported"):
        export(coding_settings, wrong, [], NOW)
