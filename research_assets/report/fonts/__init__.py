"""The font of pages and charts: its files, its CSS, and the width of texts in it.

Charts are laid out with the metrics of this font, and pages contain it, so that a label has the same width in every
browser. The font has Latin, Greek and Cyrillic letters; other characters are drawn in a font of the reader's machine.
Not here: the layout of charts (see drawing.py and charts.py).
"""

import base64
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FAMILY = "Report Sans"

FOLDER = Path(__file__).parent
"""Folder of the font files, for the chart library."""

FALLBACK = f"{FAMILY}, Arial, Helvetica, sans-serif"
"""Value of the CSS property font-family, with fonts for the characters that the font does not have."""

_FILES = {400: "report-sans-regular.ttf", 700: "report-sans-bold.ttf"}
"""File of each weight (CSS property font-weight)."""

MAX_WIDTH = 1.4
"""Assumed width of a character that the font does not have, in multiples of the font size; emoji are the widest."""


@cache
def font_css() -> str:
    """Return the CSS rules that contain the font."""
    return "".join(
        f'@font-face {{ font-family: "{FAMILY}"; font-weight: {weight}; '
        f"src: url(data:font/ttf;base64,{base64.b64encode((FOLDER / name).read_bytes()).decode()}); }}\n"
        for weight, name in _FILES.items()
    )


def text_width(text: str, size: float, weight: int = 400) -> float:
    """Return the width of a text on one line in pixels; an upper bound if the font lacks some of its characters."""
    widths = _widths(weight)
    return size * sum(widths.get(ord(character), MAX_WIDTH) for character in text)


def fit_text(text: str, width: float, size: float) -> str:
    """Return a text, cut and with `…` at its end if it could be wider than `width` pixels."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


@cache
def _widths(weight: int) -> Mapping[int, float]:
    """Return the width of each character of a weight, in multiples of the font size (tables cmap and hmtx)."""
    font = (FOLDER / _FILES[weight]).read_bytes()
    (n_tables,) = struct.unpack_from(">H", font, 4)
    tables = {}
    for number in range(n_tables):
        tag, _, offset, _ = struct.unpack_from(">4sIII", font, 12 + 16 * number)
        tables[tag] = offset
    (units_per_em,) = struct.unpack_from(">H", font, tables[b"head"] + 18)
    (n_metrics,) = struct.unpack_from(">H", font, tables[b"hhea"] + 34)
    advances = [struct.unpack_from(">H", font, tables[b"hmtx"] + 4 * index)[0] for index in range(n_metrics)]
    return {
        character: advances[min(glyph, n_metrics - 1)] / units_per_em
        for character, glyph in _glyphs(font, tables[b"cmap"]).items()
    }


def _glyphs(font: bytes, cmap: int) -> dict[int, int]:
    """Return the glyph of each character: the subtable of format 4 (OpenType, chapter cmap)."""
    (n_subtables,) = struct.unpack_from(">H", font, cmap + 2)
    offsets = [cmap + struct.unpack_from(">HHI", font, cmap + 4 + 8 * number)[2] for number in range(n_subtables)]
    table = next(offset for offset in offsets if struct.unpack_from(">H", font, offset) == (4,))
    n_segments = struct.unpack_from(">H", font, table + 6)[0] // 2
    layout = f">{n_segments}H"
    ends = struct.unpack_from(layout, font, table + 14)
    starts = struct.unpack_from(layout, font, table + 16 + 2 * n_segments)
    deltas = struct.unpack_from(layout, font, table + 16 + 4 * n_segments)
    ranges_at = table + 16 + 6 * n_segments
    glyphs = {}
    for index, (start, end, delta) in enumerate(zip(starts, ends, deltas, strict=True)):
        (offset,) = struct.unpack_from(">H", font, ranges_at + 2 * index)
        for character in range(start, min(end, 0xFFFE) + 1):
            glyph = character
            if offset:
                (glyph,) = struct.unpack_from(">H", font, ranges_at + 2 * index + offset + 2 * (character - start))
            if glyph:
                glyphs[character] = (glyph + delta) % 0x10000
    return glyphs
