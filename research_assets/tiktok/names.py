"""Handles, hashtags, keywords and ids as people write and paste them, in the form that the API expects.

Study files, panels and id lists all use these functions, so that one spelling means the same everywhere. A spelling
that is certainly meant is converted: `@name`, a link to a profile, invisible characters. Anything else raises
ValueError, whose message continues a sentence that begins with the kind of the value. Not here: fields and operations
of a condition (see conditions.py).
"""

import re
import unicodedata
from itertools import pairwise
from urllib.parse import unquote

from research_assets.text import REPLACEMENT, clean_text, join_surrogates

_AT, _HASH = "@\ufe6b\uff20", "#\ufe5f\uff03"
_HOST = r"(?<![\w.-])(?:https?://)?(?:[\w-]+\.)*tiktok[vw]?\.(?:com|us|eu)(?::443)?"
_IS_LINK = re.compile(r"https?://|www\.|[\w.-]+\.[a-z]{2,}/", re.IGNORECASE)
_IS_SHORT_LINK = re.compile(r"(?:https?://)?(?:v[a-z]\.tiktok\.com|(?:[\w-]+\.)*tiktok\.com/t)/", re.IGNORECASE)
_PROFILE_LINK = re.compile(rf"{_HOST}/@([^/?#]+)", re.IGNORECASE)
_TAG_LINK = re.compile(rf"{_HOST}/tag/([^/?#]+)", re.IGNORECASE)
_VIDEO_LINK = re.compile(
    rf"{_HOST}/(?:[^?#\s,;|]*/)?(?:video|photo|v|embed|embed/v2|player/v1)/(\d{{6,20}})(?!\d)", re.IGNORECASE
)
_VIDEO_PATH = re.compile(r"(?<![\w./])/?@[\w.-]+/(?:video|photo)/(\d{6,20})(?!\d)")
_NUMBERED_LINK = re.compile(rf"{_HOST}/(?:music|sticker|effect)/(?:[^/?#]*-)?(\d{{1,20}})(?=[/?#]|$)", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s,;|/\u3001\uff0c\uff1b]+")
_NUMBER = re.compile("0|[1-9][0-9]{0,18}")
_NOT_IN_HASHTAGS = set(
    "!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb\u2026\u3001\u3002\uff01\uff0c\uff1b\uff1f"
)
_OPENING = "\u201c\u201d\u201e\u00ab\u2018\u201a\u300c"
_CLOSING = "\u201d\u201c\u00bb\u2019\u2018\u300d"
_LOOKALIKES = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC")


def parse_text(value: str) -> str:
    """Return a text in the form in which it is requested (see `clean_text`). Raise ValueError if it cannot be one."""
    joined = join_surrogates(value)
    text = clean_text(joined)
    if not text:
        raise ValueError("is empty" if not joined.strip() else f"has only invisible characters: {_shown(joined)}")
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
        raise ValueError(f"contains a line break or a control character: {_shown(text)}")
    if (meant := _read_in_another_encoding(text)) is not None:
        raise ValueError(f"{_shown(text)} is text in UTF-8 that was read in another encoding. Did you mean `{meant}`?")
    if REPLACEMENT in text:
        raise ValueError(f"contains {REPLACEMENT}, which replaces letters of another encoding. Write the letters again")
    return text


def _read_in_another_encoding(text: str) -> str | None:
    """Return the text that became this one when its bytes in UTF-8 were read as Windows-1252; None if it did not."""
    if text.isascii():
        return None
    for encoding in ("cp1252", "latin-1"):
        try:
            return text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return None


def parse_keyword(value: str) -> str:
    """Return a keyword or phrase. Raise ValueError for a text that no caption can be searched for."""
    text = parse_text(value)
    if len(text) > 1 and text[0] in _OPENING and text[-1] in _CLOSING:
        raise ValueError(
            f"is in typographic quotes, {_shown(text)}, which would be searched for too. Use straight quotes"
        )
    if not text.strip(_HASH + _AT + " "):
        raise ValueError(f"{_shown(text)} has no letter")
    return text


def parse_handle(value: str) -> str:
    """Return a handle in lower case without `@`, also from a link to a profile or to a video of the account.

    Raise ValueError if the text is no handle, contains several, or mixes scripts whose letters look alike.
    """
    text = parse_text(value)
    # Full-width letters and ligatures become plain ones, as in no handle.
    name = unicodedata.normalize("NFKC", text)
    if _IS_LINK.match(name):
        name = _handle_of_link(name)
    name = name.lstrip("@").strip()
    _refuse_several(text, name, "@", "name")
    if not name or not any(character.isalnum() or character == "_" for character in name):
        raise ValueError(f"{_shown(text)} is not a handle: it needs at least one letter or digit")
    if name.endswith("."):
        raise ValueError(f"{_shown(text)} is not a handle: no handle ends with a dot")
    wrong = next((one for before, one in pairwise(f"a{name}") if not _is_of_handle(before, one)), None)
    if wrong is not None:
        raise ValueError(
            f"{_shown(text)} is not a handle: only letters, digits, `_` and `.` are allowed, without blanks, "
            f"but it contains {_shown(wrong)}"
        )
    if any(one.isascii() and one.isalpha() for one in name):
        for one in name:
            if unicodedata.name(one, "").startswith(_LOOKALIKES):
                raise ValueError(
                    f"{_shown(text)} is not a handle: {_shown(one)} is {unicodedata.name(one)}, which only looks like "
                    "a Latin letter. Write the handle again"
                )
    # The lower case of a few letters is two characters, the second of which no handle has.
    lower = "".join(one.lower() if len(one.lower()) == 1 else one for one in name)
    return unicodedata.normalize("NFKC", lower)


