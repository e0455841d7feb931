"""Drafts of study files: the loader reads every answer back, and an invalid answer writes no file."""

import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.component import StudyParams, StudyScaffolder
from research_assets.settings import DEFS_DIR, Settings
from research_assets.study.draft import (
    DraftError,
    StudyDraft,
    draft_issues,
    render_yaml,
    require_unused_name,
    study_folder,
    write_draft,
)
from research_assets.study.loader import read_study_file
from research_assets.study.spec import CommentRule, UserRule
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

SMALLEST = StudyDraft(name="garden", start="2026-02-01", hashtags=("garten",))
FULL = StudyDraft(
    name="garden",
    start="2026-02-01",
    end="2026-02-28",
    regions=("NO", "de"),
    hashtags=("garten", "#balkon"),
    keywords=("mein garten: neu", "off"),
    usernames=("@anna.b",),
    comments="sample:0.1",
    users="top:20",
    panel=("no", "_x_"),
    observe="daily",
)


def test_loader_reads_every_answer_back(tmp_path: Path) -> None:
    (declared,) = read_study_file(write_draft(FULL, tmp_path / "garden"), studies_only=True)
    spec = declared.spec
    assert (spec.name, spec.start, spec.end, spec.observe) == ("garden", date(2026, 2, 1), date(2026, 2, 28), "daily")
    assert {
        (group, condition["field_name"], *condition["field_values"])
        for group, conditions in spec.query.items()
        for condition in conditions
    } == {
        ("and", "region_code", "NO", "DE"),
        ("and", "username", "anna.b"),
        ("or", "hashtag_name", "garten", "balkon"),
        ("or", "keyword", "mein garten: neu", "off"),
    }
    assert spec.comments == CommentRule(videos="sample", fraction=0.1)
    assert spec.users == UserRule(who="top", n=20)
    assert spec.panel == ("no", "_x_")


def test_smallest_draft_has_defaults_and_shows_other_options_as_comments(tmp_path: Path) -> None:
    file = write_draft(SMALLEST, tmp_path / "garden")
    (declared,) = read_study_file(file, studies_only=True)
    assert (declared.spec.end, declared.spec.panel, declared.spec.comments) == (None, (), CommentRule())
    assert list(declared.spec.query) == ["and"]
    for comment in ("# end:", "# reobserve_days:", "# panel:", "# quota_weight:"):
        assert comment in file.read_text()


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3))
def test_draft_contains_any_keywords_or_reports_an_issue_of_the_query(texts: list[str]) -> None:
    draft = replace(SMALLEST, hashtags=(), keywords=tuple(texts))
    assert all(issue.startswith("query.") for issue in draft_issues(draft))
    assert render_yaml(draft).count("\nattributes:") == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"name": "Garden"}, "name: must be lowercase letters"),
        ({"start": "2026-02-30"}, "start: must be a date"),
        ({"end": "2026-01-01"}, "end: 2026-01-01 is before the start"),
        ({"regions": ("XX",)}, "`XX` is not a region code"),
        ({"hashtags": ()}, "query: contains no condition"),
        ({"comments": "some"}, "comments.videos: must be 'all'"),
        ({"comments": "sample:2"}, "comments.fraction: "),
        ({"comments": "top:many"}, "comments.n: "),
        ({"users": "panel"}, "who: panel needs accounts"),
        ({"observe": "yearly\nname: x"}, "observe: must be 'weekly' or 'daily'"),
        ({"start": "2026-02-01\n  name: other"}, "start: must be a date"),
    ],
)
def test_invalid_answer_is_reported_and_writes_no_file(tmp_path: Path, answer: dict[str, str], message: str) -> None:
    with pytest.raises(DraftError, match=r"The study .* was not written") as caught:
        write_draft(replace(SMALLEST, **answer), tmp_path / "garden")  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert not (tmp_path / "garden").exists()


@pytest.mark.parametrize(
    ("folder", "written", "file"), [(0o2770, 0o2770, 0o660), (0o755, 0o755, 0o644), (0o700, 0o700, 0o600)]
)
def test_draft_has_the_access_of_its_folder(tmp_path: Path, folder: int, written: int, file: int) -> None:
    parent = tmp_path / "studies"
    parent.mkdir()
    parent.chmod(folder)
    before = os.umask(0o077)
    try:
        path = write_draft(SMALLEST, parent / "garden")
    finally:
        os.umask(before)
    assert path.parent.stat().st_mode & 0o7777 == written
    assert path.stat().st_mode & 0o7777 == file


@pytest.mark.parametrize("name", ["defs.yaml", "defs.yml"])
def test_draft_overwrites_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(DraftError, match=r"already exists\. Nothing was changed\."):
        write_draft(SMALLEST, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_new_study_needs_an_unused_name_and_goes_into_the_first_folder(tmp_path: Path) -> None:
    write(tmp_path / "old", MINIMAL_STUDY)
    settings = Settings.from_env({"RESEARCH_STUDIES": f"{tmp_path}:{tmp_path / 'old'}"})
    assert study_folder(settings, "new") == tmp_path / "new"
    assert study_folder(Settings.from_env({}), "new") == DEFS_DIR / "new"
    require_unused_name(settings, "new")
    with pytest.raises(DraftError, match=r"The study gardening is declared in .*old/defs\.yaml, line 3"):
        require_unused_name(settings, "gardening")


def request(folder: Path, **params: str) -> dg.ScaffoldRequest[StudyParams]:
    return dg.ScaffoldRequest(
        type_name="research_assets.Study",
        target_path=folder,
        scaffold_format="yaml",
        project_root=None,
        params=StudyParams(**params),
    )


def test_scaffolder_writes_the_same_file(tmp_path: Path) -> None:
    StudyScaffolder().scaffold(request(tmp_path / "garden", start="2026-02-01", hashtags="garten, balkon", panel="a"))
    (declared,) = read_study_file(tmp_path / "garden" / "defs.yaml")
    assert declared.spec.query["and"][0]["field_values"] == ["garten", "balkon"]
    assert (declared.spec.name, declared.spec.panel) == ("garden", ("a",))
    StudyScaffolder().scaffold(request(tmp_path / "balcony"))
    (without_options,) = read_study_file(tmp_path / "balcony" / "defs.yaml")
    assert without_options.spec.query["and"][0]["field_values"] == ["balcony"]


def test_scaffolder_rejects_python_and_appending(tmp_path: Path) -> None:
    for option in ({"scaffold_format": "python"}, {"append": True}):
        with pytest.raises(DraftError, match="a YAML file of its own"):
            StudyScaffolder().scaffold(replace(request(tmp_path / "garden"), **option))
