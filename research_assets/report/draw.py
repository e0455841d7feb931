"""A chart into a picture: SVG for the page, PNG for the UI. Drawn here, with nothing fetched and no script left in.

What Vega cannot do is done to its SVG: patterns, tooltips that need no script (`<title>`), names that stay unique when
several pictures stand on one page.
"""

import re
import struct
import zlib
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from research_assets.report.style import key_colour, pattern_names, svg_pattern

if TYPE_CHECKING:
    import altair as alt

MAX_PNG_BYTES = 100_000
"""A picture goes into the event log of Dagster, which keeps one of each run."""

_SVG = "http://www.w3.org/2000/svg"
_MARK = f"{{{_SVG}}}"
_PNG = b"\x89PNG\r\n\x1a\n"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def to_svg(chart: "alt.TopLevelMixin", name: str, words: str) -> str:
    """A chart as an SVG element that can stand in HTML.

    `name` makes its ids unique on the page; `words` say to those who do not see it what it shows.
    """
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict())
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawn)
    for element in list(root.iter()):
        _add_tooltip(element)
        _rename(element, name)
    definitions = ElementTree.Element(f"{_MARK}defs")
    used = {value for element in root.iter() for value in element.attrib.values()}
    for state in pattern_names():
        identity = f"{name}-{state}"
        if f"url(#{identity})" in used:
            definitions.append(
                ElementTree.fromstring(svg_pattern(state, identity).replace("<pattern", f'<pattern xmlns="{_SVG}"'))
            )
    root.insert(0, definitions)
    root.set("role", "img")
    root.set("aria-label", words)
    return ElementTree.tostring(root, encoding="unicode")


def to_png(svg_text: str) -> bytes:
    """A picture made by `svg`, as PNG; sharp if that stays below `MOST_BYTES`."""
    import vl_convert

    drawn = b""
    for scale in (1.5, 1.0):
        drawn = _recompress(vl_convert.svg_to_png(svg_text, scale=scale))
        if len(drawn) < MAX_PNG_BYTES:
            break
    return drawn


def _recompress(picture: bytes) -> bytes:
    """The same PNG, packed as small as it goes: vl-convert packs fast, to several times the size."""
    chunks, place = [], len(_PNG)
    while place < len(picture):
        (length,) = struct.unpack_from(">I", picture, place)
        chunks.append((picture[place + 4 : place + 8], picture[place + 8 : place + 8 + length]))
        place += 12 + length
    pixels = zlib.compress(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), 9)
    head, *_ = chunks
    parts = [head, (b"IDAT", pixels), (b"IEND", b"")]
    return _PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def _add_tooltip(element: ElementTree.Element) -> None:
    """Turn what Vega tells of a mark into a tooltip, and leave out what only tells that it is a mark."""
    label = element.attrib.pop("aria-label", None)
    role = element.attrib.pop("aria-roledescription", None)
    element.attrib.pop("role", None)
    element.attrib.pop("aria-hidden", None)
    element.attrib.pop("class", None)
    if label and role and role not in ("axis", "legend", "title") and not role.startswith("group"):
        title = ElementTree.Element(f"{_MARK}title")
        title.text = label
        element.insert(0, title)


def _rename(element: ElementTree.Element, name: str) -> None:
    """Ids and references get the picture's name; the colours that stand for patterns become these."""
    colours = {key_colour(state): f"url(#{name}-{state})" for state in pattern_names()}
    for attribute, value in element.attrib.items():
        if attribute == "id":
            element.set(attribute, f"{name}-{value}")
        elif value in colours:
            element.set(attribute, colours[value])
        elif "url(#" in value:
            element.set(attribute, _REFERENCE.sub(rf"url(#{name}-\1)", value))
