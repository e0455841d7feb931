"""The charts in the UI are short enough to be shown inline, and mark gaps."""

import base64
import re
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
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
from research_assets.text import printable_text

BARS = st.lists(st.tuples(st.integers(0, 10**9), st.booleans()), min_size=1, max_size=4000)


def bars(values: list[tuple[int, bool]]) -> list[PartitionBar]:
    return [
        PartitionBar(date(2018, 1, 1) + timedelta(days=day), rows, complete)
        for day, (rows, complete) in enumerate(values)
    ]


def decode_svg(markdown: str) -> str:
    return base64.b64decode(markdown.split("base64,")[1].split(")")[0]).decode()


@given(BARS)
def test_sparkline_of_any_number_of_partitions_is_short(values: list[tuple[int, bool]]) -> None:
    assert len(sparkline(bars(values))) < MAX_INLINE_CHARACTERS


def test_charts_mark_gaps_without_rows() -> None:
    with_gap = bars([(10, True), (0, False), (10, True)])
    complete = bars([(10, True), (0, True), (10, True)])
    assert decode_svg(sparkline(with_gap)).count("<path") == 2
    assert decode_svg(sparkline(complete)).count("<path") == 1
    assert "20 rows, 1 of 3 partitions not complete" in sparkline(with_gap)
    assert "20 rows, 3 partitions, all complete" in sparkline(complete)
    colours = [decode_svg(chart(one, "videos")).count("#c8553d") for one in (with_gap, complete)]
    assert colours == [2, 1]  # The legend has the colour as well.


@given(BARS, st.text())
def test_chart_of_any_bars_is_an_svg_within_its_frame(values: list[tuple[int, bool]], title: str) -> None:
    svg = ElementTree.fromstring(decode_svg(chart(bars(values), title)))
    assert (svg.findtext("{*}text") or "") == printable_text(title)
    heights = [float(height) for height in re.findall(r"v-([0-9.]+)h", decode_svg(chart(bars(values), title)))]
    assert all(0 < height <= 130 for height in heights)
    assert len(heights) == sum(rows > 0 or not is_complete for rows, is_complete in values)


@pytest.mark.parametrize(("most", "ticks"), [(1, ["0", "1"]), (7, ["0", "2", "4", "6", "8"]), (23, ["0", "5", "25"])])
def test_rows_have_round_numbers(most: int, ticks: list[str]) -> None:
    texts = re.findall("text-anchor='end'>([0-9,]+)<", decode_svg(chart(bars([(most, True)]), "videos")))
    assert set(ticks) <= set(texts)
    assert len(texts) <= 6


def test_partitions_without_attempts_are_gaps() -> None:
    monday = date(2026, 2, 2)
    week = timedelta(days=7)
    present = [PartitionBar(monday + week, 3, True), PartitionBar(monday + 3 * week, 4, True)]
    assert fill_gaps(present, monday, monday + 3 * week, week) == [
        PartitionBar(monday, 0, False),
        present[0],
        PartitionBar(monday + 2 * week, 0, False),
        present[1],
    ]


def test_bars_show_the_current_attempt(tmp_path: Path) -> None:
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
