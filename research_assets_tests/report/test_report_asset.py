"""The report as an asset and as a command."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from research_assets.assets.report import report_asset
from research_assets.cli import main
from research_assets.report import REQUIRED_MARTS
from research_assets.resources import warehouse_resource
from research_assets.settings import Settings
from research_assets_tests.conftest import FakeClock
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.report.report_warehouse import STUDY, garden_rows, publish
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

KEYS = [*(dg.AssetKey(["marts", mart]) for mart in REQUIRED_MARTS), dg.AssetKey(["marts", "hashtag_pairs"])]


def materialize(settings: Settings) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [report_asset(STUDY, settings, KEYS, clock=FakeClock())],
            instance=instance,
            resources={"warehouse": warehouse_resource(settings)},
            raise_on_error=False,
        )


def test_report_asset_depends_on_the_marts_that_it_reads(settings: Settings) -> None:
    [spec] = report_asset(STUDY, settings, KEYS).specs
    assert spec.key == dg.AssetKey(["garden", "report"])
    assert spec.group_name == "results/garden"
    assert spec.kinds == {"html", "simulated"}
    assert {dep.asset_key for dep in spec.deps} == {dg.AssetKey(["marts", mart]) for mart in REQUIRED_MARTS}
    assert "research-assets report --open garden" in str(spec.description)


def test_metadata_have_the_address_and_the_pictures(settings: Settings) -> None:
    settings = replace(settings, reports_url="http://127.0.0.1:3001")
    publish(settings, garden_rows())
    [event] = materialize(settings).get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert metadata["open"] == dg.MetadataValue.url("http://127.0.0.1:3001/garden.html")
    assert metadata["file"] == dg.MetadataValue.path(settings.reports / "garden.html")
    assert metadata["codebook"] == dg.MetadataValue.url("http://127.0.0.1:3001/marts-codebook.html")
    assert (metadata["videos"].value, metadata["days"].value, metadata["complete days"].value) == (6, 6, 2)
    for picture in ("volume", "coverage", "quota"):
        value = metadata[picture]
        assert isinstance(value, dg.MarkdownMetadataValue)
        assert str(value.md_str).startswith(f"![{picture}](data:image/png;base64,")
    [spec] = report_asset(STUDY, settings, KEYS).specs
    assert "http://127.0.0.1:3001/garden.html" in str(spec.description)


def test_run_fails_with_a_message_without_a_warehouse(settings: Settings) -> None:
    [failed] = [event for event in materialize(settings).all_events if event.is_step_failure]
    assert "no warehouse" in str(failed.step_failure_data.user_failure_data)


@pytest.mark.integration
def test_loading_the_asset_imports_no_drawing_library() -> None:
    code = (
        "import sys, research_assets.assets.report\n"
        "print([name for name in ('altair', 'vl_convert', 'jinja2', 'pandas', 'http.server') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


@pytest.fixture
def report_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """A data folder and one study in the environment of a command."""
    write(tmp_path / "studies" / "garden", MINIMAL_STUDY.replace("gardening", "garden", 1))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    return Settings.from_env()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


def test_command_writes_the_report_and_prints_its_path(report_settings: Settings) -> None:
    publish(report_settings, {"codebook": garden_rows()["codebook"]})
    report_settings.reports.mkdir(parents=True)
    for name in ("old.html", "old-coverage.html", "notes.html"):
        (report_settings.reports / name).write_text("")
    result = run("garden")
    assert result.exit_code == 0, result.output
    names = ("garden.html", "marts-codebook.html", "garden-coverage.html")
    paths = [report_settings.reports / name for name in names]
    first, *lines, last = result.stdout.splitlines()
    assert first == f"Simulated data, not from TikTok: {report_settings.root}"
    reason = "Not written again, because no study file declares the study"
    assert last == f"{reason}: old.html, old-coverage.html. Delete what is not needed."
    assert lines == [str(path) for path in paths]
    assert all(path.exists() for path in paths)


def test_command_shows_handles_if_asked_for(report_settings: Settings) -> None:
    publish(report_settings, {"creators": garden_rows()["creators"], "videos": garden_rows()["videos"]})
    for options, name in (((), "account 1"), (("--handles",), "@anna")):
        assert run(*options, "garden").exit_code == 0
        page = ParsedReport((report_settings.reports / "garden.html").read_text())
        assert name in page.sections["creators"]
    assert "report --handles garden" in (report_settings.state / "audit_log.jsonl").read_text()


def test_command_rejects_an_unknown_study(report_settings: Settings) -> None:
    publish(report_settings, {})
    result = run("gardn")
    assert result.exit_code == 2
    assert "no study gardn" in result.stderr
    assert "garden" in result.stderr
    assert not report_settings.reports.exists()


def test_command_fails_without_a_warehouse(report_settings: Settings) -> None:
    assert not report_settings.warehouse.exists()
    result = run()
    assert result.exit_code == 1
    assert "no warehouse" in result.stderr
    assert "Traceback" not in result.output
