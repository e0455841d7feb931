"""Charts of collected rows by partition, with incomplete partitions marked: a sparkline and a chart with axes.

Both are inline Markdown for the UI. Not here: when they are shown (see run_events.py), and the figures of the report
(see report/charts.py).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from research_assets.planning.coverage_summary import read_state_counts
from research_assets.text import markdown_text, svg_text
from research_assets.units.coverage import SETTLED

MAX_INLINE_CHARACTERS = 1000
"""Upper limit in characters: the UI shows shorter Markdown inline, and longer Markdown behind a link."""

_COMPLETE_COLOUR = "#2f6f9f"
_GAP_COLOUR = "#c8553d"
_MAX_BARS = 48
_HEIGHT = 32
_PLOT_LEFT, _PLOT_WIDTH, _PLOT_HEIGHT, _PLOT_FOOT = 80, 560, 130, 176
_MAX_DATES = 6


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
    """Return a bar chart with axes as Markdown.

    It is written as text: a drawing library would cost each run half a second and memory, and can end its process.
    """
    max_rows = max(1, *(bar.rows for bar in bars))
    step = _tick_step(max_rows)
    top = -(-max_rows // step) * step
    width = _PLOT_WIDTH / len(bars)
    paths = {True: "", False: ""}
    for index, bar in enumerate(bars):
        # A gap without rows would be invisible, so its bar has a minimum height.
        min_height = 5 if not bar.is_complete else 0.5 if bar.rows else 0
        height = max(bar.rows / top * _PLOT_HEIGHT, min_height)
        if height:
            left, bar_width = _PLOT_LEFT + index * width, max(width - 1, width * 0.8)
            paths[bar.is_complete] += f"M{left:.1f} {_PLOT_FOOT}v-{height:.1f}h{bar_width:.2f}V{_PLOT_FOOT}z"
    parts = [f"<text x='{_PLOT_LEFT}' y='13' fill='#1d2329'>{svg_text(title)}</text>"]
    legend = ((_COMPLETE_COLOUR, "complete", 0), (_GAP_COLOUR, "not complete", 90))
    for colour, text, offset in legend:
        left = _PLOT_LEFT + offset
        parts.append(f"<path d='M{left} 22h10v10h-10z' fill='{colour}'/><text x='{left + 14}' y='31'>{text}</text>")
    for rows in range(0, top + 1, step):
        y = _PLOT_FOOT - rows / top * _PLOT_HEIGHT
        parts.append(
            f"<path d='M{_PLOT_LEFT} {y:.1f}h{_PLOT_WIDTH}' stroke='#e8e8e8'/>"
            f"<text x='{_PLOT_LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{rows:,}</text>"
        )
    parts += [
        f"<path d='{path}' fill='{_COMPLETE_COLOUR if is_complete else _GAP_COLOUR}'/>"
        for is_complete, path in paths.items()
        if path
    ]
    for index in range(0, len(bars), -(-len(bars) // _MAX_DATES)):
        x = _PLOT_LEFT + index * width
        parts.append(f"<text x='{x:.1f}' y='{_PLOT_FOOT + 15}'>{bars[index].first}</text>")
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_PLOT_LEFT + _PLOT_WIDTH + 40}' height='{_PLOT_FOOT + 22}'"
        " font-family='sans-serif' font-size='11' fill='#5b6670'><path d='M0 0h2000v2000h-2000z' fill='white'/>"
        f"{''.join(parts)}</svg>"
    )
    return _inline_image(svg, title)


def _tick_step(most: int) -> int:
    """Return 1, 2, 5, 10, 20, 50 and so on, the least of which five cover `most` rows."""
    step = 1
    while step * 5 < most:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def _downsample(bars: Sequence[PartitionBar]) -> list[PartitionBar]:
    """Return at most `_MAX_BARS` bars, each for the same number of neighbouring partitions."""
    width = -(-len(bars) // _MAX_BARS)
    groups = [bars[start : start + width] for start in range(0, len(bars), width)]
    return [
        PartitionBar(group[0].first, sum(b.rows for b in group), all(b.is_complete for b in group)) for group in groups
    ]


def _inline_image(svg: str, title: str) -> str:
    return f"![{markdown_text(title)}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
