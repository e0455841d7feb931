"""Foreign text, made safe for the place where it is shown: one function for each place; and text that a person pasted.

Foreign is every text that the API, a file or another program wrote: names, captions, error messages. It is stored as
it came, and changed only where it is shown. What a person writes into a study, a panel or a list passes `clean_text`
before it is requested. Not here: what a handle or a hashtag is (see tiktok/names.py); cells of exported CSV files (see
export/columns.py), which a query writes; values in SQL (see storage/raw_sql.py).
"""

import logging
import re
import sys
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b
from html import escape
from math import isfinite
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

MAX_LABEL_CHARACTERS = 100
"""Characters of a label in a chart, a heading or a list; longer texts end with `…`."""

MAX_TEXT_CHARACTERS = 500
"""Characters of any text in a chart, such as a tooltip."""

MAX_MESSAGE_CHARACTERS = 1000
"""Characters of a message to a webhook."""

MAX_NAME_BYTES = 30
"""Bytes of a name that becomes part of file names and asset keys. Dagster's lists show a name of this length whole at
1,280 pixels; a study can have a longer `title`. Names of three studies share the name of an export's folder."""

_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, sys.maxunicode, 0x10000)
)
_UNPRINTABLE = re.compile(
    # Control characters but tab and line feed, of which ESC begins the commands of a terminal; bidirectional
    # embeddings, overrides and isolates, which show text in another order than it has.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff" + _NONCHARACTERS + "]"
)
_LINE_BREAKS = "\r\x85\u2028\u2029"


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    if character in _LINE_BREAKS:
        return "\n"
    if character < " ":
        return chr(ord("\N{SYMBOL FOR NULL}") + ord(character))
    return "\N{SYMBOL FOR DELETE}" if character == "\x7f" else REPLACEMENT


def printable_text(text: str) -> str:
    """Return a text of any number of lines without characters that control its display.

    Control characters become their symbols (ESC: `␛`), other breaks of a line become line feeds. Surrogates,
    noncharacters and changes of the writing direction become `�`. The result is valid UTF-8 and valid in XML 1.0.
    """
    return _UNPRINTABLE.sub(_visible, text.replace("\r\n", "\n"))


