"""The font of pages and charts: widths of texts, and the colours of both colour schemes."""

import re

import pytest

from research_assets.report import drawing
from research_assets.report.fonts import MAX_WIDTH, fit_text, font_css, text_width
from research_assets_tests.report.html_parser import ParsedReport

TEXT = re.compile(r'<text [^>]*fill="([^"]+)"')
SHAPE = re.compile(r'<path aria-label[^>]*fill="(#[0-9a-f]+)"|<rect width="6" height="6" fill="([^"]+)"')


def luminance(colour: str) -> float:
    colour = {"white": "#ffffff", "#fff": "#ffffff"}.get(colour, colour)
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_width_is_the_sum_of_the_advances() -> None:
    # The advances of 0, i, W and m in units of 1/1000, as fontTools reads them from the files.
    assert text_width("0iWm", 1000) == pytest.approx(497 + 246 + 786 + 829)
    assert text_width("0iWm", 1000, 700) == pytest.approx(528 + 276 + 813 + 857)
    assert text_width("äßŁΩж€▶◀", 10) < 10 * 8 * MAX_WIDTH
    assert text_width("庭", 10) == 10 * MAX_WIDTH


@pytest.mark.parametrize(
    "text", ["#gardening", "#" + "W" * 60, "#庭園庭園庭園庭園庭園庭園庭園庭園", "#\N{SEEDLING}" * 9, ""]
)
def test_fitted_text_is_not_wider_than_its_place(text: str) -> None:
    fitted = fit_text(text, 165, 12)
    assert text_width(fitted, 12) <= 165
    assert fitted == text or (fitted.endswith("…") and text.startswith(fitted[:-1]))
    assert (fitted == text) == (text_width(text, 12) <= 165)


def test_page_contains_the_font_and_permits_it(html: str, page: ParsedReport) -> None:
    assert html.count("@font-face") == 2
    assert font_css() in html
    [policy] = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert "font-src data:;" in policy
    assert set(re.findall(r'font-family="([^"]+)"', html)) == {"Report Sans, Arial, Helvetica, sans-serif"}


def test_charts_are_legible_in_both_colour_schemes(html: str) -> None:
    texts = set(TEXT.findall(html))
    assert {drawing.INK, drawing.SOFT, drawing.WHITE} == texts
    for colour in texts - {drawing.WHITE}:
        assert contrast(colour, "white") >= 4.5
        assert contrast(drawing.DARK_COLOURS[colour], drawing.DARK_PAPER) >= 4.5
    for scheme in ({}, drawing.DARK_COLOURS):
        assert contrast(drawing.WHITE, scheme.get(drawing.BLUE, drawing.BLUE)) >= 4.5
        # Bars and points are distinguishable from the paper.
        paper = scheme.get("white", "white")
        for colour in (drawing.BLUE, drawing.RED):
            assert contrast(scheme.get(colour, colour), paper) >= 3, colour
    for style in drawing.STATE_STYLES.values():
        # A number in a bar has an edge in the colour of the paper.
        assert style.fill in {*drawing.DARK_COLOURS, drawing.BLUE}


def test_paper_has_the_light_colour_scheme(html: str) -> None:
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert style.count("prefers-color-scheme") == style.count("@media screen and (prefers-color-scheme: dark)") == 2
