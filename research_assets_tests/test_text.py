"""Each place that shows foreign text gets text that does nothing there, whatever strangers write."""

import csv
import io
import logging
import re
import unicodedata
from datetime import UTC, date, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.table import Table

from research_assets import text as sinks
from research_assets.checks.runner import markdown_sample
from research_assets.cli import main
from research_assets.cli.terminal import Terminal, print_warning
from research_assets.settings import Settings
from research_assets.storage import raw_writer
from research_assets_tests.hostile import HOSTILE, TEXTS

_DAY = date(2026, 3, 2)
BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def assert_printable(text: str, *, lines: bool = True) -> None:
    """Assert that nothing in a text controls a terminal or the order of letters, or is invalid in XML 1.0."""
    allowed = "\n\t" if lines else ""
    for character in text:
        category = unicodedata.category(character)
        assert category not in ("Cs", "Zl", "Zp"), ascii(character)
        assert category != "Cc" or character in allowed, ascii(character)
        assert unicodedata.bidirectional(character) not in BIDIRECTIONAL, ascii(character)
        assert ord(character) & 0xFFFE != 0xFFFE, ascii(character)
    text.encode()


@given(TEXTS)
def test_printable_text_has_no_control_and_keeps_all_else(text: str) -> None:
    printable = sinks.printable_text(text)
    assert_printable(printable)
    assert sinks.printable_text(printable) == printable
    kept = [character for character in text if character.isprintable()]
    shown = iter(printable)
    assert all(character in shown for character in kept)


@pytest.mark.parametrize("text", HOSTILE)
def test_html_and_svg_texts_are_valid_xml(text: str) -> None:
    for escaped in (sinks.svg_text(text), sinks.svg_text(sinks.html_text(text))):
        element = ElementTree.fromstring(f"<title a='{escaped}'>{escaped}</title>")
        assert element.text == (sinks.printable_text(text) or None)
        assert len(element) == 0


@given(TEXTS, st.integers(1, 100))
def test_one_line_is_one_line_of_bounded_length(text: str, limit: int) -> None:
    line = sinks.one_line(text, limit)
    assert_printable(line, lines=False)
    assert len(line) <= limit
    assert line.splitlines() in ([], [line])


@given(st.lists(TEXTS, max_size=6))
def test_labels_are_distinct_and_keep_their_order(texts: list[str]) -> None:
    labels = sinks.distinct_labels(texts)
    assert len(set(labels)) == len(texts)
    assert all(label.startswith(sinks.short_label(text)) for label, text in zip(labels, texts, strict=True))


@given(st.recursive(TEXTS | st.floats() | st.booleans(), lambda part: st.lists(part) | st.dictionaries(TEXTS, part)))
def test_chart_values_are_printable_and_finite(value: object) -> None:
    def check(part: object) -> None:
        match part:
            case dict():
                for key, inner in part.items():
                    check(key)
                    check(inner)
            case list():
                for inner in part:
                    check(inner)
            case str():
                assert_printable(part, lines=False)
                assert len(part) <= sinks.MAX_TEXT_CHARACTERS
            case float():
                assert part - part == 0

    check(sinks.chart_value(value))


MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def inline_types(tokens: list[Token]) -> set[str]:
    return {token.type for token in tokens} | {
        kind for token in tokens if token.children for kind in inline_types(token.children)
    }


@given(st.lists(TEXTS, min_size=1, max_size=3))
@example([text for text in HOSTILE if len(text) < 60][:8])
def test_sample_is_a_table_of_plain_texts(row: list[str]) -> None:
    sample = markdown_sample([f"c{index}" for index, _ in enumerate(row)], [row])
    assert_printable(sample)
    tokens = MARKDOWN.parse(sample)
    table = {"table", "thead", "tbody", "tr", "th", "td"}
    allowed = {f"{name}_{end}" for name in table for end in ("open", "close")} | {"inline", "text", "text_special"}
    assert inline_types(tokens) <= allowed, inline_types(tokens) - allowed
    cells = [token for token in tokens if token.type == "td_open"]
    assert len(cells) == len(row)


@given(TEXTS)
@example("# heading")
@example("1. list")
@example("- list")
@example("---")
@example("1) list")
@example("> quote")
def test_markdown_text_is_one_paragraph_of_plain_text(text: str) -> None:
    tokens = MARKDOWN.parse(sinks.markdown_text(text))
    assert inline_types(tokens) <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}
    [shown] = ["".join(part.content for part in token.children or ()) for token in tokens if token.children] or [""]
    assert shown.replace("\u200b", "") == sinks.one_line(text).replace("\u200b", "")


