"""Reports that a removal deletes are written again without the item."""

from dataclasses import replace
from pathlib import Path

import pytest

from research_assets.compliance.forget import remove_items
from research_assets.compliance.reports import write_again
from research_assets.report.coverage_board import write_board
from research_assets.report.paths import board_path, report_path
from research_assets.report.write import write_report
from research_assets.settings import Settings
from research_assets.study.loader import load_studies
from research_assets_tests.compliance.verification.harness import VerificationHarness
from research_assets_tests.compliance.verification.test_marts import build_marts
from research_assets_tests.study.study_files import write

STUDY = """
name: garden
start: 2026-02-01
end: 2026-02-02
query:
  and:
    - {field: region_code, in: [DE, AT]}
comments: none
users: none
"""


@pytest.fixture
def data(settings: Settings, tmp_path: Path) -> VerificationHarness:
    """Two days of videos, the marts, and the pages of their study."""
    write(tmp_path / "studies" / "garden", STUDY)
    harness = VerificationHarness(replace(settings, studies=(tmp_path / "studies",)), n_videos=12)
    harness.collect(number=2)
    build_marts(harness)
    (study,) = load_studies(harness.settings)
    now = harness.collector.clock.now()
    write_report(harness.settings, study, now, handles=True)
    write_board(harness.settings, study, now)
    return harness


def test_report_is_written_again_without_the_item(data: VerificationHarness) -> None:
    settings = data.settings
    pages = sorted(path.name for path in settings.reports.iterdir())
    report = report_path(settings, "garden")
    assert board_path(settings, "garden").name in pages
    assert "24" in report.read_text()
    ((creator,),) = data.collector.sql("SELECT min(username) FROM {videos}")
    assert f"@{creator}" in report.read_text()
    (receipt,) = remove_items(settings, data.collector.clock.now, handles=[creator])
    assert receipt.is_complete, receipt.problems
    assert receipt.counts["reports"]["written again"] >= 1
    assert "not written again" not in receipt.counts["reports"]
    assert sorted(path.name for path in settings.reports.iterdir()) == pages
    assert creator not in report.read_text()


def test_page_without_a_study_file_or_marts_is_not_written(data: VerificationHarness) -> None:
    now = data.collector.clock.now()
    assert write_again(data.settings, ["other"], now) == ["other"]
    assert write_again(replace(data.settings, studies=()), ["garden"], now) == ["garden"]
    data.settings.warehouse.unlink()
    assert write_again(data.settings, ["garden", "marts-codebook"], now) == ["garden", "marts-codebook"]