def fold_handle(handle: str) -> str:
    """Return the form in which two spellings of one handle are equal: case, a leading `@` and blanks are ignored.

    It accepts any text, also one that is no handle, because it compares what the API returns.
    """
    plain = unicodedata.normalize("NFKC", handle).strip().lstrip("@").strip()
    return unicodedata.normalize("NFKC", plain.casefold())


def _is_of_handle(before: str, character: str) -> bool:
    # Letters of some scripts are a letter and a mark in NFC.
    is_mark = unicodedata.category(character).startswith("M") and not before.isascii()
    return character.isalnum() or character in "._" or is_mark


def _refuse_several_links(text: str) -> None:
    if text.count("://") > 1 or any(character.isspace() for character in text):
        raise ValueError(f"{_shown(text)} has more than one link, or other words. Write each as a value of its own")


def _handle_of_link(link: str) -> str:
    _refuse_several_links(link)
    if _IS_SHORT_LINK.match(link):
        raise ValueError(
            f"{_shown(link)} is a short link, which does not contain the name. Open it and copy the address of the page"
        )
    if found := _PROFILE_LINK.match(link):
        return unquote(found[1])
    if found := _PROFILE_LINK.match(unquote(link)):
        return found[1]
    raise ValueError(f"{_shown(link)} is not a handle or a link to a profile, such as https://www.tiktok.com/@name")


def parse_hashtag(value: str) -> str:
    """Return a hashtag without `#`, also from a link to its page. Raise ValueError if no video can have it."""
    text = parse_text(value)
    name = text
    if _IS_LINK.match(text):
        _refuse_several_links(text)
        found = _TAG_LINK.match(text)
        if found is None:
            raise ValueError(
                f"{_shown(text)} is not a hashtag, and not a link to one, such as https://www.tiktok.com/tag/name"
            )
        name = parse_text(unquote(found[1]))
    name = name.lstrip(_HASH).strip()
    _refuse_several(text, name, _HASH, "hashtag")
    if not name:
        raise ValueError(f"{_shown(text)} is not a hashtag: it needs at least one character")
    if any(one.isspace() for one in name):
        raise ValueError(f"{_shown(text)} is not a hashtag: it has no blanks (use `keyword` for phrases)")
    if wrong := next((one for one in name if one in _NOT_IN_HASHTAGS), None):
        raise ValueError(
            f"{_shown(text)} is not a hashtag: a hashtag ends before {_shown(wrong)} (use `keyword` to find the text)"
        )
    return name


def _refuse_several(text: str, name: str, sign: str, kind: str) -> None:
    """Raise ValueError if a value has several names: divided by commas, or with a sign before the second one."""
    marked = re.split(f"[{re.escape(sign)}]", name)
    parts = [part.strip(f"{sign} ") for part in _SEPARATORS.split(name) if part.strip(f"{sign} ")]
    names = [part.strip() for part in (parts if len(parts) > 1 else marked) if part.strip()]
    is_divided = len(marked) > 1 or kind == "name" or re.search("[,;|\u3001\uff0c\uff1b]", name)
    if len(names) > 1 and is_divided:
        listed = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        raise ValueError(f"{_shown(text)} has more than one {kind}. Write each as a value of its own: [{listed}]")


def parse_video_id(value: str) -> str:
    """Return the digits of a video id, also from a link to the video or with the prefix `id_` of exports."""
    text = parse_text(value)
    if _IS_LINK.match(text):
        _refuse_several_links(text)
        if found := _VIDEO_LINK.match(text):
            return parse_number(found[1])
        raise ValueError(f"{_shown(text)} is not a link to a video, such as https://www.tiktok.com/@name/video/7503...")
    return parse_number(text.removeprefix("id_"))


def video_ids_in_links(text: str) -> list[int]:
    """Return the different ids of the links to videos in a text, also of `@name/video/7503...` without the host."""
    found = [*_VIDEO_LINK.finditer(text), *_VIDEO_PATH.finditer(text)]
    return list(dict.fromkeys(int(link[1]) for link in found))


def parse_numbered_link(value: str) -> str:
    """Return the digits of an id of music or of an effect, also from a link to its page."""
    text = parse_text(value)
    if _IS_LINK.match(text):
        _refuse_several_links(text)
        if found := _NUMBERED_LINK.match(text):
            return parse_number(found[1])
        raise ValueError(f"{_shown(text)} is not a link to music or an effect")
    return parse_number(text)


def parse_number(value: str) -> str:
    """Return a whole number in plain decimal form. Raise ValueError for any other spelling of a number."""
    text = parse_text(value)
    if not (_NUMBER.fullmatch(text) and int(text) < 2**63):
        raise ValueError(
            f"`{text[:40]}` is not a whole number from 0 to 2^63 - 1 in plain digits, such as 1000, without signs, "
            "separators, exponents and leading zeros"
        )
    return text


def _shown(text: str) -> str:
    """Return a text in an error message, with escapes for what cannot be seen."""
    return f"`{text[:80].encode('unicode_escape').decode() if not text.isprintable() else text[:80]}`"
