"""Scalars of study files: each value is requested as it is written, or refused with its line."""

from datetime import date
from pathlib import Path

import pytest

from research_assets.study.loader import DeclaredStudy, StudyError, read_study_file
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

TODAY = date(2026, 3, 2)


def read(folder: Path, attributes: str) -> DeclaredStudy:
    (declared,) = read_study_file(write(folder, attributes), today=TODAY)
    return declared


def query(condition: str) -> str:
    """Return a study whose first condition begins on line 7 of the file."""
    return f"name: garden\nstart: 2026-02-01\nquery:\n  and:\n    - {condition}\n"


def issue_of(folder: Path, attributes: str) -> tuple[int, str, str]:
    """Return line, key and message of the only issue of a study."""
    with pytest.raises(StudyError) as caught:
        read(folder, attributes)
    (issue,) = caught.value.issues
    return issue.line, issue.key.removeprefix("attributes."), issue.message


@pytest.mark.parametrize(
    ("field", "written", "requested"),
    [
        ("hashtag_name", "0711", "0711"),
        ("hashtag_name", "010", "010"),
        ("hashtag_name", "0x1F", "0x1F"),
        ("hashtag_name", "0b1", "0b1"),
        ("hashtag_name", "1_000", "1_000"),
        ("hashtag_name", "1e3", "1e3"),
        ("hashtag_name", "2024", "2024"),
        ("hashtag_name", "yes", "yes"),
        ("hashtag_name", "!!str 010", "010"),
        ("hashtag_name", r'"\ud83c\udf31"', "\U0001f331"),
        ("hashtag_name", r'"\U0001f331"', "\U0001f331"),
        ("keyword", "12:30:45", "12:30:45"),
        ("keyword", "1.10", "1.10"),
        ("keyword", "1.0", "1.0"),
        ("keyword", "+7", "+7"),
        ("keyword", "-7", "-7"),
        ("keyword", "-0", "-0"),
        ("keyword", ".inf", ".inf"),
        ("keyword", "2026-02-30", "2026-02-30"),
        ("keyword", "2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("keyword", "True", "True"),
        ("keyword", "on", "on"),
        ("keyword", "=", "="),
        ("keyword", "'#a'", "#a"),
        ("keyword", '"1_000"', "1_000"),
        ("username", "0711", "0711"),
        ("username", "1_000", "1_000"),
        ("username", "off", "off"),
        ("region_code", "NO", "NO"),
        ("region_code", "no", "NO"),
        ("create_date", "2026-02-01", "20260201"),
        ("create_date", "20260201", "20260201"),
        ("video_id", "7503867840092128259", "7503867840092128259"),
        ("view_count", "1000", "1000"),
    ],
)
def test_value_of_a_condition_is_requested_as_written(tmp_path: Path, field: str, written: str, requested: str) -> None:
    for condition in (f"{{field: {field}, in: [{written}]}}", f"field: {field}\n      eq: {written}"):
        declared = read(tmp_path, query(condition))
        assert declared.spec.query["and"][0]["field_values"] == [requested]
        assert declared.notes == ()


@pytest.mark.parametrize(
    ("field", "written", "message"),
    [
        ("view_count", "0100", "leading zeros"),
        ("view_count", "0x1F", "leading zeros"),
        ("view_count", "1_000", "separators"),
        ("view_count", "1e6", "exponents"),
        ("view_count", "+7", "signs"),
        ("view_count", "1:30", "whole number"),
        ("view_count", "1.0", "whole number"),
        ("video_id", "7.503867840092128e+18", "whole number"),
        ("video_id", "7503867840092128000", "probably rounded"),
        ("create_date", "2026-2-1", "is not a day"),
        ("create_date", "2026-02-30", "is not a day"),
        ("create_date", "12:30:45", "is not a day"),
        ("region_code", "yes", "not a region code"),
        ("keyword", "null", "write a text in quotes"),
        ("keyword", "~", "write a text in quotes"),
        ("keyword", "&rnb", "write a text in quotes"),
        ("keyword", "", "is empty"),
        ("keyword", r'"\ud83c"', r"\ud83c, one half of a character"),
        ("keyword", r'"\udf31\ud83c"', "one half of a character"),
        ("keyword", r'"\U00110000"', "an escape is no character"),
        ("keyword", r'"\x07"', "control character"),
        ("keyword", r'"a\nb"', "line break"),
        ("keyword", "a\u2028b", "U+2028"),
        ("keyword", "a\x85b", "U+0085"),
        ("keyword", "a\x0bb", "U+000B"),
        ("keyword", "!!binary YQ==", "the tag !!binary is not allowed"),
        ("keyword", "!gardening x", "the tag !gardening is not allowed"),
        ("keyword", "'{{ env.NAME }}'", "reads as a template"),
        ("username", "@anna", "begins with @ in quotes"),
        ("keyword", "*a", "begins with * in quotes"),
        ("keyword", "%a", "begins with % in quotes"),
        ("keyword", "`a`", "begins with ` in quotes"),
        ("keyword", "a: b", "mapping values are not allowed here. Write a text that contains `: ` in quotes"),
        ("hashtag_name", "#tag", "`#` begins a comment; write '#tag' in quotes"),
        ("keyword", "love #garden", "`#garden` is not part of the value"),
    ],
)
def test_value_that_yaml_reads_otherwise_is_refused_with_its_line(
    tmp_path: Path, field: str, written: str, message: str
) -> None:
    line, _, found = issue_of(tmp_path, query(f"field: {field}\n      eq: {written}"))
    assert line == (7 if "rounded" in message else 8)
    assert message in found


@pytest.mark.parametrize(
    ("condition", "line"),
    [
        ("{field: hashtag_name, eq: #tag}", 7),
        ("{field: hashtag_name, in: [#a, b]}", 7),
        ("{field: hashtag_name, in: [a, #b]}", 7),
        ("field: hashtag_name\n      in: [a,\n        #b,\n        c]", 9),
        ("field: hashtag_name\n      in: [\n        #a,\n        c]", 9),
        ("field: hashtag_name\n      in:\n        - a\n        - #b", 10),
        ("field: hashtag_name\n      in:\n        - a #b", 9),
    ],
)
def test_hashtag_that_yaml_reads_as_a_comment_is_refused(tmp_path: Path, condition: str, line: int) -> None:
    found = issue_of(tmp_path, query(condition))
    assert "#" in found[2]
    assert found[0] == line


def test_comments_with_a_blank_are_comments(tmp_path: Path) -> None:
    declared = read(
        tmp_path,
        query("field: hashtag_name  # see above\n      in: [a,  # the first\n        # b,\n        c]  #- {field: x}"),
    )
    assert declared.spec.query["and"][0]["field_values"] == ["a", "c"]


@pytest.mark.parametrize(
    "written", ["010", "0x1F", "0b11", "+7", "1_0", "1:30", "1e1", "2.0", "'2'", "yes", "~", "", "[2]", "2026-02-01"]
)
@pytest.mark.parametrize("key", ["settle_days", "count_lag_days"])
def test_number_in_another_spelling_is_refused(tmp_path: Path, key: str, written: str) -> None:
    line, found_key, message = issue_of(tmp_path, f"{MINIMAL_STUDY}{key}: {written}")
    assert (line, found_key) == (8, key)
    assert "must be a valid integer" in message


def test_refusal_says_what_yaml_reads(tmp_path: Path) -> None:
    _, key, message = issue_of(tmp_path, f"{MINIMAL_STUDY}reobserve_days: [012, 30]")
    assert key == "reobserve_days.0"
    assert "not 012, which YAML reads as 10" in message


@pytest.mark.parametrize(
    "written", [".5", "1_0.5", ".inf", ".nan", "1e3", "+1.5", "01.5", "1:30.5", "0.99999999999999999999"]
)
def test_fraction_in_another_spelling_is_refused(tmp_path: Path, written: str) -> None:
    line, key, message = issue_of(tmp_path, f"{MINIMAL_STUDY}quota_weight: {written}")
    assert (line, key) == (8, "quota_weight")
    assert "must be a valid number" in message


def test_fraction_in_plain_decimal_form_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, f"{MINIMAL_STUDY}quota_weight: 1.50").spec.quota_weight == 1.5


