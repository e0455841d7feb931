"""What a study file says, and how each mistake in it is told."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from research_assets.settings import Settings
from research_assets.study.loader import StudyError, find_studies, load_studies, read_study_file
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets_tests.study.study_files import FULL_STUDY, HEADER, MINIMAL_STUDY, write

TODAY = date(2026, 3, 2)

Mistakes = Callable[[str], tuple[tuple[int, str, str], ...]]


@pytest.fixture
def mistakes(tmp_path: Path) -> Mistakes:
    """Each mistake of a study with these attributes, as (line of the attributes, key, message)."""

    def tell(attributes: str) -> tuple[tuple[int, str, str], ...]:
        file = write(tmp_path / "study", attributes)
        with pytest.raises(StudyError) as caught:
            read_study_file(file, today=TODAY)
        assert all(mistake.file == file for mistake in caught.value.issues)
        assert all(str(mistake) in str(caught.value) for mistake in caught.value.issues)
        first = HEADER.count("\n")
        return tuple((m.line - first, m.key.removeprefix("attributes."), m.message) for m in caught.value.issues)

    return tell


def read(folder: Path, attributes: str) -> StudySpec:
    [declared] = read_study_file(write(folder, attributes), today=TODAY)
    return declared.spec


def test_small_study_has_defaults(tmp_path: Path) -> None:
    spec = read(tmp_path, MINIMAL_STUDY)
    assert spec == StudySpec(
        name="gardening",
        start=date(2026, 2, 1),
        query={"and": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},)},
    )


def test_whole_study(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text("name,username\nMoos,@moosfreund\nFarn,farn_fan\n")
    spec = read(tmp_path, FULL_STUDY)
    assert spec.end == date(2026, 2, 28)
    assert spec.reobserve_days == (10, 30)
    assert spec.comments == CommentRule("sample", fraction=0.1, seed=7)
    assert spec.users == UserRule("top", n=200)
    assert spec.panel == ("beet.und.balkon", "moosfreund", "farn_fan")
    assert (spec.observe, spec.quota_weight) == ("daily", 2.0)
    assert spec.fields == {"videos": ("id", "create_time", "username", "comment_count")}
    assert set(spec.query) == {"and", "not"}


@pytest.mark.parametrize(
    ("line", "comments", "users"),
    [
        ("comments: none\nusers: none", CommentRule("none"), UserRule("none")),
        ("comments: {videos: none}\nusers: {who: none}", CommentRule("none"), UserRule("none")),
        ("comments: {videos: top, n: 50}", CommentRule("top", n=50), UserRule()),
        ("comments: {replies: none}", CommentRule(replies="none"), UserRule()),
        ("users: panel\npanel: {usernames: [a]}", CommentRule(), UserRule("panel")),
    ],
)
def test_rules(tmp_path: Path, line: str, comments: CommentRule, users: UserRule) -> None:
    spec = read(tmp_path, MINIMAL_STUDY + line)
    assert (spec.comments, spec.users) == (comments, users)


@pytest.mark.parametrize(
    ("was", "now", "line", "where", "said"),
    [
        ("name: gardening", "name: Gardening", 1, "name", "small letters, digits and _"),
        ("name: gardening", "name: marts", 1, "name", "name of the warehouse's own"),
        ("name: gardening", "name: gardening\nobseve: daily", 2, "obseve", "Do you mean 'observe'?"),
        ("name: gardening", "settle_days: 1", 0, "name", "the key 'name' is missing"),
        ("start: 2026-02-01", "start: 2026-02-30", 2, "start", "a day of the calendar such as 2026-02-01"),
        ("start: 2026-02-01", "start: soon", 2, "start", "not 'soon'"),
        ("start: 2026-02-01", "start: 2026-03-03", 2, "start", "in the future"),
        ("start: 2026-02-01", "start: 2026-02-01\nend: 2026-01-31", 3, "end", "before the start"),
        ("start: 2026-02-01", "start: 2026-02-01\nstart: 2026-02-02", 3, "start", "stands there twice"),
        ("hashtag_name", "hashtagname", 5, "query.and.0.field", "hashtag_name"),
        ("eq: gardening", "is: gardening", 5, "query.and.0.is", "eq"),
        ("eq: gardening", "eq: [a, b]", 5, "query.and.0.eq", "in"),
        ("{field: hashtag_name, eq: gardening}", "{field: region_code, eq: UK}", 5, "query.and.0.eq", "GB"),
        (
            "{field: hashtag_name, eq: gardening}",
            "{field: region_code, in: [SE, NO]}",
            5,
            "query.and.0.in.1",
            "'NO' in",
        ),
        ("  and:", "  nor:", 4, "query.nor", "`and`, `or`, `not`"),
    ],
)
def test_one_mistake(mistakes: Mistakes, was: str, now: str, line: int, where: str, said: str) -> None:
    assert was in MINIMAL_STUDY
    [(at, key, message)] = mistakes(MINIMAL_STUDY.replace(was, now))
    assert (at, key) == (line, where)
    assert said in message


@pytest.mark.parametrize(
    ("added", "where", "said"),
    [
        ("observe: monthly", "observe", "'weekly' or 'daily', not 'monthly'"),
        ("quota_weight: 0", "quota_weight", "greater than 0, not 0"),
        ("settle_days: -1", "settle_days", "greater than or equal to 0"),
        ("settle_days: two", "settle_days", "valid integer"),
        ("reobserve_days: [1, 10]", "reobserve_days", "above settle_days"),
        ("reobserve_days: [10, 10]", "reobserve_days", "twice"),
        ("comments: {videos: topp}", "comments.videos", "not 'topp'"),
        ("comments: some", "comments.videos", "not 'some'"),
        ("comments: 3", "comments", "mapping with the keys videos, n, fraction, seed, replies"),
        ("comments: {videos: top}", "comments", "top needs n"),
        ("comments: {videos: top, n: 0}", "comments.n", "greater than or equal to 1"),
        ("comments: {videos: all, n: 3}", "comments.n", "with top only"),
        ("comments: {videos: sample}", "comments", "sample needs fraction"),
        ("comments: {videos: sample, fraction: 1.5}", "comments.fraction", "less than or equal to 1"),
        ("comments: {video: all}", "comments.video", "Do you mean 'videos'?"),
        ("users: {who: top}", "users", "top needs n"),
        ("users: {who: everybody}", "users.who", "'authors', 'top', 'panel' or 'none'"),
        ("users: panel", "users", "there is no panel"),
        ("panel: {usernames: [a b]}", "panel.usernames.0", "no handle"),
        ("panel: {file: panel.csv}", "panel.file", "cannot be read"),
        ("panel: {file: panel.xlsx}", "panel.file", "must end in .csv or .txt"),
        ("panel: [a]", "panel", "mapping with the keys usernames, file"),
        ("fields: {videos: [id, create_time, username, comment_count, likes]}", "fields.videos.4", "like_count"),
        ("fields: {videos: [id, username, comment_count]}", "fields.videos", "create_time cannot be dropped"),
        ("fields: {videos: [create_time, username, comment_count]}", "fields.videos", "id cannot be dropped"),
        ("fields: {videos: [id, create_time, username]}", "fields.videos", "comment_count cannot be dropped"),
        ("fields: {followers: [username]}", "fields.followers", "cannot be narrowed"),
        ("fields: {video: [id]}", "fields.video", "no entity 'video'"),
    ],
)
def test_one_mistake_in_what_is_optional(mistakes: Mistakes, added: str, where: str, said: str) -> None:
    [(line, key, message)] = mistakes(MINIMAL_STUDY + added)
    assert (line, key) == (6, where)
    assert said in message


def test_fields_may_drop_what_no_rule_needs(tmp_path: Path) -> None:
    spec = read(tmp_path, MINIMAL_STUDY + "comments: none\nusers: none\nfields: {videos: [id, create_time]}")
    assert spec.fields == {"videos": ("id", "create_time")}


def test_all_mistakes_are_told_at_once(mistakes: Mistakes) -> None:
    found = mistakes(
        MINIMAL_STUDY.replace("hashtag_name", "hashtag").replace("gardening", "Gardening") + "observe: never"
    )
    assert [where for _, where, _ in found] == ["name", "query.and.0.field", "observe"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("attributes: [", "is not YAML"),
        ("type: research_assets.Study\n", "must be a mapping with the keys name, start"),
        ("type: research_assets.Study\nattributes: {}\nextra: 1\n", "there is no key 'extra' here; allowed: type"),
        ("", "is empty"),
        ("type: research_assets.Stdy\n", "not 'research_assets.Stdy'"),
        ("- a\n", "must be `type: research_assets.Study`"),
        ("type: research_assets.Study\nattributes: !!python/name:os.system\n", "is not YAML"),
    ],
)
def test_files_that_are_no_study(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(text)
    with pytest.raises(StudyError, match="mistake") as caught:
        read_study_file(file, today=TODAY, studies_only=True)
    assert said in str(caught.value)


def test_other_components_beside_studies_are_left_alone(tmp_path: Path, settings: Settings) -> None:
    write(tmp_path / "defs" / "one", MINIMAL_STUDY)
    (tmp_path / "defs" / "defs.yaml").write_text("type: dagster.DefsFolderComponent\n")
    assert [spec.name for spec in load_studies(settings, defs=tmp_path / "defs", today=TODAY)] == ["gardening"]


def test_studies_of_the_project_and_of_other_folders(tmp_path: Path, settings: Settings) -> None:
    write(tmp_path / "defs" / "one", MINIMAL_STUDY)
    outside = write(tmp_path / "elsewhere" / "two", MINIMAL_STUDY.replace("gardening", "balcony"))
    write(tmp_path / "elsewhere" / ".hidden", MINIMAL_STUDY)
    settings = replace(settings, studies=(tmp_path / "elsewhere", tmp_path / "elsewhere"))
    found = find_studies(settings, defs=tmp_path / "defs", today=TODAY)
    assert [study.spec.name for study in found] == ["balcony", "gardening"]
    assert found[0].file == outside


def test_two_studies_of_one_name(tmp_path: Path, settings: Settings) -> None:
    first = write(tmp_path / "defs" / "one", MINIMAL_STUDY)
    second = write(tmp_path / "elsewhere" / "two", MINIMAL_STUDY)
    settings = replace(settings, studies=(tmp_path / "elsewhere",))
    with pytest.raises(StudyError) as caught:
        load_studies(settings, defs=tmp_path / "defs", today=TODAY)
    [mistake] = caught.value.issues
    assert (mistake.file, mistake.line, mistake.key) == (second, 3, "attributes.name")
    assert f"{first}:3" in mistake.message


def test_a_folder_of_studies_that_is_not_there(tmp_path: Path, settings: Settings) -> None:
    settings = replace(settings, studies=(tmp_path / "nowhere",))
    with pytest.raises(StudyError, match="RESEARCH_STUDIES names it"):
        load_studies(settings, defs=tmp_path, today=TODAY)


def test_two_studies_in_one_file(tmp_path: Path) -> None:
    file = write(tmp_path, MINIMAL_STUDY)
    file.write_text(file.read_text() + "---\n" + file.read_text().replace("gardening", "balcony"))
    assert [declared.line for declared in read_study_file(file, today=TODAY)] == [3, 11]
