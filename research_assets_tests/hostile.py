"""Hostile texts, as strangers write them into names and captions, and a warehouse with them in each text column."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import yaml
from hypothesis import strategies as st

from research_assets.settings import DBT_PROJECT_DIR
from research_assets_tests.report.report_warehouse import contracts

MARK = "hostile"
"""A word in each of the texts that are not empty, by which a page is searched for them."""

ALERT = "<script>alert('hostile')</script>"

HOSTILE = (
    "",
    " ",
    "hostile\x00nul",
    "".join(map(chr, range(32))) + "hostile\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "hostile\ufffe\uffff\ufdd0\U0001fffe\U0010ffff",
    "hostile\u2028line\u2029paragraph\u0085next",
    "hostile\u202egnp.exe\u202c \u2066isolate\u2069 \u200f\u200d\ufeff",
    "\x1b[31mhostile\x1b[0m \x1b]8;;http://evil.example/\x07link\x1b]8;;\x07 \x1b]0;title\x07 \x1b[2J \x9b31m",
    ALERT,
    "\"><img src=x onerror=alert('hostile')>",
    "' onmouseover='alert(1)' hostile='",
    "</style></title></textarea></svg><svg onload=alert('hostile')>",
    "<!--hostile--><![CDATA[x]]>&lt;&#60;script&#62;&amp;",
    "javascript:alert('hostile')",
    "![hostile](http://evil.example/x.png) [link](http://evil.example) <http://evil.example> www.evil.example",
    "| hostile | --- |\n| - | - |\n\n# heading\n```\ncode\n```\n`tick` *bold* __bold__ ~~gone~~ hostile@evil.example",
    "[red]hostile[/] [/hostile] :smile: [link=http://evil.example]x[/link]",
    "=cmd|' /C calc'!A0 hostile",
    "\x00=hostile()",
    "@SUM(hostile)",
    "../../hostile/../etc/passwd",
    "C:\\hostile\\..\\con",
    "{{ hostile }}{% raw %}${hostile} %s %(hostile)d {0}",
    "hostile'; drop table marts.videos; --",
    "datum.hostile", "hostile'] + alert(1) + ['",
    "hostile" + "\u0301" * 500,
    "hostile" * 43,
    "hostile " * 5_000,
    "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{GIRL} hostile \N{HEBREW LETTER ALEF} \N{ARABIC LETTER ALEF} \U000e0041",
)  # fmt: skip
"""Texts that DuckDB can store."""

SURROGATES = ("\ud800hostile", "hostile\udfff", "\udcff\udcfe")
"""Texts that are not valid Unicode, from escapes in JSON and names of files."""


@st.composite
def _texts(draw: st.DrawFn) -> str:
    # A function, because the representation of the strategy would contain all texts.
    return draw(
        st.sampled_from([*HOSTILE, *SURROGATES])
        | st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
        | st.lists(st.sampled_from([*HOSTILE, *SURROGATES]), max_size=3).map(lambda parts: "".join(parts)[-200:])
    )


TEXTS = _texts()
"""Hostile and arbitrary texts, surrogates included."""


@cache
def accepted_values() -> dict[tuple[str, str], list[str]]:
    """Return the accepted values of columns by mart and column; dbt's tests guarantee them."""
    accepted: dict[tuple[str, str], list[str]] = {}
    for file in (DBT_PROJECT_DIR / "models" / "marts").glob("_*.yml"):
        for model in yaml.safe_load(file.read_text()).get("models", ()):
            for column in model["columns"]:
                for test in column.get("data_tests", ()):
                    if isinstance(test, dict) and "accepted_values" in test:
                        accepted[model["name"], column["name"]] = test["accepted_values"]["arguments"]["values"]
    return accepted


def hostile_rows() -> dict[str, list[dict[str, Any]]]:
    """Return for each mart of the contracts a row for each of `HOSTILE`, with that text in each text column."""
    accepted = accepted_values()
    return {
        mart: [dict(_hostile_row(mart, columns, accepted, index, text)) for index, text in enumerate(HOSTILE)]
        for mart, columns in contracts().items()
    }


def _hostile_row(
    mart: str, columns: Mapping[str, str], accepted: Mapping[tuple[str, str], list[str]], index: int, text: str
) -> Iterator[tuple[str, Any]]:
    day = date(2026, 2, 1 + index % 6)
    for name, kind in columns.items():
        value: Any = None
        if name == "study":
            value = "garden"
        elif values := accepted.get((mart, name)):
            value = values[index % len(values)]
        elif kind == "varchar":
            value = text
        elif kind == "varchar[]":
            value = [text, f"{text}2"]
        elif "hashtag_name" in kind:
            value = [{"hashtag_id": index, "hashtag_name": text, "hashtag_description": text}]
        elif kind in ("bigint", "integer"):
            # Counts that cannot be are part of it.
            value = (1, 3, 0, -5, 2_000_000_000)[index % 5]
        elif kind == "double":
            value = (1.5, 0.0, -3.0, float("nan"), float("inf"), 1e300)[index % 6]
        elif kind == "boolean":
            value = index % 2 == 0
        elif kind == "date":
            value = day
        elif kind == "timestamptz":
            value = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
        yield name, value
