"""The query of a study is converted into the form of the API; errors state the path and the allowed values."""

from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from research_assets.tiktok.conditions import CONDITIONS, LENGTHS, OPERATIONS, REGIONS
from research_assets.tiktok.query import GROUPS, QueryError, format_query, parse_query


def one(**entry: Any) -> dict[str, Any]:
    """Return the only condition of a query, in the form of the API."""
    return parse_query({"and": [entry]})["and"][0]


def test_parser_converts_a_study_query() -> None:
    query = parse_query(
        yaml.safe_load("""
        and:
          - {field: region_code, in: [DE, AT]}
          - {field: hashtag_name, eq: gardening}
        not:
          - {field: video_length, eq: SHORT}
        """)
    )
    assert query == {
        "and": (
            {"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]},
            {"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},
        ),
        "not": ({"operation": "EQ", "field_name": "video_length", "field_values": ["SHORT"]},),
    }
    assert format_query(query) == "region_code in DE, AT and hashtag_name = gardening and not (video_length = SHORT)"


@pytest.mark.parametrize(
    ("field", "given_value", "written"),
    [
        ("region_code", "de", "DE"),
        ("region_code", "XK", "XK"),
        ("hashtag_name", "#garden", "garden"),
        ("hashtag_name", "##garden", "garden"),
        ("hashtag_name", 2024, "2024"),
        ("hashtag_name", "b\U0001f345", "b\U0001f345"),
        ("keyword", " #two words ", "#two words"),
        ("username", "@beet.und.balkon", "beet.und.balkon"),
        ("video_id", 7503867840092128259, "7503867840092128259"),
        ("video_id", "7503867840092128259", "7503867840092128259"),
        ("effect_id", 0, "0"),
        ("video_length", "extra_long", "EXTRA_LONG"),
        ("view_count", 1000, "1000"),
        ("create_date", date(2026, 2, 1), "20260201"),
        ("create_date", "2026-02-01", "20260201"),
        ("create_date", 20260201, "20260201"),
    ],
)
def test_parser_writes_values_in_the_form_of_the_api(field: str, given_value: Any, written: str) -> None:
    assert one(field=field, eq=given_value)["field_values"] == [written]


def test_parser_removes_repeated_values() -> None:
    assert one(field="region_code", **{"in": ["DE", "at", "de"]})["field_values"] == ["DE", "AT"]


def test_parser_removes_empty_groups() -> None:
    assert parse_query({"and": [{"field": "keyword", "eq": "a"}], "or": [], "not": None}).keys() == {"and"}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("field", ["create_date", "view_count", "comment_count"])
def test_ordered_fields_accept_every_operation(field: str, operation: str) -> None:
    value: Any = "20260201"
    condition = one(**{"field": field, operation: [value] if operation == "in" else value})
    assert condition["operation"] == OPERATIONS[operation]


NAMED = sorted(CONDITIONS)


@pytest.mark.parametrize(
    ("query", "path", "text"),
    [
        (None, (), "`and`, `or`, `not`"),
        ([], (), "`and`, `or`, `not`"),
        ({}, (), "at least one"),
        ({"and": [], "or": None}, (), "at least one"),
        ({"nott": []}, ("nott",), "Did you mean `not`?"),
        ({"and": {"field": "keyword", "eq": "a"}}, ("and",), "list of conditions"),
        ({"and": "keyword"}, ("and",), "list of conditions"),
        ({"and": ["keyword"]}, ("and", 0), "{field: <name>, <operation>: <value>}"),
        ({"and": [{"eq": "a"}]}, ("and", 0), "`hashtag_name`"),
        ({"and": [{"field": "hashtag", "eq": "a"}]}, ("and", 0, "field"), "Did you mean `hashtag_name`?"),
        ({"and": [{"field": ["keyword"], "eq": "a"}]}, ("and", 0, "field"), "unknown"),
        ({"and": [{"field": "keyword"}]}, ("and", 0), "0 operations"),
        ({"and": [{"field": "view_count", "gt": 1, "lt": 9}]}, ("and", 0), "second condition"),
        ({"and": [{"field": "view_count", "gtt": 1}]}, ("and", 0, "gtt"), "Did you mean `gt"),
        ({"and": [{"field": "region_code", "gt": "DE"}]}, ("and", 0, "gt"), "allowed: `eq`, `in`"),
        ({"and": [{"field": "region_code", "eq": ["DE", "AT"]}]}, ("and", 0, "eq"), "Use `in` for several"),
        ({"and": [{"field": "view_count", "gt": [1, 2]}]}, ("and", 0, "gt"), "takes one value"),
        ({"and": [{"field": "region_code", "in": "DE"}]}, ("and", 0, "in"), "[a, b]"),
        ({"and": [{"field": "region_code", "in": []}]}, ("and", 0, "in"), "at least one value"),
        ({"and": [{"field": "region_code", "in": ["DE", "UK"]}]}, ("and", 0, "in", 1), "Did you mean `GB`?"),
        ({"and": [{"field": "region_code", "eq": "DEU"}]}, ("and", 0, "eq"), "Did you mean `DE`?"),
        ({"and": [{"field": "region_code", "eq": "CX"}]}, ("and", 0, "eq"), "245"),
        ({"and": [{"field": "region_code", "eq": False}]}, ("and", 0, "eq"), "in quotes"),
        ({"not": [{"field": "video_length", "eq": "SHRT"}]}, ("not", 0, "eq"), "Did you mean `SHORT`?"),
        ({"or": [{"field": "view_count", "gt": "many"}]}, ("or", 0, "gt"), "whole number"),
        ({"or": [{"field": "view_count", "gt": 1.5}]}, ("or", 0, "gt"), "whole number"),
        ({"or": [{"field": "view_count", "gt": -1}]}, ("or", 0, "gt"), "whole number"),
        ({"or": [{"field": "view_count", "gt": True}]}, ("or", 0, "gt"), "in quotes"),
        ({"or": [{"field": "view_count", "gt": "0100"}]}, ("or", 0, "gt"), "leading zeros"),
        ({"or": [{"field": "create_date", "gt": "2026111"}]}, ("or", 0, "gt"), "is not a day"),
        ({"or": [{"field": "region_code", "eq": "DE, AT"}]}, ("or", 0, "eq"), "[DE, AT]"),
        ({"or": [{"field": "region_code", "eq": "ZZ"}]}, ("or", 0, "eq"), "not a region code"),
        ({"or": [{"field": "video_id", "eq": 2**63}]}, ("or", 0, "eq"), "whole number"),
        ({"or": [{"field": "video_id", "eq": "9" * 5000}]}, ("or", 0, "eq"), "whole number"),
        ({"or": [{"field": "create_date", "lt": "2026-02-30"}]}, ("or", 0, "lt"), "is not a day"),
        ({"or": [{"field": "keyword", "eq": "  "}]}, ("or", 0, "eq"), "empty"),
        ({"or": [{"field": "keyword", "in": ["a", None]}]}, ("or", 0, "in", 1), "empty"),
        ({"or": [{"field": "keyword", "eq": 1.0}]}, ("or", 0, "eq"), "in quotes"),
        ({"or": [{"field": "keyword", "eq": "a\nb"}]}, ("or", 0, "eq"), "line break"),
        ({"or": [{"field": "keyword", "eq": {"a": 1}}]}, ("or", 0, "eq"), "one text"),
        ({"or": [{"field": "username", "eq": "@"}]}, ("or", 0, "eq"), "is not a handle"),
        ({"or": [{"field": "hashtag_name", "eq": "two words"}]}, ("or", 0, "eq"), "`keyword` for phrases"),
    ],
)
def test_parser_reports_an_invalid_query_with_its_path(query: Any, path: tuple[str | int, ...], text: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query(query)
    assert caught.value.path == path
    assert text in caught.value.message
    assert text in str(caught.value)


def test_parser_reports_a_country_code_that_yaml_reads_as_false() -> None:
    with pytest.raises(QueryError, match="in quotes"):
        parse_query(yaml.safe_load("and: [{field: region_code, in: [SE, NO]}]"))


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"and": [{"field": "region_code", "eq": "DE"}, {"field": "region_code", "eq": "AT"}]}, ("and", 1)),
        (
            {"and": [{"field": "username", "in": ["Anna", "b"]}], "not": [{"field": "username", "in": ["b", "@anna"]}]},
            ("and", 0),
        ),
        ({"and": [{"field": "hashtag_name", "eq": "a"}], "not": [{"field": "hashtag_name", "eq": "#a"}]}, ("and", 0)),
        ({"and": [{"field": "view_count", "gt": 10}, {"field": "view_count", "lte": 10}]}, ("and", 1)),
        ({"and": [{"field": "view_count", "eq": 3}, {"field": "view_count", "gt": 3}]}, ("and", 1)),
        (
            {"and": [{"field": "create_date", "lt": 20260201}, {"field": "create_date", "gte": "2026-02-01"}]},
            ("and", 1),
        ),
    ],
)
def test_parser_reports_conditions_that_no_video_can_match(query: Any, path: tuple[str | int, ...]) -> None:
    with pytest.raises(QueryError, match="no video can match") as caught:
        parse_query(query)
    assert caught.value.path == path


