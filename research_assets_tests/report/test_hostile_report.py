"""Report, codebook and export of a warehouse that has hostile texts in every text column of every mart."""

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from research_assets.export.build import export
from research_assets.export.request import ExportRequest
from research_assets.report.write import WrittenReport, write_report
from research_assets.settings import VARIABLES, Settings
from research_assets_tests.hostile import ALERT, HOSTILE, MARK, accepted_values, hostile_rows
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.report.report_warehouse import STUDY, contracts, publish

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]")


@pytest.fixture(scope="module")
def hostile_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("hostile") / "data"
    settings = Settings.from_env({VARIABLES["root"].name: str(root), VARIABLES["api_url"].name: "http://127.0.0.1:9"})
    rows = hostile_rows()
    # The page of the codebook links to this section.
    rows["codebook"].append(rows["codebook"][2] | {"mart": "codebook"})
    publish(settings, rows)
    return settings


@pytest.fixture(scope="module")
def written(hostile_settings: Settings) -> WrittenReport:
    return write_report(hostile_settings, STUDY, NOW, handles=True)


def test_every_text_column_of_every_mart_is_hostile() -> None:
    rows, accepted = hostile_rows(), accepted_values()
    own = {("study", "varchar")} | {(column, "varchar") for _, column in accepted}
    for mart, columns in contracts().items():
        for column, kind in columns.items():
            if "varchar" in kind and (column, kind) not in own:
                assert [str(row[column]) for row in rows[mart]] != [], (mart, column)
                assert sum(MARK in str(row[column]) for row in rows[mart]) > len(HOSTILE) / 2, (mart, column)


def test_report_draws_all_charts(written: WrittenReport) -> None:
    assert written.problems == {}
    assert sorted(written.pictures) == ["coverage", "quota", "volume"]


@pytest.mark.parametrize("name", ["report", "codebook"])
def test_page_shows_hostile_texts_as_text(written: WrittenReport, name: str) -> None:
    path = {"report": written.path, "codebook": written.codebook}[name]
    assert path is not None
    html = path.read_text(encoding="utf-8")
    assert UNPRINTABLE.search(html) is None
    page = ParsedReport(html)
    page.is_self_contained()
    assert ALERT in " ".join(page.sections.values())
    assert not [value for key, value in page.attributes if key == "href" and "javascript:" in value and value[0] != "#"]


def test_report_has_bounded_size(written: WrittenReport) -> None:
    # One of the texts has 40,000 characters, and each is on the page several times.
    assert written.path.stat().st_size < 1_500_000


@pytest.mark.parametrize("pseudonymous", [False, True])
def test_export_keeps_hostile_texts(hostile_settings: Settings, pseudonymous: bool) -> None:
    formats = ("parquet", "csv", "stata")
    written = export(hostile_settings, ExportRequest(formats=formats, pseudonymous=pseudonymous), [STUDY], NOW)
    assert set(written.rows) == set(contracts())
    parquet = duckdb.execute("select hashtag from read_parquet(?)", [f"{written.folder}/parquet/hashtags.parquet"])
    exported = [text for (text,) in parquet.fetchall()]
    if pseudonymous:
        # Links, addresses and mentioned accounts are replaced; each other text is kept.
        assert not [text for text in exported if "evil.example" in text]
        changed = [text for one, text in zip(exported, HOSTILE, strict=True) if one != text]
        assert changed == [text for text in HOSTILE if "evil.example" in text or "@SUM" in text]
    else:
        assert exported == list(HOSTILE)
    hashtags = [text.replace("\x00", "") for text in exported]
    stata = pd.read_stata(written.folder / "stata" / "hashtags.dta")
    assert list(stata["hashtag"]) == hashtags
    csv.field_size_limit(10_000_000)
    for path in (written.folder / "csv").glob("*.csv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(HOSTILE) + (path.name == "codebook.csv"), path.name
        # A number below 0 is no formula.
        formulas = [cell for row in rows for cell in row.values() if re.match(r"[=+@\t\r\n]|-(?![0-9i])", cell)]
        assert formulas == [], path.name
        if path.name == "hashtags.csv":
            assert [row["hashtag"].removeprefix("'") for row in rows] == [text.removeprefix("'") for text in hashtags]
    _assert_readme_is_readable(written.folder)


def _assert_readme_is_readable(folder: Path) -> None:
    assert UNPRINTABLE.search((folder / "README.md").read_text(encoding="utf-8")) is None
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
