"""Small pictures of what a study holds: rows by partition, what is not complete marked. Inline in the UI, no file.

The UI shows Markdown at once only if it is short, so a plain row of bars stands beside the chart with its axes.
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
"""Characters of Markdown below which the UI shows it at once rather than behind a link."""

_COMPLETE_COLOUR = "#2f6f9f"
_GAP_COLOUR = "#c8553d"
_MAX_BARS = 48
_HEIGHT = 32


@dataclass(frozen=True, slots=True)
class PartitionBar:
    """A partition, or several beside each other: rows, and whether all that can be had of it is held."""

    first: date
    rows: int
    is_complete: bool


def read_bars(raw: Path, study: str, entity: str) -> list[PartitionBar]:
    """What is held of an entity by partition, from raw/coverage: of each unit the attempt that counts."""
    bars: dict[date, PartitionBar] = {}
    for count in read_state_counts(raw, study, entity):
        old = bars.get(count.partition, PartitionBar(count.partition, 0, is_complete=True))
        bars[count.partition] = PartitionBar(
            old.first, old.rows + count.rows, old.is_complete and count.state in SETTLED
        )
    return [bars[partition] for partition in sorted(bars)]


def fill_gaps(bars: Sequence[PartitionBar], first: date, last: date, step: timedelta) -> list[PartitionBar]:
    """The bars from the first to the last partition, with a gap for each that was never asked."""
    known = {bar.first: bar for bar in bars}
    days = (first + step * place for place in range((last - first) // step + 1))
    return [known.get(day, PartitionBar(day, 0, is_complete=False)) for day in days]


def _downsample(bars: Sequence[PartitionBar]) -> list[PartitionBar]:
    """At most `_BARS` bars, each for equally many neighbouring partitions."""
    width = -(-len(bars) // _MAX_BARS)
    groups = [bars[start : start + width] for start in range(0, len(bars), width)]
    return [
        PartitionBar(group[0].first, sum(b.rows for b in group), all(b.is_complete for b in group)) for group in groups
    ]


def _inline_image(svg: str, title: str) -> str:
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def sparkline(bars: Sequence[PartitionBar]) -> str:
    """A row of bars and a line about them, as Markdown shorter than `SHORT`."""
    joined = _downsample(bars)
    most = max(bar.rows for bar in joined) or 1
    paths = {True: "", False: ""}
    for place, bar in enumerate(joined):
        # A gap without rows would be invisible, so its bar is a stump.
        height = max(round(bar.rows / most * _HEIGHT), 0 if bar.is_complete else 3)
        if height:
            paths[bar.is_complete] += f"M{place} {_HEIGHT}v-{height}"
    drawn = "".join(
        f"<path stroke='{_COMPLETE_COLOUR if whole else _GAP_COLOUR}' d='{path}'/>"
        for whole, path in paths.items()
        if path
    )
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{len(joined) * 12}' height='48' preserveAspectRatio='none'"
        f" viewBox='-.5 0 {len(joined)} {_HEIGHT}' stroke-width='.8'>{drawn}</svg>"
    )
    gaps, total = sum(not bar.is_complete for bar in bars), sum(bar.rows for bar in bars)
    lacking = f"{gaps} of {len(bars)} partitions not complete" if gaps else f"{len(bars)} partitions, all complete"
    said = f"{bars[0].first} to {bars[-1].first}: {total:,} rows, {lacking}"
    return f"{_inline_image(svg, 'rows')}\n\n{said}"


def chart(bars: Sequence[PartitionBar], title: str) -> str:
    """The same with axes, as Markdown."""
    import vl_convert  # half a second that only a finished run pays

    stump = max(bar.rows for bar in bars) * 0.04 or 1
    values = [
        {
            "day": bar.first.isoformat(),
            "rows": bar.rows if bar.is_complete else max(bar.rows, stump),
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
