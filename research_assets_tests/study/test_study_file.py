"""Study files: the spec that a file declares, and the message for each error."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from research_assets.settings import Settings
from research_assets.study.day_sample import DaySample
from research_assets.study.loader import (
    StudyError,
    find_studies,
    load_studies,
    overlooked_files,
    read_study_file,
    studies_reader,
)
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets_tests.storage.test_listing import forbid_listing
from research_assets_tests.study.study_files import FULL_STUDY, HEADER, MINIMAL_STUDY, write

TODAY = date(2026, 3, 2)

FindIssues = Callable[[str], tuple[tuple[int, str, str], ...]]


@pytest.fixture
def find_issues(tmp_path: Path) -> FindIssues:
    """Return each issue of a study with these attributes, as (line of the attributes, key, message)."""

    def find(attributes: str) -> tuple[tuple[int, str, str], ...]:
        file = write(tmp_path / "study", attributes)
        with pytest.raises(StudyError) as caught:
            read_study_file(file, today=TODAY)
        assert all(issue.file == file for issue in caught.value.issues)
        assert all(str(issue) in str(caught.value) for issue in caught.value.issues)
        offset = HEADER.count("\n")
        return tuple(
            (one.line - offset, one.key.removeprefix("attributes."), one.message) for one in caught.value.issues
        )

    return find


def read(folder: Path, attributes: str) -> StudySpec:
    [declared] = read_study_file(write(folder, attributes), today=TODAY)
    return declared.spec


def test_minimal_study_has_defaults(tmp_path: Path) -> None:
    spec = read(tmp_path, MINIMAL_STUDY)
    assert spec == StudySpec(
        name="gardening",
        start=date(2026, 2, 1),
        query={"and": ({"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},)},
        reobserve_days=(12,),
        count_lag_days=10,
    )


@pytest.mark.parametrize(
    ("lines", "ages"),
    [
        ("comments: none", ()),
        ("comments: {videos: top, n: 5}", (12,)),
        ("count_lag_days: 5", (7,)),
        ("count_lag_days: 0", ()),
        ("settle_days: 4", (14,)),
        ("reobserve_days: []", ()),
        ("reobserve_days: [30]", (30,)),
    ],
)
def test_study_with_comments_reobserves_its_days_once_their_counts_have_caught_up(
    tmp_path: Path, lines: str, ages: tuple[int, ...]
) -> None:
    assert read(tmp_path, f"{MINIMAL_STUDY}{lines}\n").reobserve_days == ages


def test_period_without_a_sampled_day_is_refused(find_issues: FindIssues) -> None:
    added = "end: 2026-02-01\ndays: {sample: 0.1, by: [quarter], seed: 1}\n"
    [(_, key, message)] = find_issues(MINIMAL_STUDY + added)
    assert key == "days"
    assert message.startswith("no day between 2026-02-01 and 2026-02-01 was drawn")


def test_full_study_sets_every_key(tmp_path: Path) -> None:
    (tmp_path / "panel.csv").write_text("name,username\nMoos,@moosfreund\nFarn,farn_fan\n")
    spec = read(tmp_path, FULL_STUDY)
    assert spec.end == date(2026, 2, 28)
    assert spec.day_sample == DaySample(0.2, ("month", "weekday"), 7)
    assert (spec.reobserve_days, spec.repeat) == ((10, 30), 0.05)
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
def test_comment_and_user_rules_have_short_forms(
    tmp_path: Path, line: str, comments: CommentRule, users: UserRule
) -> None:
    spec = read(tmp_path, MINIMAL_STUDY + line)
    assert (spec.comments, spec.users) == (comments, users)


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message"),
    [
        ("name: gardening", "name: Gardening", 1, "name", "lowercase letters, digits and _"),
        ("name: gardening", "name: marts", 1, "name", "reserved for the warehouse"),
        ("name: gardening", "name: gardening\nobseve: daily", 2, "obseve", "Do you mean 'observe'?"),
        ("name: gardening", "settle_days: 1", 0, "name", "the key 'name' is missing"),
        ("start: 2026-02-01", "start: 2026-02-30", 2, "start", "must be a date such as 2026-02-01"),
        ("start: 2026-02-01", "start: soon", 2, "start", "not 'soon'"),
        ("start: 2026-02-01", "start: 2026-03-03", 2, "start", "in the future"),
        ("start: 2026-02-01", "start: 2026-02-01\nend: 2026-01-31", 3, "end", "before the start"),
        ("start: 2026-02-01", "start: 2026-02-01\nstart: 2026-02-02", 3, "start", "duplicate key; remove one"),
        ("hashtag_name", "hashtagname", 5, "query.and.0.field", "hashtag_name"),
        ("eq: gardening", "is: gardening", 5, "query.and.0.is", "eq"),
        ("eq: gardening", "eq: [a, b]", 5, "query.and.0.eq", "in"),
        ("{field: hashtag_name, eq: gardening}", "{field: region_code, eq: UK}", 5, "query.and.0.eq", "GB"),
        ("  and:", "  nor:", 4, "query.nor", "`and`, `or`, `not`"),
    ],
)
def test_error_in_a_required_key_has_its_line_and_message(
    find_issues: FindIssues, old: str, new: str, line: int, key: str, message: str
) -> None:
    assert old in MINIMAL_STUDY
    [(found_line, found_key, found_message)] = find_issues(MINIMAL_STUDY.replace(old, new))
    assert (found_line, found_key) == (line, key)
    assert message in found_message


@pytest.mark.parametrize(
    ("added", "key", "message"),
    [
        ("observe: monthly", "observe", "'weekly' or 'daily', not 'monthly'"),
        ("quota_weight: 0", "quota_weight", "greater than 0, not 0"),
        ("settle_days: -1", "settle_days", "greater than or equal to 0"),
        ("settle_days: two", "settle_days", "valid integer"),
        ("reobserve_days: [1, 10]", "reobserve_days", "above settle_days"),
        ("days: {sample: 1.5}", "days.sample", "less than or equal to 1"),
        ("days: {sample: 0.2, by: [month, quarter]}", "days.by", "month or quarter, not both"),
        ("days: {sample: 0.2, by: [hour]}", "days.by.0", "weekday"),
        ("reobserve_days: [10, 10]", "reobserve_days", "duplicate age"),
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
        ("users: {who: anyone}", "users.who", "'authors', 'top', 'panel' or 'none'"),
        ("users: panel", "users", "there is no panel"),
        ("panel: {usernames: [a b]}", "panel.usernames.0", "more than one name"),
        ("panel: {file: panel.csv}", "panel.file", "cannot be read"),
        ("panel: {file: panel.xlsx}", "panel.file", "must end in .csv, .tsv or .txt"),
        ("panel: [a]", "panel", "mapping with the keys usernames, file"),
        ("fields: {videos: [id, create_time, username, comment_count, likes]}", "fields.videos.4", "like_count"),
        ("fields: {videos: [id, username, comment_count]}", "fields.videos", "create_time cannot be dropped"),
        ("fields: {videos: [create_time, username, comment_count]}", "fields.videos", "id cannot be dropped"),
        ("fields: {videos: [id, create_time, username]}", "fields.videos", "comment_count cannot be dropped"),
        ("fields: {followers: [username]}", "fields.followers", "cannot be narrowed"),
        ("fields: {users: []}", "fields.users", "is empty; name at least one field"),
        ("fields: {video: [id]}", "fields.video", "no entity 'video'"),
    ],
)
def test_error_in_an_optional_key_has_its_line_and_message(
    find_issues: FindIssues, added: str, key: str, message: str
) -> None:
    [(line, found_key, found_message)] = find_issues(MINIMAL_STUDY + added)
    assert (line, found_key) == (6, key)
    assert message in found_message


def test_study_may_drop_fields_that_no_rule_needs(tmp_path: Path) -> None:
    spec = read(tmp_path, MINIMAL_STUDY + "comments: none\nusers: none\nfields: {videos: [id, create_time]}")
    assert spec.fields == {"videos": ("id", "create_time")}


def test_loader_reports_all_errors_at_once(find_issues: FindIssues) -> None:
    found = find_issues(
        MINIMAL_STUDY.replace("hashtag_name", "hashtag").replace("gardening", "Gardening") + "observe: never"
    )
    assert [key for _, key, _ in found] == ["name", "query.and.0.field", "observe"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attributes: [", "is not YAML"),
        ("type: research_assets.Study\n", "must be a mapping with the keys name, start"),
        ("type: research_assets.Study\nattributes: {}\nextra: 1\n", "unknown key 'extra'; allowed: type"),
        ("", "is empty"),
        ("type: research_assets.Stdy\n", "not 'research_assets.Stdy'"),
        ("- a\n", "must be `type: research_assets.Study`"),
        (
            "type: research_assets.Study\nattributes: !!python/name:os.system\n",
            "the tag !!python/name:os.system is not allowed",
        ),
    ],
)
def test_loader_rejects_files_without_a_study(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(text)
    with pytest.raises(StudyError, match=r"\d errors? in the study files") as caught:
        read_study_file(file, today=TODAY, studies_only=True)
    assert message in str(caught.value)


def test_loader_ignores_other_components_of_the_project(tmp_path: Path, settings: Settings) -> None:
    write(tmp_path / "defs" / "one", MINIMAL_STUDY)
    (tmp_path / "defs" / "defs.yaml").write_text("type: dagster.DefsFolderComponent\n")
    assert [spec.name for spec in load_studies(settings, defs=tmp_path / "defs", today=TODAY)] == ["gardening"]


def test_loader_finds_studies_of_the_project_and_of_other_folders(tmp_path: Path, settings: Settings) -> None:
    write(tmp_path / "defs" / "one", MINIMAL_STUDY)
    outside = write(tmp_path / "elsewhere" / "two", MINIMAL_STUDY.replace("gardening", "balcony"))
    write(tmp_path / "elsewhere" / ".hidden", MINIMAL_STUDY)
    settings = replace(settings, studies=(tmp_path / "elsewhere", tmp_path / "elsewhere"))
    found = find_studies(settings, defs=tmp_path / "defs", today=TODAY)
    assert [study.spec.name for study in found] == ["balcony", "gardening"]
    assert found[0].file == outside


def test_files_that_declare_a_study_under_another_name_are_named(tmp_path: Path, settings: Settings) -> None:
    for name in ("defs.yaml.txt", "Defs.yaml", "garden.yml", "mine/defs.yaml", ".old/garden.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(write(tmp_path / "mine", MINIMAL_STUDY).read_bytes())
    (tmp_path / "other.yaml").write_text("type: something.Else\n")
    issues = overlooked_files(replace(settings, studies=(tmp_path,)))
    assert [issue.file.name for issue in issues] == ["Defs.yaml", "defs.yaml.txt", "garden.yml"]
    assert "is not loaded. Only files with the name defs.yaml are" in str(issues[0])


def test_loader_reports_a_folder_that_cannot_be_listed(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "open", MINIMAL_STUDY)
    closed = write(tmp_path / "closed", MINIMAL_STUDY.replace("gardening", "balcony")).parent
    forbid_listing(monkeypatch, closed)
    forbid_listing(monkeypatch, tmp_path / "lost+found")
    with pytest.raises(StudyError) as caught:
        load_studies(replace(settings, studies=(tmp_path,)), defs=tmp_path / "none", today=TODAY)
    assert [issue.file for issue in caught.value.issues] == [closed]
    assert "cannot be listed, so study files in it are not loaded: Permission denied" in str(caught.value)
    assert [study.name for study in caught.value.valid_studies] == ["gardening"]


def test_reader_reads_the_files_again_only_after_a_change(tmp_path: Path, settings: Settings) -> None:
    read = studies_reader(replace(settings, studies=(tmp_path,)))
    file = write(tmp_path / "one", MINIMAL_STUDY)
    first = read()
    assert [study.name for study in first] == ["gardening"]
    assert read() is first
    file.write_text(file.read_text() + "  title: Gardens\n")
    assert [study.title for study in read()] == ["Gardens"]
    file.write_text("type: nothing\n")
    for _ in range(2):
        with pytest.raises(StudyError):
            read()
    file.unlink()
    assert read() == []


def test_reader_notices_a_change_of_an_account_file_outside_of_the_folder(tmp_path: Path, settings: Settings) -> None:
    read = studies_reader(replace(settings, studies=(tmp_path / "studies",)))
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("username\nann\n")
    write(tmp_path / "studies" / "one", MINIMAL_STUDY + "panel: {file: ../../accounts.csv}\n")
    assert [study.panel for study in read()] == [("ann",)]
    assert read() == read()
    accounts.write_text("username\nann\nbob\n")
    assert [study.panel for study in read()] == [("ann", "bob")]
    accounts.unlink()
    with pytest.raises(StudyError):
        read()


def test_loader_rejects_two_studies_with_one_name(tmp_path: Path, settings: Settings) -> None:
    first = write(tmp_path / "defs" / "one", MINIMAL_STUDY)
    second = write(tmp_path / "elsewhere" / "two", MINIMAL_STUDY)
    settings = replace(settings, studies=(tmp_path / "elsewhere",))
    with pytest.raises(StudyError) as caught:
        load_studies(settings, defs=tmp_path / "defs", today=TODAY)
    [issue] = caught.value.issues
    assert (issue.file, issue.line, issue.key) == (second, 3, "attributes.name")
    assert f"{first}:3" in issue.message


def test_loader_rejects_a_missing_folder_of_studies(tmp_path: Path, settings: Settings) -> None:
    settings = replace(settings, studies=(tmp_path / "nowhere",))
    with pytest.raises(StudyError, match="RESEARCH_STUDIES contains it"):
        load_studies(settings, defs=tmp_path, today=TODAY)


def test_one_file_may_declare_two_studies(tmp_path: Path) -> None:
    file = write(tmp_path, MINIMAL_STUDY)
    file.write_text(file.read_text() + "---\n" + file.read_text().replace("gardening", "balcony"))
    assert [declared.line for declared in read_study_file(file, today=TODAY)] == [3, 11]


def test_search_in_batches_of_accounts_needs_the_field_that_canary_checks_read(tmp_path: Path) -> None:
    text = (
        MINIMAL_STUDY.replace("hashtag_name, eq: gardening", "username, in: [anna, ben]")
        + "users: none\ncomments: none\n"
    )
    with pytest.raises(StudyError, match="username cannot be dropped from videos: it determines which accounts"):
        read(tmp_path, text + "fields: {videos: [id, create_time]}")
    assert read(tmp_path, text.replace("[anna, ben]", "[anna]") + "fields: {videos: [id, create_time]}").fields


def test_follow_renames_needs_profiles(tmp_path: Path) -> None:
    panel = "panel: {usernames: [zoe], follow_renames: true}\n"
    with pytest.raises(StudyError, match=r"panel\.follow_renames: needs profiles"):
        read_study_file(write(tmp_path, MINIMAL_STUDY + panel + "users: none\n"), today=date(2026, 3, 2))
    [study] = read_study_file(write(tmp_path, MINIMAL_STUDY + panel + "users: panel\n"), today=date(2026, 3, 2))
    assert study.spec.follow_renames