def test_parser_keeps_conditions_that_a_video_can_match() -> None:
    parse_query(
        {
            "and": [
                {"field": "hashtag_name", "eq": "a"},
                {"field": "hashtag_name", "eq": "b"},
                {"field": "region_code", "in": ["DE", "AT"]},
                {"field": "region_code", "in": ["AT", "CH"]},
                {"field": "view_count", "gte": 10},
                {"field": "view_count", "lte": 10},
            ],
            "not": [{"field": "region_code", "eq": "DE"}],
        }
    )


@pytest.mark.parametrize("rounded", ["7503867840092128256", "7503867840092128000", "7503867840092120000"])
def test_parser_reports_rounded_ids_and_says_how_to_export_them(rounded: str) -> None:
    with pytest.raises(QueryError, match=r"probably rounded.*as text") as caught:
        parse_query({"and": [{"field": "video_id", "in": [int(rounded), 7503867840092128259]}]})
    assert caught.value.path == ("and", 0)
    assert rounded in caught.value.message


def test_query_error_shows_its_path() -> None:
    with pytest.raises(QueryError, match=r"^query\.and\[0\]\.in\[1\]: "):
        parse_query({"and": [{"field": "region_code", "in": ["DE", "UK"]}]})


def test_there_are_245_region_codes() -> None:
    assert len(REGIONS) == 245
    assert {"XK", "TP", "GB", "CA"} <= REGIONS
    assert not {"UK", "CC", "CX", "GS", "HM", "KP", "SJ"} & REGIONS


