"""The record of a study: fixed at the first collection, changes appended, no account named, what its hash covers."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from research_assets.checks.study_health import provenance_result
from research_assets.cli import main
from research_assets.compliance.forget import remove_folder, remove_items
from research_assets.report.provenance import design_text
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings, prepare_root
from research_assets.study.loader import find_studies
from research_assets.study.provenance import (
    Held,
    ProvenanceError,
    contents_of,
    provenance_path,
    read_provenance,
    record_collection,
    record_preregistration,
    study_hash,
)
from research_assets.study.spec import StudySpec
from research_assets_tests.collect.harness import CollectorHarness, days
from research_assets_tests.compliance.data_folder import find
from research_assets_tests.study.study_files import HEADER, write

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
STUDY = """\
name: gardening
start: 2026-02-01
end: 2026-02-28
query:
  and:
    - {field: hashtag_name, eq: gardening}
    - {field: username, in: [moosfreund, beet.und.balkon]}
comments: none
users: none
panel: {usernames: [moosfreund, sandbox_beet]}
"""

NOTHING = Held(0, 0)

Load = Callable[..., StudySpec]


@pytest.fixture
def load(tmp_path: Path, settings: Settings) -> Load:
    """Return a function that loads the study of a text."""

    def loaded(text: str = STUDY) -> StudySpec:
        write(tmp_path / "studies" / "one", text)
        [study] = find_studies(settings, defs=tmp_path / "studies", today=date(2026, 3, 2))
        return study.spec

    return loaded


def hash_of(study: StudySpec) -> str:
    return study_hash(contents_of(study))


def record(settings: Settings, study: StudySpec, day: int, held: Held = NOTHING) -> bool:
    return record_collection(settings, study, NOW + timedelta(days=day), lambda: held)


def test_form_of_the_file_is_no_change(load: Load, tmp_path: Path, settings: Settings) -> None:
    one = load()
    file = tmp_path / "studies" / "one" / "defs.yaml"
    lines = STUDY.splitlines()
    # The keys in another order, a comment, blanks, a default that is written out, and a panel in another order.
    moved = [*lines[:3], *lines[7:9], 'panel: {usernames: ["@Sandbox_beet",   moosfreund]} # two', *lines[3:7]]
    file.write_text(HEADER + "".join(f"  {line}\n\n" for line in [*moved, "observe: weekly", "title: Gardens"]))
    [other] = find_studies(settings, defs=tmp_path / "studies", today=date(2026, 3, 2))
    assert hash_of(other.spec) == hash_of(one)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("end: 2026-02-28", "end: 2026-02-27"),
        ("eq: gardening", "eq: garden"),
        ("[moosfreund, beet", "[beet"),
        ("sandbox_beet]", "sandbox_beet, sandbox_new]"),
        ("comments: none", "comments: {videos: sample, fraction: 0.5, seed: 1}"),
        ("comments: none", "comments: none\ndays: {sample: 0.2}"),
        ("comments: none", "comments: none\nsettle_days: 3"),
        ("comments: none", "comments: none\nplaylists: true"),
        ("comments: none", "comments: none\nrepeat: 0.1"),
        ("comments: none", "comments: none\nfields: {videos: [id, create_time, username]}"),
    ],
)
def test_what_defines_the_data_is_a_change(load: Load, old: str, new: str) -> None:
    assert hash_of(load(STUDY.replace(old, new))) != hash_of(load())


def test_first_version_is_kept_and_changes_are_appended(load: Load, settings: Settings) -> None:
    first = load()
    assert [record(settings, first, 0), record(settings, first, 1)] == [True, False]
    path = provenance_path(settings, "gardening")
    [entry] = json.loads(path.read_bytes())["collected"]
    changed = load(STUDY.replace("02-28", "02-27").replace("sandbox_beet]", "sandbox_beet, sandbox_new]"))
    assert record(settings, changed, 2, Held(14, 30))
    assert not record(settings, changed, 3, Held(20, 40))
    stored = json.loads(path.read_bytes())["collected"]
    assert stored[0] == entry
    assert entry["sha256"] == hash_of(first)
    assert stored[1]["changed"]["end"] == {"old": "2026-02-28", "new": "2026-02-27"}
    assert stored[1]["changed"]["panel"]["new"]["values"] == 3
    assert (stored[1]["days_held"], stored[1]["units_held"]) == (14, 30)
    assert read_provenance(settings, "gardening").collected[-1].contents == contents_of(changed)
    # Back to the first version: that is a change as well.
    assert record(settings, first, 4, Held(21, 41))
    assert read_provenance(settings, "gardening").collected[-1].contents == contents_of(first)
    assert path.stat().st_mode & 0o077 == 0
    text = design_text(settings, first)
    assert "when data of 14 days (30 units) were stored" in text
    assert "end: 2026-02-28 -> 2026-02-27" in text
    assert "panel: 2 accounts" in text
    result = provenance_result(settings, first)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.metadata["changes"].value == 2


def test_unchanged_study_states_hash_version_and_date(load: Load, settings: Settings) -> None:
    study = load()
    assert design_text(settings, study) == ""
    assert provenance_result(settings, study).passed
    record(settings, study, 0)
    text = design_text(settings, study)
    assert "Collection began on 2026-03-02 09:00 UTC with research-assets " in text
    assert f"the study file with the SHA-256 {hash_of(study)}. It was not changed afterwards." in text
    assert provenance_result(settings, study).passed
    # A change before any data were stored is stated, and is no failed check.
    later = load(STUDY.replace("02-28", "02-27"))
    assert "nothing was collected with the change (end: 2026-02-28 -> 2026-02-27)" in design_text(settings, later)
    record(settings, later, 1)
    assert "when data of 0 days (0 units) were stored" in design_text(settings, later)
    assert provenance_result(settings, later).passed


def test_preregistration_is_compared_with_the_first_collection(load: Load, settings: Settings) -> None:
    study = load()
    record_preregistration(settings, study, NOW, NOTHING)
    record_preregistration(settings, load(STUDY.replace("02-28", "02-20")), NOW + timedelta(hours=1), NOTHING)
    record(settings, study, 1)
    text = design_text(settings, study)
    assert "written on 2026-03-02 09:00 UTC has the same hash as the study file of the first collection" in text
    assert "written on 2026-03-02 10:00 UTC has another hash" in text
    assert "end: 2026-02-20 -> 2026-02-28" in text


def test_record_names_no_account(load: Load, tmp_path: Path, settings: Settings) -> None:
    keyword = "    - {field: keyword, in: ['@moosfreund', moss]}\n"
    record(settings, load(STUDY.replace("comments:", f"{keyword}comments:")), 0)
    names = ("moosfreund", "beet.und.balkon", "sandbox_beet")
    stored = provenance_path(settings, "gardening").read_text()
    assert "moss" in stored
    assert not any(name in stored for name in names)
    secret = Settings.from_env({"RESEARCH_DATA": str(tmp_path / "other"), "RESEARCH_PSEUDONYM_KEY": "0f" * 32})
    write(tmp_path / "studies" / "one", STUDY + "pseudonymous: true\n")
    [study] = find_studies(secret, defs=tmp_path / "studies", today=date(2026, 3, 2))
    record(secret, study.spec, 0)
    stored = provenance_path(secret, "gardening").read_text()
    assert not any(name in stored for name in names)
    # A plain digest of two handles could be found by trying handles.
    assert contents_of(study.spec)["panel"]["sha256"] != contents_of(load())["panel"]["sha256"]


def test_withdrawal_is_no_change_and_leaves_no_name(load: Load, settings: Settings) -> None:
    prepare_root(settings)
    # A keyword may be a handle without `@`.
    text = STUDY.replace("eq: gardening", "eq: moosfreund1")
    before = load(text)
    record(settings, before, 0)
    assert find(settings.root, ("moosfreund1",))
    remove_items(settings, lambda: NOW, handles=["moosfreund", "moosfreund1"])
    after = load(text)
    assert after.panel == ("sandbox_beet",)
    assert not record(settings, after, 1)
    assert find(settings.root, ("moosfreund", "moosfreund1")) == []
    assert record(settings, load(text.replace("02-28", "02-27")), 2)
    # The whole query is written again.
    assert record(settings, load(text.replace("eq: moos", "in: [moss, moos").replace("freund1", "freund1]")), 3)
    assert find(settings.root, ("moosfreund", "moosfreund1")) == []
    assert design_text(settings, after)


def test_forgotten_study_has_no_record(load: Load, settings: Settings) -> None:
    prepare_root(settings)
    record(settings, load(), 0)
    [receipt] = remove_folder(settings, lambda: NOW, "gardening")
    assert receipt.counts["study records"] == {"removed": 1}
    assert not provenance_path(settings, "gardening").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"collected": [{}], "preregistered": []}', "\udcff"])
async def test_damaged_record_never_stops_collection(
    load: Load, settings: Settings, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    study = load(STUDY.partition("    - {field: username")[0] + "comments: none\nusers: none\n")
    path = provenance_path(settings, "gardening")
    path.parent.mkdir(parents=True)
    damaged = content.encode("utf-8", "surrogateescape")
    path.write_bytes(damaged)
    with pytest.raises(ProvenanceError, match="Restore it from a backup"):
        record(settings, study, 0)
    assert "cannot be read" in design_text(settings, study)
    result = provenance_result(settings, study)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "cannot be read" in (result.description or "")
    if content == "{":
        harness = CollectorHarness(settings, SandboxConfig(profile="clean"))
        with caplog.at_level(logging.WARNING):
            finished, pause = await harness.collect("videos", days(1), study)
        assert (pause, [one.state for one in finished.values()]) == (None, ["complete"])
        assert "was not compared with that of the first collection" in caplog.text
    assert path.read_bytes() == damaged


async def test_collection_records_the_study_and_what_was_held(
    load: Load, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = STUDY.partition("    - {field: username")[0] + "comments: none\nusers: none\n"
    harness = CollectorHarness(settings, SandboxConfig(profile="clean"))
    await harness.collect("videos", days(2), load(text))
    changed = load(text.replace("eq: gardening", "eq: garden"))
    assert not provenance_result(settings, changed).passed
    await harness.collect("videos", days(3), changed)
    first, second = read_provenance(settings, "gardening").collected
    assert (first.held, second.held) == (Held(0, 0), Held(2, 2))
    monkeypatch.setenv("RESEARCH_DATA", str(settings.root))
    monkeypatch.setenv("RESEARCH_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("TIKTOK_API_URL", harness.settings.api_url)
    shown = " ".join(CliRunner().invoke(main, ["status"]).output.split())
    assert f"gardening: study file {first.sha256[:12]}, first collection" in shown
    assert "when data of 2 days (2 units) were stored" in shown