@pytest.mark.parametrize("text", ["http://evil.example", "HTTPS://evil.example", "www.evil.example", "a@evil.example"])
def test_markdown_text_divides_addresses(text: str) -> None:
    shown = sinks.markdown_text(text)
    assert shown.replace("\u200b", "") == text
    assert not re.search(r"://|www\.|a@evil", shown, re.IGNORECASE)


@given(TEXTS)
def test_webhook_text_has_no_mention_and_no_link_markup(text: str) -> None:
    message = sinks.webhook_text(text)
    assert_printable(message, lines=False)
    assert not set("<>@`") & set(message)
    assert len(message) <= sinks.MAX_MESSAGE_CHARACTERS


@given(TEXTS)
def test_csv_text_is_no_formula_and_can_be_restored(text: str) -> None:
    cell = sinks.csv_text(text)
    assert not re.match("[=+@\t\r\n\\-\uff1d\uff0b\uff0d\uff20]", cell)
    assert cell in (text, f"'{text}")
    if "\r" not in text:
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerow([cell, "end"])
        assert next(csv.reader(io.StringIO(buffer.getvalue(), newline=""))) == [cell, "end"]


@given(TEXTS)
def test_file_name_is_a_name_on_every_system(text: str) -> None:
    name = sinks.file_name(text)
    assert name == "" or sinks.is_file_name(name)
    assert sinks.is_file_name(text) == (sinks.file_name(text) == text != "")


def test_long_file_names_stay_different() -> None:
    assert sinks.file_name("a" * 3000) != sinks.file_name("a" * 3000 + "b")


@given(TEXTS)
def test_terminal_prints_any_text_without_control(text: str) -> None:
    file = io.StringIO()
    table = Table(text, title=text, caption=text)
    table.add_row(text)
    # A terminal, so that Rich writes its own sequences as well.
    console = Terminal(file=file, force_terminal=True, color_system="standard", width=100)
    console.print(text, table)
    print_warning(console, text, text)
    styles = re.compile(r"\x1b\[[0-9;]*m")
    assert set(styles.findall(file.getvalue())) <= {"\x1b[0m", "\x1b[1m", "\x1b[3m", "\x1b[33m", "\x1b[2;3m"}
    assert_printable(styles.sub("", file.getvalue()))
    plain = io.StringIO()
    Terminal(file=plain, width=10_000).print(text)
    assert plain.getvalue().split() == sinks.terminal_text(text).split()


@given(TEXTS)
def test_log_record_is_printable_and_bounded(text: str) -> None:
    records: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = sinks.safe_logger("research_assets_tests.hostile")
    logger.propagate = False
    logger.handlers = [Handler()]
    logger.warning("Failed: %s", text * 100)
    [record] = records
    assert_printable(record.getMessage())
    assert record.getMessage().startswith("Failed: ")
    assert len(record.getMessage()) <= sinks.MAX_LOG_CHARACTERS + 1
    assert len(logger.filters) == 1


def test_status_prints_hostile_texts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from research_assets.alerts import append_alert

    rows = [
        {
            "entity": "users",
            "partition": "2026-02-02",
            "unit_kind": "account",
            "unit": f"unit {index}",
            "state": "quarantined",
            "reason": f"{index} {text}".replace("\x00", ""),
            "last_at": "2026-03-02T01:00:00Z",
        }
        for index, text in enumerate(HOSTILE)
    ]
    raw_writer.write_rows(settings.raw, "coverage", study="garden", day=_DAY, name="a", rows=rows)
    now = datetime.now(UTC).isoformat()
    for text in HOSTILE:
        append_alert(settings, {"at": now, "assets": [text], "partitions": text, "message": [text]})
        append_alert(settings, {"at": now, "sensor": text, "message": [text, text]})
    monkeypatch.setenv("TIKTOK_API_URL", settings.api_url)
    result = CliRunner().invoke(main, ["status"], terminal_width=200)
    assert result.exit_code == 0, result.output
    assert "Open units" in result.output
    assert "Failures in the last 7 days" in result.output
    assert "hostile" in result.output
    assert_printable(result.output)


def test_sources_print_through_the_terminal_only() -> None:
    folder = Path(sinks.__file__).parent / "cli"
    uses = [path.name for path in folder.glob("*.py") if re.search(r"(?<!\w)Console\(", path.read_text())]
    assert uses == []
