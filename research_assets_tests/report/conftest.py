"""Fixtures: one report of the known rows for all tests that only read it."""

from datetime import UTC, datetime

import pytest

from research_assets.report.write import WrittenReport, write_report
from research_assets.settings import VARIABLES, Settings
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.report.report_warehouse import STUDY, garden_rows, publish

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture(scope="package")
def report_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data folder with the known rows."""
    root = tmp_path_factory.mktemp("report") / "data"
    settings = Settings.from_env({VARIABLES["root"].name: str(root), VARIABLES["api_url"].name: "http://127.0.0.1:9"})
    publish(settings, garden_rows())
    return settings


@pytest.fixture(scope="package")
def written(report_settings: Settings) -> WrittenReport:
    """The report of the known rows, with handles."""
    return write_report(report_settings, STUDY, NOW, handles=True)


@pytest.fixture(scope="package")
def html(written: WrittenReport) -> str:
    """The HTML of the report."""
    return written.path.read_text()


@pytest.fixture(scope="package")
def page(html: str) -> ParsedReport:
    """The parsed report."""
    return ParsedReport(html)
