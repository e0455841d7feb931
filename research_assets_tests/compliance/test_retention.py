"""The end of retention is announced by a notice, a check and `status`; `status` also says who can read the data."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from research_assets.checks import check_keys, study_checks
from research_assets.cli import main
from research_assets.compliance.retention import deletion_notice
from research_assets.resources import CollectorResource, warehouse_resource
from research_assets.settings import Settings
from research_assets_tests.collect.harness import study
from research_assets_tests.conftest import FakeClock
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

LAST = date(2026, 12, 31)


@pytest.mark.parametrize(
    ("today", "text", "is_overdue"),
    [
        (date(2026, 12, 16), None, False),
        (date(2026, 12, 17), "ends on 2026-12-31 (UTC), in 14 days", False),
        (date(2026, 12, 30), "in 1 day.", False),
        (LAST, "today", False),
        (date(2027, 1, 1), "ended on 2026-12-31 (UTC), 1 day ago", True),
    ],
)
def test_notice_begins_14_days_before_the_last_day_of_retention(
    today: date, text: str | None, is_overdue: bool
) -> None:
    notice = deletion_notice(study(delete_after=LAST), today)
    assert (notice is None) == (text is None)
    if notice is not None:
        assert str(text) in notice.text
        assert "research-assets forget --study garden" in notice.text
        assert notice.is_overdue == is_overdue
    assert deletion_notice(study(), today) is None


@pytest.mark.parametrize(
    ("days_left", "passed", "severity"),
    [(15, True, None), (14, False, dg.AssetCheckSeverity.WARN), (-1, False, dg.AssetCheckSeverity.ERROR)],
)
def test_check_warns_before_the_last_day_and_fails_after_it(
    settings: Settings, days_left: int, passed: bool, severity: dg.AssetCheckSeverity | None
) -> None:
    clock = FakeClock(datetime(2026, 6, 1, tzinfo=UTC))
    retained = study(delete_after=clock.now().date() + timedelta(days=days_left))
    [key] = [key for key in check_keys(retained) if key.name == "garden_is_within_retention"]
    assert key not in check_keys(study())
    result = dg.materialize(
        study_checks(retained),
        selection=dg.AssetSelection.checks(key),
        resources={
            "research_api": dg.ResourceDefinition.hardcoded_resource(CollectorResource(settings, clock=clock)),
            "warehouse": warehouse_resource(settings),
        },
    )
    [evaluation] = result.get_asset_check_evaluations()
    assert evaluation.passed == passed
    if severity is not None:
        assert evaluation.severity == severity
        assert "forget --study garden" in str(evaluation.description)


@pytest.fixture
def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("TIKTOK_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    return Settings.from_env()


@pytest.mark.usefixtures("data_folder")
def test_status_announces_the_end_of_retention(tmp_path: Path) -> None:
    write(tmp_path / "studies", f"{MINIMAL_STUDY}end: 2026-02-02\ndelete_after: 2026-02-03\n")
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "gardening: the retention of its data ended on 2026-02-03 (UTC)" in text


def test_status_says_whether_other_users_can_read_the_data(data_folder: Settings) -> None:
    data_folder.root.mkdir(mode=0o700)
    assert "Only the owner of the data folder can read it." in CliRunner().invoke(main, ["status"]).stdout
    data_folder.root.chmod(0o750)
    text = " ".join(CliRunner().invoke(main, ["status"]).stdout.split())
    assert "Readable by other users:" in text
    assert "(permissions 750). Run: chmod 700" in text
    assert "Only the owner" not in text


def test_home_of_dagster_outside_of_the_data_folder_is_checked(
    data_folder: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_folder.root.mkdir(mode=0o700)
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    text = " ".join(CliRunner().invoke(main, ["status"]).stdout.split())
    assert "with Dagster's event log (permissions 755)" in text


@pytest.mark.usefixtures("data_folder")
def test_retention_before_the_last_day_of_a_study_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "studies", f"{MINIMAL_STUDY}end: 2026-02-28\ndelete_after: 2026-02-03\n")
    result = CliRunner().invoke(main, ["plan"])
    assert result.exit_code == 1
    assert "delete_after: 2026-02-03 is before 2026-02-28" in " ".join(result.output.split())


def test_status_says_who_can_read_the_shared_marts(
    data_folder: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_folder.root.mkdir(mode=0o700)
    shared = tmp_path / "shared"
    monkeypatch.setenv("RESEARCH_SHARED_MARTS", str(shared))
    for mode, readers in (
        (None, "cannot be read (No such file or directory)"),
        (0o700, "only the owner of the folder"),
        (0o750, "the group"),
        (0o755, "all users of this machine"),
    ):
        if mode is not None:
            shared.mkdir(exist_ok=True)
            shared.chmod(mode)
        text = "".join(CliRunner().invoke(main, ["status"]).stdout.split())
        assert "".join(f"The marts are copied to {shared}: {readers}".split()) in text
