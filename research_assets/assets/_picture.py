"""A small picture of what a study holds: rows by partition, what is missing marked. Inline in the UI, no file."""

import base64
from pathlib import Path
from typing import Any

import duckdb

_HELD = "#2f6f9f"
_GAP = "#c8553d"

_BY_PARTITION = """
select "partition" as day, sum(kept)::bigint as n, bool_and(state = 'complete') as complete
from (
  select * from read_parquet($files, union_by_name = true)
  where entity = $entity
  qualify row_number() over (partition by "partition", unit_kind, unit order by last_at desc nulls last) = 1
)
group by all order by all
"""


def _chart(rows: list[tuple[Any, ...]], title: str) -> dict[str, Any]:
    most = max((n or 0 for _, n, _ in rows), default=0) or 1
    values = [
        # A gap without rows would be invisible, so its bar is a stump.
        {"day": day.isoformat(), "n": (n or 0) if complete else max(n or 0, most * 0.04), "state": state}
        for day, n, complete in rows
        for state in ("complete" if complete else "not complete",)
    ]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": 560,
        "height": 130,
        "background": "white",
        "title": {"text": title, "anchor": "start", "fontSize": 12, "fontWeight": "normal"},
        "data": {"values": values},
        "mark": {"type": "bar", "binSpacing": 1},
        "encoding": {
            "x": {"field": "day", "type": "temporal", "timeUnit": "utcyearmonthdate", "title": None},
            "y": {"field": "n", "type": "quantitative", "title": "rows", "axis": {"tickCount": 4}},
            "color": {
                "field": "state",
                "scale": {"domain": ["complete", "not complete"], "range": [_HELD, _GAP]},
                "legend": {"title": None, "orient": "top"},
            },
        },
        "config": {"view": {"stroke": None}, "axis": {"gridColor": "#e8e8e8"}},
    }


def picture(raw: Path, study: str, entity: str) -> str | None:
    """The picture as Markdown with the image inline; None while nothing of the entity was asked.

    `raw` is the folder of raw tables; the last attempt of each unit counts.
    """
    folder = raw / "coverage" / f"study={study}"
    if next(folder.glob("**/*.parquet"), None) is None:
        return None
    with duckdb.connect() as connection:
        files = str(folder / "**" / "*.parquet")
        rows = connection.execute(_BY_PARTITION, {"files": files, "entity": entity}).fetchall()
    if not rows:
        return None
    import vl_convert  # half a second that only a finished run pays

    svg = vl_convert.vegalite_to_svg(_chart(rows, f"{study}: {entity} held, by partition"))
    return f"![{study}: {entity} by partition](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
