"""Parts of a query: each hit of the query is in exactly one part, whatever its length and region."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.tiktok.conditions import LENGTHS, REGIONS
from research_assets.units import query_parts
from research_assets.units.query_parts import cut_query, enclosing_parts, restrict_to_part

Query = dict[str, tuple[dict[str, Any], ...]]
CODES = sorted(REGIONS)


def condition(field: str, *values: str) -> dict[str, Any]:
    return {"operation": "IN" if len(values) > 1 else "EQ", "field_name": field, "field_values": list(values)}


TAG = condition("hashtag_name", "gardening")


def matches(query: Mapping[str, Any], video: dict[str, str | None]) -> bool:
    """Return whether a video matches, by the rule of the API: all of `and`, one of `or`, none of `not`."""
    holds = {
        group: [one["field_name"] not in video or video[one["field_name"]] in one["field_values"] for one in conditions]
        for group, conditions in query.items()
    }
    return all(holds.get("and", ())) and any(holds.get("or", (True,))) and not any(holds.get("not", ()))


lengths = st.lists(st.sampled_from(LENGTHS), min_size=1, unique=True)
regions = st.lists(st.sampled_from(CODES), min_size=1, max_size=60, unique=True)
conditions = st.one_of(
    st.builds(lambda values: condition("video_length", *values), lengths),
    st.builds(lambda values: condition("region_code", *values), regions),
)
queries = st.builds(
    lambda required, either, excluded: {
        "and": (TAG, *required),
        **({"or": tuple(either)} if either else {}),
        **({"not": tuple(excluded)} if excluded else {}),
    },
    *[st.lists(conditions, max_size=2) for _ in range(3)],
)
videos = st.builds(
    lambda length, region: {"video_length": length, "region_code": region},
    st.sampled_from([*LENGTHS, "NEW", None]),
    st.sampled_from([*CODES, "ZZ", None]),
)


@given(queries, videos)
def test_hit_is_in_exactly_one_part_at_every_depth(query: Query, video: dict[str, str | None]) -> None:
    part: str | None = ""
    assert restrict_to_part(query, "") == query
    while part is not None:
        children = cut_query(query, part)
        found = [child for child in children if matches(restrict_to_part(query, child), video)]
        inside = matches(restrict_to_part(query, part), video)
        assert len(found) == (inside and len(children) > 0)
        assert len(children) != 1
        assert all(enclosing_parts(child)[0] == part for child in children)
        part = found[0] if found else None


def test_query_is_cut_by_length_then_by_region_until_nothing_divides_it() -> None:
    query = {"and": (TAG,)}
    by_length = cut_query(query)
    assert by_length == (
        "video_length!=LONG,MID",
        "video_length=LONG",
        "video_length=MID",
    )
    by_region = cut_query(query, "video_length=MID")
    assert by_region[0] == "video_length=MID region_code=US,CA"
    assert by_region[-1].startswith("video_length=MID region_code!=US,CA,ID,")
    assert cut_query(query, by_region[0]) == (f"{by_region[0]} region_code=US", f"{by_region[0]} region_code=CA")
    assert cut_query(query, f"{by_region[0]} region_code=US") == ()
    rest, depth = by_region[-1], 0
    while further := cut_query(query, rest):
        rest, depth = further[-1], depth + 1
    assert depth == 1
    assert enclosing_parts(by_region[0]) == ("video_length=MID", "")


def test_part_adds_its_conditions_and_keeps_those_of_the_query() -> None:
    query = {"and": (TAG,), "not": (condition("region_code", "DE"),)}
    restricted = restrict_to_part(query, "video_length=MID region_code!=US,CA")
    assert restricted == {
        "and": (TAG, condition("video_length", "MID")),
        "not": (condition("region_code", "DE"), condition("region_code", "US", "CA")),
    }


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ({"and": (condition("video_length", "MID", "LONG"),)}, ("video_length=LONG", "video_length=MID")),
        (
            {"and": (condition("video_length", "MID"), condition("region_code", "DE", "AT"))},
            ("region_code=DE", "region_code=AT"),
        ),
        ({"and": (condition("video_length", "MID"), condition("region_code", "DE"))}, ()),
    ],
)
def test_values_that_the_query_lists_are_divided_without_a_rest(query: Query, parts: tuple[str, ...]) -> None:
    assert cut_query(query) == parts


def test_region_groups_are_codes_of_the_api_without_repetition() -> None:
    codes = [code for group in query_parts._REGIONS for code in group]
    assert REGIONS.issuperset(codes)
    assert all(one < other for one, other in pairwise(sorted(codes)))
