"""Charts of collected rows by partition, with incomplete partitions marked: a sparkline and a chart with axes.

Both are inline Markdown for the UI. Not here: when they are shown (see run_events.py), and the figures of the report
(see report/charts.py).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from research_assets.planning.coverage_summary import read_state_counts
from research_assets.units.coverage import SETTLED

MAX_INLINE_CHARACTERS = 1000
"""Upper limit in characters: the UI shows shorter Markdown inline, and longer Markdown behind a link."""

_COMPLETE_COLOUR = "#2f6f9f"
_GAP_COLOUR = "#c8553d"
_MAX_BARS = 48
_HEIGHT = 32


@dataclass(frozen=True, slots=True)
class PartitionBar:
    """One bar: a partition or several neighbours, their rows, and whether all their units are settled."""

    first: date
    rows: int
    is_complete: bool


def read_bars(raw: Path, study: str, entity: str) -> list[PartitionBar]:
    """Return one bar per partition of an entity, from the current attempt of each unit in raw/coverage."""
    bars: dict[date, PartitionBar] = {}
    for count in read_state_counts(raw, study, entity):
        bar = bars.get(count.partition, PartitionBar(count.partition, 0, is_complete=True))
        bars[count.partition] = PartitionBar(
            bar.first, bar.rows + count.rows, bar.is_complete and count.state in SETTLED
        )
    return [bars[partition] for partition in sorted(bars)]


def fill_gaps(bars: Sequence[PartitionBar], first: date, last: date, step: timedelta) -> list[PartitionBar]:
    """Return the bars from the first to the last partition, with a gap for each partition without a bar."""
    bar_of = {bar.first: bar for bar in bars}
    partitions = (first + step * index for index in range((last - first) // step + 1))
    return [bar_of.get(partition, PartitionBar(partition, 0, is_complete=False)) for partition in partitions]


def sparkline(bars: Sequence[PartitionBar]) -> str:
    """Return a row of bars and one line of text as Markdown, shorter than `MAX_INLINE_CHARACTERS`."""
    downsampled = _downsample(bars)
    max_rows = max(bar.rows for bar in downsampled) or 1
    paths = {True: "", False: ""}
    for x, bar in enumerate(downsampled):
        # A gap without rows would be invisible, so its bar has a minimum height.
        height = max(round(bar.rows / max_rows * _HEIGHT), 0 if bar.is_complete else 3)
        if height:
            paths[bar.is_complete] += f"M{x} {_HEIGHT}v-{height}"
    path_elements = "".join(
        f"<path stroke='{_COMPLETE_COLOUR if is_complete else _GAP_COLOUR}' d='{path}'/>"
        for is_complete, path in paths.items()
        if path
    )
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{len(downsampled) * 12}' height='48'"
        f" preserveAspectRatio='none' viewBox='-.5 0 {len(downsampled)} {_HEIGHT}' stroke-width='.8'>"
        f"{path_elements}</svg>"
    )
    gaps, rows = sum(not bar.is_complete for bar in bars), sum(bar.rows for bar in bars)
    completeness = f"{gaps} of {len(bars)} partitions not complete" if gaps else f"{len(bars)} partitions, all complete"
    text = f"{bars[0].first} to {bars[-1].first}: {rows:,} rows, {completeness}"
    return f"{_inline_image(svg, 'rows')}\n\n{text}"


def chart(bars: Sequence[PartitionBar], title: str) -> str:
    """Return a bar chart with axes as Markdown."""
    import vl_convert  # takes half a second, so only a finished run imports it

    min_height = max(bar.rows for bar in bars) * 0.04 or 1
    values = [
        {
            "day": bar.first.isoformat(),
            "rows": bar.rows if bar.is_complete else max(bar.rows, min_height),
            "state": "complete" if bar.is_complete else "not complete",
        }
        for bar in bars
    ]
    spec: dict[str, Any] = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": 560,
        "height": 130,
        "background": "white",
        "title": {"text": title, "anchor": "start", "fontSize": 12, "fontWeight": "normal"},
        "data": {"values": values},
        "mark": {"type": "bar", "binSpacing": 1},
        "encoding": {
            "x": {"field": "day", "type": "temporal", "timeUnit": "utcyearmonthdate", "title": None},
            "y": {"field": "rows", "type": "quantitative", "title": "rows", "axis": {"tickCount": 4}},
            "color": {
                "field": "state",
                "scale": {"domain": ["complete", "not complete"], "range": [_COMPLETE_COLOUR, _GAP_COLOUR]},
                "legend": {"title": None, "orient": "top"},
            },
        },
        "config": {"view": {"stroke": None}, "axis": {"gridColor": "#e8e8e8"}},
    }
    return _inline_image(vl_convert.vegalite_to_svg(spec), title)


def _downsample(bars: Sequence[PartitionBar]) -> list[PartitionBar]:
    """Return at most `_MAX_BARS` bars, each for the same number of neighbouring partitions."""
    width = -(-len(bars) // _MAX_BARS)
    groups = [bars[start : start + width] for start in range(0, len(bars), width)]
    return [
        PartitionBar(group[0].first, sum(b.rows for b in group), all(b.is_complete for b in group)) for group in groups
    ]


def _inline_image(svg: str, title: str) -> str:
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
