"""Study files with `pseudonymous: true`: what they exclude, the key that they need, and what names no account."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from research_assets.fields import ENTITIES
from research_assets.settings import Settings
from research_assets.storage.pseudonym_keys import PseudonymKeyError, collection_key, matching_key
from research_assets.study.loader import StudyError, find_studies, read_study_file
from research_assets.study.spec import StudySpec
from research_assets.tiktok.pseudonyms import DROPPED, PATTERN, Pseudonyms
from research_assets.tiktok.requests import user_info
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

TODAY = date(2026, 3, 2)
KEY = "0f" * 32
STUDY = MINIMAL_STUDY + "pseudonymous: true\nusers: none\n"

Find = Callable[..., StudySpec]


@pytest.fixture
def find(tmp_path: Path) -> Find:
    """Return a function that loads the study of a file, with a key unless variables are given."""

    def load(text: str, **variables: str) -> StudySpec:
        write(tmp_path / "studies" / "one", text)
        settings = settings_of(tmp_path, **(variables or {"RESEARCH_PSEUDONYM_KEY": KEY}))
        [study] = find_studies(settings, defs=tmp_path / "studies", today=TODAY)
        return study.spec

    return load


def settings_of(folder: Path, **variables: str) -> Settings:
    return Settings.from_env({"RESEARCH_DATA": str(folder / "data"), **variables})


def key_file(path: Path, text: str = KEY, mode: int = 0o600) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("lines", "key", "message"),
    [
        ("", "users", "authors needs the handles of authors"),
        ("users: {who: top, n: 5}", "users", "top needs the handles of authors"),
        ("users: none\nquery: {or: [{field: keyword, eq: '@zoe'}]}", "query.or.0", "a keyword with @ names an account"),
        ("users: none\nfields: {users: [display_name, video_count]}", "fields.users", "does not store display_name"),
        (
            "users: panel\npanel: {usernames: [zoe], follow_renames: true}",
            "panel.follow_renames",
            "a pseudonymous study stores no handle",
        ),
        (
            "users: none\npseudonymous: yes",
            "pseudonymous",
            "must be a valid boolean, not yes, which YAML reads as true",
        ),
    ],
)
def test_settings_that_need_handles_are_refused(tmp_path: Path, lines: str, key: str, message: str) -> None:
    base = MINIMAL_STUDY.partition("query")[0] if "query" in lines else MINIMAL_STUDY
    text = base + lines + ("" if "pseudonymous" in lines else "\npseudonymous: true")
    with pytest.raises(StudyError) as caught:
        read_study_file(write(tmp_path, text), today=TODAY)
    [issue] = caught.value.issues
    assert issue.key == f"attributes.{key}"
    assert message in issue.message


def test_study_names_accounts_by_pseudonyms(find: Find, tmp_path: Path) -> None:
    (tmp_path / "studies" / "one").mkdir(parents=True)
    (tmp_path / "studies" / "one" / "panel.csv").write_text(
        "username,class\n@Ben.B,a\nhttps://www.tiktok.com/@carla,b\n"
    )
    query = MINIMAL_STUDY + "    - {field: username, in: [ANNA.a, '@ben.b']}\n  not: [{field: username, eq: dora}]\n"
    spec = find(query + "pseudonymous: true\nusers: panel\npanel: {usernames: ['@Anna.A'], file: panel.csv}\n")
    of = Pseudonyms(bytes.fromhex(KEY)).of
    assert spec.panel == (of("anna.a"), of("ben.b"), of("carla"))
    assert [one["field_values"] for group in spec.query.values() for one in group] == [
        ["gardening"],
        [of("anna.a"), of("ben.b")],
        [of("dora")],
    ]
    for name in ("anna", "ben", "carla", "dora"):
        assert name not in f"{spec!r}{spec}".lower()
        assert name not in json.dumps({"query": spec.query}, default=list)
    assert spec.pseudonyms is not None
    assert spec.pseudonyms.with_handles(user_info(of("carla"))).body == {"username": "carla"}


def test_dropped_fields_are_not_requested(find: Find) -> None:
    spec = find(STUDY + "fields: {videos: [id, create_time, comment_count]}")
    assert spec.fields == {
        "videos": ("id", "create_time", "comment_count"),
        "users": tuple(name for name in ENTITIES["users"].requested if name not in DROPPED),
    }
    assert find(STUDY + "fields: {users: [video_count]}").fields == {"users": ("video_count",)}
    assert "display_name" in user_info("a", fields=None).fields


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("panel: {usernames: ['zoe.q, zoe.r']}", "panel.usernames.0"),
        ("panel: {usernames: ['zoe q']}", "panel.usernames.0"),
        ("panel: zoe", "panel"),
        ("panel: {file: panel.txt}", "panel.file"),
        ("query: {and: [{field: video_id, eq: 'https://vm.tiktok.com/@zoe/x'}]}", "query.and.0.eq"),
        ("query: {and: [{field: username, in: [zoe q, 'zoe!']}]}", "query.and.0.in.0"),
    ],
)
def test_errors_about_accounts_do_not_quote_them(tmp_path: Path, line: str, key: str) -> None:
    (tmp_path / "panel.txt").write_text("zoe q\n")
    base = STUDY if "query" not in line else STUDY.partition("query")[0] + "pseudonymous: true\nusers: none\n"
    with pytest.raises(StudyError) as caught:
        read_study_file(write(tmp_path, base + line), today=TODAY)
    assert [one.key.removeprefix("attributes.") for one in caught.value.issues] == [key]
    assert "zoe" not in str(caught.value)
    with pytest.raises(StudyError, match="zoe"):
        read_study_file(write(tmp_path, (base + line).replace("true", "false")), today=TODAY)


def test_notes_do_not_name_accounts(tmp_path: Path) -> None:
    text = STUDY + "panel: {usernames: [Zoe.Q]}\n" + "title: t\n"
    text = text.replace("eq: gardening", "in: [https://www.tiktok.com/tag/a, b]")
    text = text.replace("  and:\n", "  and:\n    - {field: username, eq: ZOE}\n")
    [study] = read_study_file(write(tmp_path, text), today=TODAY)
    [note] = study.notes
    assert "tag/a" in str(note)
    [study] = read_study_file(write(tmp_path, text.replace("true", "false")), today=TODAY)
    assert len(study.notes) == 3


def test_other_studies_need_no_key(find: Find) -> None:
    spec = find(MINIMAL_STUDY + "pseudonymous: false\n", RESEARCH_QUOTA="5")
    assert (spec.pseudonymous, spec.pseudonyms, spec.fields) == (False, None, {})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "neither RESEARCH_PSEUDONYM_KEY nor RESEARCH_PSEUDONYM_KEY_FILE is set"),
        ("ab" * 31, "RESEARCH_PSEUDONYM_KEY cannot be used: it has 62 hexadecimal digits, but a key has at least 64"),
        ("secretive" * 8, "RESEARCH_PSEUDONYM_KEY cannot be used: it is not a number in hexadecimal digits"),
    ],
)
def test_missing_or_invalid_key_is_refused_with_advice(find: Find, key: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        find(STUDY, RESEARCH_PSEUDONYM_KEY=key, RESEARCH_QUOTA="5")
    [issue] = caught.value.issues
    assert (issue.key, issue.line) == ("attributes.pseudonymous", 3)
    assert message in issue.message
    assert "openssl rand -hex 32" in issue.message
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "text", "mode", "message"),
    [
        ("data/keys/key", KEY, 0o600, "a copy of the data would contain the key"),
        ("keys/key", KEY, 0o640, "can be read by other users. Run: chmod 600"),
        ("keys/key", "ab" * 20, 0o600, "has 40 hexadecimal digits"),
        ("keys/key", "schl\u00fcssel", 0o600, "is not a number in hexadecimal digits"),
        ("keys/missing", None, 0o600, "cannot be read: No such file"),
    ],
)
def test_unsafe_or_invalid_key_file_is_refused(
    tmp_path: Path, place: str, text: str | None, mode: int, message: str
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    if text is not None:
        key_file(path, text, mode)
    with pytest.raises(PseudonymKeyError, match=message) as caught:
        collection_key(settings_of(tmp_path, RESEARCH_PSEUDONYM_KEY_FILE=str(path)))
    assert text is None or text not in str(caught.value)


def test_key_file_may_be_a_link_only_out_of_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    inside, outside = tmp_path / "data" / "key", tmp_path / "key"
    key_file(inside)
    outside.symlink_to(inside)
    with pytest.raises(PseudonymKeyError, match="which is in"):
        collection_key(settings_of(tmp_path, RESEARCH_PSEUDONYM_KEY_FILE=str(outside)))


def test_study_file_in_the_data_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data" / "studies", STUDY)
    with pytest.raises(StudyError, match="the file is in the data folder"):
        find_studies(settings_of(tmp_path, RESEARCH_PSEUDONYM_KEY=KEY), defs=tmp_path / "data" / "studies", today=TODAY)


def test_key_of_the_environment_takes_precedence_over_the_file(tmp_path: Path) -> None:
    path = key_file(tmp_path / "keys" / "key", "ab" * 32 + "\n")
    file = settings_of(tmp_path, RESEARCH_PSEUDONYM_KEY_FILE=path)
    both = settings_of(tmp_path, RESEARCH_PSEUDONYM_KEY_FILE=path, RESEARCH_PSEUDONYM_KEY=KEY)
    assert (collection_key(file), collection_key(both)) == (bytes.fromhex("ab" * 32), bytes.fromhex(KEY))
    assert KEY not in repr(both)


def test_key_for_exports_alone_finds_no_pseudonyms(tmp_path: Path) -> None:
    """Without pseudonymous data, an erasure needs no key, and one in the data folder is no error."""
    path = key_file(tmp_path / "data" / "key")
    assert matching_key(settings_of(tmp_path)) is None
    assert matching_key(settings_of(tmp_path, RESEARCH_PSEUDONYM_KEY_FILE=path)) is None
    assert matching_key(settings_of(tmp_path, RESEARCH_PSEUDONYM_KEY=KEY)) == bytes.fromhex(KEY)


def test_invalid_study_does_not_hide_the_valid_ones(tmp_path: Path) -> None:
    write(tmp_path / "studies" / "one", STUDY)
    write(tmp_path / "studies" / "two", MINIMAL_STUDY.replace("gardening\n", "other\n", 1))
    with pytest.raises(StudyError) as caught:
        find_studies(settings_of(tmp_path), defs=tmp_path / "studies", today=TODAY)
    assert [study.name for study in caught.value.valid_studies] == ["other"]
    assert PATTERN not in str(caught.value)