@pytest.mark.parametrize(
    ("attributes", "line", "key", "message"),
    [
        (MINIMAL_STUDY.replace("name: gardening", "name: on"), 3, "name", "reads on as true; write 'on' in quotes"),
        (MINIMAL_STUDY.replace("2026-02-01", "20260201"), 4, "start", "such as 2026-02-01"),
        (MINIMAL_STUDY.replace("2026-02-01", "2026-2-1"), 4, "start", "such as 2026-02-01"),
        (MINIMAL_STUDY.replace("2026-02-01", "2026-W05-1"), 4, "start", "such as 2026-02-01"),
        (MINIMAL_STUDY.replace("2026-02-01", "2026-02-01 00:00:00"), 4, "start", "such as 2026-02-01"),
        (f"{MINIMAL_STUDY}comments: off", 8, "comments.videos", "not off, which YAML reads as false"),
        (f"{MINIMAL_STUDY}panel: {{file: 010}}", 8, "panel.file", "reads 010 as 8"),
        (f"{MINIMAL_STUDY}panel: {{usernames: [a, ~]}}", 8, "panel.usernames.1", "must be a valid string"),
        (f"{MINIMAL_STUDY}1: x", 8, "1", "unknown key '1'"),
        (f"{MINIMAL_STUDY}yes: x", 8, "yes", "unknown key 'yes'"),
        (f'{MINIMAL_STUDY}"\\ud83c": x', 8, "", "a key contains \\ud83c"),
        (f"{MINIMAL_STUDY}? [a]\n: x", 8, "", "a key must be a word"),
        (f"{MINIMAL_STUDY}<<: {{observe: daily}}", 8, "<<", "merge keys are not allowed"),
        (f"{MINIMAL_STUDY}observe: daily\nobserve: weekly", 9, "observe", "duplicate key"),
        (f"{MINIMAL_STUDY}fields: &a [*a]", 8, "", "refers to itself"),
        (f"{MINIMAL_STUDY}\tobserve: daily", 8, "", "Indent with blanks, not with tabs"),
        (f"{MINIMAL_STUDY} observe: daily", 8, "", "Check the indentation"),
        (f"{MINIMAL_STUDY}observe:daily\ntitle: x", 9, "", "a colon and a blank after its key"),
        (f"{MINIMAL_STUDY}observe:daily\nfields: {{users: []}}", 9, "", "a colon and a blank after its key"),
        (f"{MINIMAL_STUDY}observe:\u00a0daily\ntitle: x", 8, "", "contains U+00A0. Write a blank instead"),
        (f"{MINIMAL_STUDY}observe\uff1adaily\ntitle: x", 8, "", "contains U+FF1A. Write a colon and a blank instead"),
        (f"{MINIMAL_STUDY}owners: [anna]", 8, "owners.0", "must be an e-mail address, or team: and a name"),
        (f"{MINIMAL_STUDY}repeat: .05", 8, "repeat", "with one 0 before the point"),
        (query("{field: create_date, lt: 2026-01-31}"), 7, "query.and.0", "outside of the study's start and end"),
    ],
)
def test_other_surprises_of_yaml_are_refused_with_line_and_key(
    tmp_path: Path, attributes: str, line: int, key: str, message: str
) -> None:
    found = issue_of(tmp_path, attributes)
    assert found[0] == line
    assert found[1].removeprefix("attributes") == key
    assert message in found[2]