def test_formatter_shortens_long_lists() -> None:
    query = parse_query({"or": [{"field": "video_id", "in": list(range(30))}, {"field": "keyword", "eq": "a b"}]})
    assert format_query(query) == '(video_id in 0, 1, 2, 3, 4, 5, 6, 7 and 22 more or keyword = "a b")'


WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=10)
GIVEN: dict[str, st.SearchStrategy[Any]] = {
    "create_date": st.dates(date(2017, 1, 1), date(2030, 1, 1)),
    "username": st.from_regex("[a-z0-9_]{1,10}", fullmatch=True).filter(lambda name: name.strip("_") != ""),
    "region_code": st.sampled_from(sorted(REGIONS)),
    "hashtag_name": WORDS,
    "keyword": WORDS,
    "video_length": st.sampled_from(LENGTHS),
}


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    field = draw(st.sampled_from(NAMED))
    operation = draw(st.sampled_from(CONDITIONS[field].operations))
    values = GIVEN.get(field, st.integers(0, 2**63 - 1))
    value = draw(st.lists(values, min_size=1, max_size=5)) if operation == "in" else draw(values)
    return {"field": field, operation: value}


QUERIES = st.dictionaries(st.sampled_from(GROUPS), st.lists(entries(), min_size=1, max_size=4), min_size=1)


@given(QUERIES)
def test_parsing_a_parsed_query_returns_the_same_query(study: dict[str, list[dict[str, Any]]]) -> None:
    try:
        query = parse_query(study)
    except QueryError as error:
        assume("no video can match" not in error.message and "rounded" not in error.message)
        raise
    study_spelling = {api: own for own, api in OPERATIONS.items()}
    rebuilt = {
        group: [
            {
                "field": c["field_name"],
                study_spelling[c["operation"]]: c["field_values"] if c["operation"] == "IN" else c["field_values"][0],
            }
            for c in conditions
        ]
        for group, conditions in query.items()
    }
    assert parse_query(rebuilt) == query
    assert {g: [c["field"] for c in cs] for g, cs in rebuilt.items()} == {
        g: [c["field"] for c in cs] for g, cs in study.items()
    }
    assert all(isinstance(v, str) for cs in query.values() for c in cs for v in c["field_values"])
    assert "\n" not in format_query(query)
