"""The pictures in the UI: short enough to be shown at once, and honest about gaps."""

import base64
from datetime import date, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from research_assets.assets.partition_charts import (
    MAX_INLINE_CHARACTERS,
    PartitionBar,
    chart,
    fill_gaps,
    read_bars,
    sparkline,
)
from research_assets.storage import raw_writer

BARS = st.lists(st.tuples(st.integers(0, 10**9), st.booleans()), min_size=1, max_size=4000)


def bars(values: list[tuple[int, bool]]) -> list[PartitionBar]:
    return [PartitionBar(date(2018, 1, 1) + timedelta(days=at), rows, whole) for at, (rows, whole) in enumerate(values)]


def drawn(markdown: str) -> str:
    return base64.b64decode(markdown.split("base64,")[1].split(")")[0]).decode()


@given(BARS)
def test_any_number_of_partitions_fits(values: list[tuple[int, bool]]) -> None:
    assert len(sparkline(bars(values))) < MAX_INLINE_CHARACTERS


def test_gaps_are_marked_even_without_rows() -> None:
    gap = bars([(10, True), (0, False), (10, True)])
    whole = bars([(10, True), (0, True), (10, True)])
    assert drawn(sparkline(gap)).count("<path") == 2
    assert drawn(sparkline(whole)).count("<path") == 1
    assert "20 rows, 1 of 3 partitions not complete" in sparkline(gap)
    assert "20 rows, 3 partitions, all complete" in sparkline(whole)
    assert "not complete" in drawn(chart(gap, "held"))


def test_partitions_that_were_never_asked_are_gaps() -> None:
    monday = date(2026, 2, 2)
    week = timedelta(days=7)
    some = [PartitionBar(monday + week, 3, True), PartitionBar(monday + 3 * week, 4, True)]
    assert fill_gaps(some, monday, monday + 3 * week, week) == [
        PartitionBar(monday, 0, False),
        some[0],
        PartitionBar(monday + 2 * week, 0, False),
        some[1],
    ]


def test_the_attempt_that_counts(tmp_path: Path) -> None:
    def attempt(name: str, hour: int, state: str, kept: int) -> None:
        row = {
            "entity": "videos",
            "partition": "2026-02-03",
            "unit_kind": "day",
            "unit": "2026-02-03",
            "state": state,
            "kept": kept,
            "last_at": f"2026-03-02T{hour:02}:00:00Z",
        }
        raw_writer.write_rows(tmp_path, "coverage", study="gardening", day=date(2026, 3, 2), name=name, rows=[row])

    assert read_bars(tmp_path, "gardening", "videos") == []
    attempt("a", 1, "quarantined", 0)
    assert read_bars(tmp_path, "gardening", "videos") == [PartitionBar(date(2026, 2, 3), 0, False)]
    attempt("b", 2, "complete", 7)
    attempt("c", 3, "quarantined", 0)
    assert read_bars(tmp_path, "gardening", "videos") == [PartitionBar(date(2026, 2, 3), 7, True)]
    assert read_bars(tmp_path, "gardening", "comments") == []