def test_aliases_are_read_and_their_number_is_limited(tmp_path: Path) -> None:
    declared = read(tmp_path, query("{field: hashtag_name, in: &tags [a, b]}\n    - {field: keyword, in: *tags}"))
    assert declared.spec.query["and"][1]["field_values"] == ["a", "b"]
    bomb = "x0: &x0 [a, a, a, a, a, a, a, a, a]\n" + "".join(
        f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    assert "more than 100,000 values" in issue_of(tmp_path, MINIMAL_STUDY + bomb)[2]


def test_deeply_nested_file_is_refused(tmp_path: Path) -> None:
    assert "nested too deep" in issue_of(tmp_path, query("[" * 3000))[2]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_study_file_in_an_encoding_that_dagster_does_not_read_is_refused(tmp_path: Path, encoding: str) -> None:
    file = write(tmp_path, query("{field: hashtag_name, eq: m\u00fcnchen}"))
    file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))
    with pytest.raises(StudyError, match=r"defs.yaml:1: cannot be read: is in UTF-16 or UTF-32. Save it as UTF-8"):
        read_study_file(file, today=TODAY)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_study_file_is_read_with_and_without_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    file = write(tmp_path, query("{field: hashtag_name, eq: m\u00fcnchen}"))
    file.write_bytes(file.read_text(encoding="utf-8").replace("\n", "\r\n").encode(encoding))
    (declared,) = read_study_file(file, today=TODAY)
    assert declared.spec.query["and"][0]["field_values"] == ["m\u00fcnchen"]
    file.write_bytes(file.read_text(encoding=encoding).encode("latin-1"))
    with pytest.raises(StudyError, match=r"defs.yaml:7: cannot be read: is not UTF-8 text"):
        read_study_file(file, today=TODAY)


def test_values_in_another_spelling_are_requested_in_the_usual_one_and_noted(tmp_path: Path) -> None:
    (tmp_path / "panel.txt").write_text("https://www.tiktok.com/@Moosfreund\nfarn_fan\n")
    declared = read(
        tmp_path,
        query('{field: username, in: ["@Anna", bert, "c\\u200ba"]}')
        + 'panel: {usernames: ["www.tiktok.com/@beet.und.balkon?lang=de"], file: panel.txt}',
    )
    assert declared.spec.query["and"][0]["field_values"] == ["anna", "bert", "ca"]
    assert declared.spec.panel == ("beet.und.balkon", "moosfreund", "farn_fan")
    assert [(note.line, note.key.removeprefix("attributes."), note.message) for note in declared.notes] == [
        (7, "query.and.0.in.0", "'@Anna' is requested as 'anna'"),
        (7, "query.and.0.in.2", "'c\\u200ba' is requested as 'ca'"),
        (8, "panel.usernames.0", "'www.tiktok.com/@beet.und.balkon?lang=de' is requested as 'beet.und.balkon'"),
        (8, "panel.file", "panel.txt:1: 'https://www.tiktok.com/@Moosfreund' is requested as 'moosfreund'"),
    ]
