"""A new study file says what was answered, as the real loader reads it, and a wrong answer writes nothing."""

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


def test_every_answer_is_read_back(tmp_path: Path) -> None:
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


def test_the_smallest_study_has_the_defaults_and_tells_the_rest_in_comments(tmp_path: Path) -> None:
    file = write_draft(SMALLEST, tmp_path / "garden")
    (declared,) = read_study_file(file, studies_only=True)
    assert (declared.spec.end, declared.spec.panel, declared.spec.comments) == (None, (), CommentRule())
    assert list(declared.spec.query) == ["and"]
    for reported in ("# end:", "# reobserve_days:", "# panel:", "# quota_weight:"):
        assert reported in file.read_text()


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3))
def test_whatever_the_words_the_file_holds_them_or_says_why_not(texts: list[str]) -> None:
    draft = replace(SMALLEST, hashtags=(), keywords=tuple(texts))
    found = draft_issues(draft)
    assert all(mistake.startswith("query.") for mistake in found)
    assert render_yaml(draft).count("\nattributes:") == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "Garden"}, "name: must be small letters"),
        ({"start": "2026-02-30"}, "start: must be a day of the calendar"),
        ({"end": "2026-01-01"}, "end: 2026-01-01 is before the start"),
        ({"regions": ("XX",)}, "`XX` is no region code"),
        ({"hashtags": ()}, "query: holds no condition"),
        ({"comments": "some"}, "comments.videos: must be 'all'"),
        ({"comments": "sample:2"}, "comments.fraction: "),
        ({"comments": "top:many"}, "comments.n: "),
        ({"users": "panel"}, "users of the panel are wanted"),
        ({"observe": "yearly\nname: x"}, "observe: must be 'weekly' or 'daily'"),
        ({"start": "2026-02-01\n  name: other"}, "start: must be a day"),
    ],
)
def test_a_wrong_answer_is_told_and_nothing_is_written(tmp_path: Path, wrong: dict[str, str], said: str) -> None:
    with pytest.raises(DraftError, match=r"The study .* was not written") as reported:
        write_draft(replace(SMALLEST, **wrong), tmp_path / "garden")  # type: ignore[arg-type]
    assert said in str(reported.value)
    assert not (tmp_path / "garden").exists()


@pytest.mark.parametrize("name", ["defs.yaml", "defs.yml"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(DraftError, match="is there already; nothing is overwritten"):
        write_draft(SMALLEST, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_name_is_taken_once_and_the_first_folder_of_studies_comes_first(tmp_path: Path) -> None:
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


def test_dg_writes_the_same_file(tmp_path: Path) -> None:
    StudyScaffolder().scaffold(request(tmp_path / "garden", start="2026-02-01", hashtags="garten, balkon", panel="a"))
    (declared,) = read_study_file(tmp_path / "garden" / "defs.yaml")
    assert declared.spec.query["and"][0]["field_values"] == ["garten", "balkon"]
    assert (declared.spec.name, declared.spec.panel) == ("garden", ("a",))
    StudyScaffolder().scaffold(request(tmp_path / "balcony"))
    (bare,) = read_study_file(tmp_path / "balcony" / "defs.yaml")
    assert bare.spec.query["and"][0]["field_values"] == ["balcony"]


def test_dg_writes_no_python_and_adds_to_no_file(tmp_path: Path) -> None:
    for wrong in ({"scaffold_format": "python"}, {"append": True}):
        with pytest.raises(DraftError, match="a YAML file of its own"):
            StudyScaffolder().scaffold(replace(request(tmp_path / "garden"), **wrong))
