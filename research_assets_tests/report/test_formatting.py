"""Numbers, queries and spans as a reader is told them; looks that grey print and any eye can tell apart."""

from datetime import date
from itertools import pairwise

import pytest

from research_assets.report import drawing
from research_assets.report.charts import coverage_chart
from research_assets.report.data import ApiChange, UnitGroup
from research_assets.report.drawing import to_png, to_svg
from research_assets.report.formatting import NO_VALUE, change_period, describe_query, format_number, format_percent


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, NO_VALUE),
        (0, "0"),
        (1234, "1,234"),
        (0.5, "0.5"),
        (0.01, "under 0.1"),
        (12.34, "12.3"),
        (1e9, "1,000,000,000"),
    ],
)
def test_numbers(value: float | None, told: str) -> None:
    assert format_number(value) == told


@pytest.mark.parametrize(
    ("share", "told"),
    [(0, "0 %"), (0.0001, "under 0.1 %"), (0.714, "71.4 %"), (0.9996, "over 99.9 %"), (1, "100 %"), (None, NO_VALUE)],
)
def test_shares_are_never_rounded_to_none_or_all(share: float | None, told: str) -> None:
    assert format_percent(share) == told


def condition(field: str, operation: str, *values: str) -> dict[str, object]:
    return {"field_name": field, "operation": operation, "field_values": list(values)}


def test_a_query_in_words() -> None:
    query = {
        "and": (condition("hashtag_name", "EQ", "rad"), condition("view_count", "GTE", "100")),
        "or": (condition("region_code", "IN", "DE", "AT"), condition("username", "EQ", "anna")),
        "not": (condition("video_length", "EQ", "SHORT"),),
    }
    assert describe_query(query) == (
        "the hashtag is “rad” and the number of views is at least “100”; and at least one of these holds: the "
        "creator's country of registration is “DE” or “AT”; or the creator is “anna”; and it does not hold that the "
        "length class is “SHORT”"
    )


def test_a_query_of_many_accounts_stays_a_sentence() -> None:
    reported = describe_query({"and": (condition("username", "IN", *(f"name{n}" for n in range(500))),)})
    assert reported.endswith("or one of 488 more")
    assert len(reported) < 300


@pytest.mark.parametrize(
    ("first", "last", "precision", "told"),
    [
        (date(2024, 7, 9), None, "day", "since 2024-07-09"),
        (None, date(2024, 6, 30), "month", "until June 2024"),
        (date(2021, 3, 1), date(2022, 7, 31), "month", "March 2021 to July 2022"),
        (date(2018, 1, 1), date(2018, 12, 31), "year", "2018"),
        (date(2023, 10, 8), date(2023, 10, 8), "about", "about 2023-10-08"),
        (date(2024, 1, 1), None, "quarter", "since quarter 1 of 2024"),
        (None, None, "day", "at unknown times"),
    ],
)
def test_spans_are_as_exact_as_they_are_known(first: date | None, last: date | None, precision: str, told: str) -> None:
    assert change_period(ApiChange(1, "observed", first, last, precision, "", "", "")) == told


def test_states_differ_in_grey() -> None:
    def light(colour: str) -> float:
        red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    plain = sorted(light(look.fill) for look in drawing.STATE_STYLES.values() if not look.pattern)
    assert all(second - first > 40 for first, second in pairwise(plain))
    patterns = [look.pattern for look in drawing.STATE_STYLES.values() if look.pattern]
    assert len(patterns) == len(set(patterns))


def test_a_picture_has_a_pattern_for_each_state_and_a_tooltip_for_each_mark() -> None:
    units = [
        UnitGroup("videos", "day", state, n, 0, 0, 0, 0, 0, None, None)
        for n, state in enumerate(drawing.STATE_STYLES, 20)
    ]
    drawn = to_svg(coverage_chart(units), "one", "Coverage")
    for state in drawing.pattern_names():
        assert f'<pattern id="one-{state}"' in drawn
        assert f"url(#one-{state})" in drawn
        assert drawing.key_colour(state) not in drawn
    assert "<title>Video search (188 days): 20 complete, 10.6 %</title>" in drawn
    assert len(to_png(drawn)) < 100_000