def one_line(text: str, limit: int | None = None) -> str:
    """Return a printable text on one line, with single spaces, cut to `limit` characters."""
    # Cut before the costly steps as well: a text may be megabytes long.
    line = " ".join(printable_text(text if limit is None else text[: 20 * limit]).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def terminal_text(text: str) -> str:
    """Return a text of any length for a terminal, in which no escape sequence remains."""
    return printable_text(text)


def html_text(text: str) -> str:
    """Return a text for HTML. The template escapes it."""
    return printable_text(text)


def svg_text(text: str) -> str:
    """Return a text as content or attribute of an SVG element, escaped."""
    return escape(printable_text(text))


def short_label(text: str) -> str:
    """Return a name within a sentence, a table or a chart: one line of at most `MAX_LABEL_CHARACTERS`."""
    return one_line(text, MAX_LABEL_CHARACTERS)


def distinct_labels(texts: Sequence[str]) -> list[str]:
    """Return labels in the same order, numbered where they would be equal: a chart draws equal labels as one."""
    labels: list[str] = []
    for text in map(short_label, texts):
        label, number = text, 1
        while label in labels:
            number += 1
            label = f"{text} ({number})"
        labels.append(label)
    return labels


_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Characters that show a blank but are no blank in Unicode: the fillers of Hangul, and the empty Braille pattern."""

_VISIBLE_FORMATS = "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
_IS_VISIBLE_FORMAT = re.compile(f"[{_VISIBLE_FORMATS}]")
_JOINERS = "\u200c\u200d"
_BLACK_FLAG = "\U0001f3f4"
_KEYCAP = "\u20e3"


def clean_text(text: str) -> str:
    """Return a pasted text as it looks: Unicode NFC, plain blanks, no blanks around it, nothing invisible in it.

    Soft hyphens, zero-width spaces, byte order marks and marks of the writing direction are dropped. Joiners and
    variation selectors stay where scripts and emoji need them. Control characters and line breaks in the middle stay,
    because no text for the API has them: the caller refuses them. A second call changes nothing.
    """
    while (cleaned := _clean_once(text)) != text:
        text = cleaned
    return cleaned


def _clean_once(text: str) -> str:
    kept: list[str] = []
    text = unicodedata.normalize("NFC", text)
    # What is dropped does not come between a joiner and the letters that it joins.
    following, after = [""] * len(text), ""
    for index in range(len(text) - 1, -1, -1):
        following[index] = after
        if not _is_invisible(text[index], unicodedata.category(text[index])):
            after = text[index]
    for character, after in zip(text, following, strict=True):
        before = kept[-1] if kept else ""
        category = unicodedata.category(character)
        if category == "Zs" or character in _BLANKS:
            kept.append(" ")
        elif not _is_invisible(character, category) or _belongs(character, before, after):
            kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept)).strip()


def _is_invisible(character: str, category: str) -> bool:
    if category == "Cf":
        return not _IS_VISIBLE_FORMAT.match(character)
    return character == "\u034f" or _is_variation_selector(character)


def _is_variation_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _belongs(character: str, before: str, after: str) -> bool:
    """Return whether an invisible character changes how the characters beside it look."""
    if character in _JOINERS:
        return _is_joined(before) and _is_joined(after)
    if _is_variation_selector(character):
        return before >= "\u2000" or after == _KEYCAP or (before != "" and unicodedata.category(before) == "So")
    # The flags of England, Scotland and Wales are spelt with invisible letters.
    is_tag = "\U000e0020" <= character <= "\U000e007f"
    return is_tag and (before == _BLACK_FLAG or "\U000e0020" <= before <= "\U000e007e")


def _is_joined(character: str) -> bool:
    """Return whether a character is of a script with joined letters, or a symbol. Latin, Greek, Cyrillic are not."""
    return (
        character != ""
        and ("\u0590" <= character <= "\u1dff" or character >= "\u2190")
        and (unicodedata.category(character)[0] in "LMS")
    )


def join_surrogates(text: str) -> str:
    """Return a text in which each surrogate pair is its character. Raise ValueError if a single surrogate remains.

    Editors of JSON write an emoji as two escapes; YAML keeps the two halves.
    """
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        half = next(character for character in text if "\ud800" <= character <= "\udfff")
        raise ValueError(f"contains \\u{ord(half):04x}, one half of a character. Write the character itself") from None


_MARKDOWN = re.compile(r"[\\`*\[\]|~&<>]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK_START = re.compile(r"^(?:\d{1,9}(?=[.)])|(?=[#+=-]))")
_AUTOLINK = re.compile(r"(?<=[a-z]:)(?=//)|(?<=www)(?=\.)|(?<=\w)(?=@\w)", re.IGNORECASE)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown_text(text: str, limit: int | None = None) -> str:
    """Return a text for a paragraph, a line or a cell of Markdown, on one line: no HTML, link, picture or code in it.

    An invisible space divides addresses, which a page would turn into links. `limit` counts the shown characters.
    """
    line = _AUTOLINK.sub("\N{ZERO WIDTH SPACE}", one_line(text, limit))
    escaped = _MARKDOWN.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), line)
    return _BLOCK_START.sub(r"\g<0>\\", escaped)


_WEBHOOK = str.maketrans(
    {
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
        "@": "\N{FULLWIDTH COMMERCIAL AT}",
        "`": "'",
    }
)


def webhook_text(text: str) -> str:
    """Return a message for a chat: one line of at most `MAX_MESSAGE_CHARACTERS`, without mentions and link markup."""
    return one_line(text, MAX_MESSAGE_CHARACTERS).translate(_WEBHOOK)


def chart_value(value: Any) -> Any:
    """Return a part of a chart's specification in which every text is printable and every number finite.

    The chart library ends the whole process at a character that XML 1.0 does not allow, and it reads no NaN.
    Texts are cut to `MAX_TEXT_CHARACTERS`; a number that is not finite becomes null.
    """
    match value:
        case dict():
            return {chart_value(key): chart_value(part) for key, part in value.items()}
        case list() | tuple():
            return [chart_value(part) for part in value]
        case str():
            return re.sub("[\n\t]", " ", printable_text(value[:MAX_TEXT_CHARACTERS]))
        case float() if not isfinite(value):
            return None
    return value


FORMULA_START = "'*[=+@\\t\\r\\n\\-\uff1d\uff0b\uff0d\uff20]"
"""Pattern of the beginning of a cell that a spreadsheet runs as a formula; the last four are full-width forms.

It matches leading apostrophes too, so that removing one apostrophe always restores the original text."""


def csv_text(text: str) -> str:
    """Return a text as a CSV cell, with an apostrophe in front of what a spreadsheet would run as a formula."""
    return f"'{text}" if re.match(FORMULA_START, text) else text


RESERVED_FILE_NAMES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10))}
)
"""Names that Windows reserves for devices, whatever suffix a file has."""

FILE_NAME_RULE = (
    f"must begin with a letter, contain a-z, 0-9 and _ only, have at most {MAX_NAME_BYTES} characters, and be no name "
    "that Windows reserves, such as con"
)
"""The condition of `is_file_name`, as the end of a sentence."""


def is_file_name(name: str) -> bool:
    """Return whether a name may become part of file names and asset keys on every system."""
    pattern = rf"[a-z][a-z0-9_]{{0,{MAX_NAME_BYTES - 1}}}"
    return re.fullmatch(pattern, name) is not None and name not in RESERVED_FILE_NAMES


def file_name(text: str) -> str:
    """Return a text as a name of `is_file_name`; empty if it contains no letter or digit of ASCII."""
    plain = unicodedata.normalize("NFKD", text[: 10 * MAX_NAME_BYTES]).encode("ascii", "ignore").decode()
    name = re.sub("[^a-z0-9]+", "_", plain.lower()).strip("_")
    if name and (not name[0].isalpha() or name in RESERVED_FILE_NAMES):
        name = f"ids_{name}"
    if len(name) > MAX_NAME_BYTES:
        # Two long names may begin with the same letters.
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        name = f"{name[: MAX_NAME_BYTES - len(digest) - 1]}_{digest}"
    return name


MAX_LOG_CHARACTERS = 4_000
"""Characters of a text in a log."""


def log_text(text: str) -> str:
    """Return a text for a log, which terminals, files and Dagster's UI show: printable, cut to `MAX_LOG_CHARACTERS`."""
    shown = printable_text(text[:MAX_LOG_CHARACTERS])
    return shown if len(text) <= MAX_LOG_CHARACTERS else f"{shown}…"


def safe_logger(name: str) -> logging.Logger:
    """Return the logger of a module that logs foreign text; each of its messages passes `log_text`."""
    logger = logging.getLogger(name)
    logger.addFilter(_make_printable)
    return logger


def _make_printable(record: logging.LogRecord) -> bool:
    record.msg, record.args = log_text(record.getMessage()), ()
    return True
