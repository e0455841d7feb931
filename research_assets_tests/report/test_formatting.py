"""Numbers, queries and periods as text; styles of states that are distinguishable in grey print."""

from datetime import date
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.report import drawing
from research_assets.report.charts import coverage_chart, ranking_chart
from research_assets.report.data import ApiChange, RankedItem, UnitGroup
from research_assets.report.drawing import to_png, to_svg
from research_assets.report.formatting import NO_VALUE, change_period, describe_query, format_number, format_percent


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, NO_VALUE),
        (0, "0"),
        (1234, "1,234"),
        (0.5, "0.5"),
        (0.01, "under 0.1"),
        (12.34, "12.3"),
        (1e9, "1,000,000,000"),
        (-12.34, "-12.3"),
        (float("nan"), NO_VALUE),
        (float("-inf"), NO_VALUE),
    ],
)
def test_format_number_groups_and_rounds(value: float | None, expected: str) -> None:
    assert format_number(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0, "0 %"),
        (0.0001, "under 0.1 %"),
        (0.714, "71.4 %"),
        (0.9996, "over 99.9 %"),
        (1, "100 %"),
        (None, NO_VALUE),
        (inf, NO_VALUE),
    ],
)
def test_format_percent_never_rounds_to_0_or_100(share: float | None, expected: str) -> None:
    assert format_percent(share) == expected


def condition(field: str, operation: str, *values: str) -> dict[str, object]:
    return {"field_name": field, "operation": operation, "field_values": list(values)}


def test_describe_query_names_each_group() -> None:
    query = {
        "and": (condition("hashtag_name", "EQ", "rad"), condition("view_count", "GTE", "100")),
        "or": (condition("region_code", "IN", "DE", "AT"), condition("username", "EQ", "anna")),
        "not": (condition("video_length", "EQ", "SHORT"),),
    }
    assert describe_query(query) == (
        "the hashtag is “rad” and the number of views is at least “100”; and at least one of the following applies: "
        "the creator's country of registration is “DE” or “AT”; or the creator is “anna”; and it is not the case that "
        "the length class is “SHORT”"
    )
    exclusions = {"not": (condition("keyword", "EQ", "a"), condition("creator", "EQ", "b"))}
    assert describe_query(exclusions) == "none of the following applies: the keyword is “a”; or the creator is “b”"


def test_describe_query_shortens_a_long_list_of_accounts() -> None:
    text = describe_query({"and": (condition("username", "IN", *(f"name{n}" for n in range(500))),)})
    assert text.endswith("or one of 488 more")
    assert len(text) < 300


@pytest.mark.parametrize(
    ("first", "last", "precision", "expected"),
    [
        (date(2024, 7, 9), None, "day", "since 9 July 2024"),
        (None, date(2024, 6, 30), "month", "until June 2024"),
        (date(2021, 3, 1), date(2022, 7, 31), "month", "March 2021 to July 2022"),
        (date(2018, 1, 1), date(2018, 12, 31), "year", "2018"),
        (date(2023, 10, 8), date(2023, 10, 8), "about", "about 8 October 2023"),
        (date(2024, 1, 1), None, "quarter", "since quarter 1 of 2024"),
        (None, None, "day", "at an unknown time"),
    ],
)
def test_change_period_has_the_precision_of_its_dates(
    first: date | None, last: date | None, precision: str, expected: str
) -> None:
    assert change_period(ApiChange(1, "observed", first, last, precision, "", "", "")) == expected


def test_states_differ_in_lightness_or_pattern() -> None:
    def lightness(colour: str) -> float:
        red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    plain = sorted(lightness(style.fill) for style in drawing.STATE_STYLES.values() if not style.pattern)
    assert all(second - first > 40 for first, second in pairwise(plain))
    patterns = [style.pattern for style in drawing.STATE_STYLES.values() if style.pattern]
    assert len(patterns) == len(set(patterns))


@given(st.floats(1e-300, 1e308), st.floats(1, 1e300))
def test_ticks_cover_the_range_and_are_few(least: float, factor: float) -> None:
    most = min(least * factor, 1e308)
    ticks = drawing.log_axis_ticks(least, most)
    assert ticks[0] <= least * (1 + 1e-9)
    assert most <= ticks[-1] * (1 + 1e-9)
    assert len(ticks) <= 15


def test_points_of_a_ranking_are_in_the_rows_of_their_bars() -> None:
    rows = [RankedItem(name, 5, 1, median, 9) for name, median in (("a", 0.0), ("b", 7.0), ("c", None), ("d", 3.0))]
    bars, points = ranking_chart(rows, "videos", "#").to_dict()["hconcat"]
    assert bars["layer"][0]["encoding"]["y"]["sort"] == ["#a", "#b", "#c", "#d"]
    assert points["encoding"]["y"]["scale"]["domain"] == ["#a", "#b", "#c", "#d"]


def test_svg_has_a_pattern_for_each_state_and_a_tooltip_for_each_mark() -> None:
    units = [
        UnitGroup("videos", "day", state, n, 0, 0, 0, 0, 0, None, None, 0, 0)
        for n, state in enumerate(drawing.STATE_STYLES, 20)
    ]
    svg = to_svg(coverage_chart(units), "one", "Coverage")
    for state in drawing.pattern_names():
        assert f'<pattern id="one-{state}"' in svg
        assert f"url(#one-{state})" in svg
        assert drawing.key_colour(state) not in svg
    assert "<title>Video search (188 units): 20 complete, 10.6 %</title>" in svg
    assert len(to_png(svg)) < 100_000
