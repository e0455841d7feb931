"""The preregistration states what the study file fixes, names no account, and says if collection has begun."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from research_assets.cli import main
from research_assets.cli.environment import data_settings
from research_assets.planning.forecast import EntityForecast
from research_assets.report.preregistration import Registration, render_preregistration
from research_assets.study.day_sample import DaySample
from research_assets.study.loader import find_studies
from research_assets.study.provenance import contents_of, read_provenance, study_hash
from research_assets.study.spec import CommentRule, StudySpec
from research_assets.units.estimates import Estimate
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
STUDY = StudySpec(
    name="garden",
    title="Gardens\n# of Vienna",
    start=date(2026, 2, 1),
    end=date(2026, 2, 28),
    query={
        "and": (
            {"operation": "EQ", "field_name": "hashtag_name", "field_values": ["garten"]},
            {"operation": "IN", "field_name": "username", "field_values": ["anna", "ben"]},
        )
    },
    reobserve_days=(12, 30),
    comments=CommentRule("sample", fraction=0.2, seed=7),
    panel=("carla",),
)
REGISTRATION = Registration(STUDY, "garden.yaml", "ab" * 32, 0, "research-assets 1.0", False)
COST = EntityForecast("garden", "videos", 28, Estimate(30.2, "no data yet"), 1.5, {}, None)


def test_document_states_what_is_fixed() -> None:
    text = render_preregistration(REGISTRATION, [COST], NOW)
    for part in (
        "# Preregistration: Gardens # of Vienna\n",
        "Written at 2026-03-02 09:00 (UTC) by research-assets 1.0",
        f"`garden.yaml`, SHA-256 `{'ab' * 32}`",
        "No day of the study had been collected",
        "from 2026-02-01 to 2026-02-28 (UTC, inclusive)",
        '  and: {"operation": "EQ", "field_name": "hashtag_name", "field_values": ["garten"]}',
        '"field_values": "2 values, not named"',
        "ages in days: 12, 30",
        "fraction 0.2, seed 7",
        "| videos | 31 or more | 1.5 | no data yet |",
        "### Statistical models",
    ):
        assert part in text
    assert not re.search("anna|ben|carla", text)


def test_document_states_sampled_and_repeated_days_and_playlists() -> None:
    study = replace(STUDY, day_sample=DaySample(0.3, ("weekday",), 7), repeat=0.1, playlists=True)
    text = render_preregistration(replace(REGISTRATION, study=study), [COST], NOW)
    assert re.search(r"Days: \d+ of 28 days are sampled \(\d+%; at random by weekday, seed 7\)", text)
    assert "A share of 0.1 of the days is collected twice within a day." in text
    assert "The playlists of the collected videos are observed in the same periods." in text


def test_document_says_if_collection_has_begun() -> None:
    text = render_preregistration(replace(REGISTRATION, days_collected=3, simulated=True), [COST], NOW)
    assert "**Collection has begun**: videos of 3 days were collected" in text
    assert "**Simulated data.**" in text


def test_command_writes_the_document_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "studies" / "one", MINIMAL_STUDY)
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["preregister", "gardening"])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "preregistration-gardening.md").read_text()
    [declared] = find_studies(data_settings())
    assert f"SHA-256 `{study_hash(contents_of(declared.spec))}`" in text
    [registered] = read_provenance(data_settings(), "gardening").preregistered
    assert registered.sha256 in text
    assert "| videos |" in text
    again = CliRunner().invoke(main, ["preregister", "gardening"])
    assert again.exit_code == 2
    assert "is not overwritten" in " ".join(again.stderr.split())
    assert (tmp_path / "preregistration-gardening.md").read_text() == text
    assert CliRunner().invoke(main, ["preregister", "nope"]).exit_code == 2
