"""Handles, hashtags, keywords and ids in the spellings in which people write and paste them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.text import clean_text
from research_assets.tiktok.names import (
    parse_handle,
    parse_hashtag,
    parse_keyword,
    parse_number,
    parse_numbered_link,
    parse_video_id,
)

ID = "7503867840092128259"


@pytest.mark.parametrize(
    "written",
    [
        "beet.und.balkon",
        "@beet.und.balkon",
        "Beet.Und.Balkon",
        " @beet.und.balkon\n",
        "\u202a@beet.und.balkon\u202c",
        "\u200bbeet.und\u2060.balkon\ufeff",
        "beet\u00ad.und.balkon",
        "\u00a0beet.und.balkon\u3000",
        "\uff20beet.und.balkon",
        "\uff42\uff45\uff45\uff54.und.balkon",
        "https://www.tiktok.com/@beet.und.balkon",
        "http://tiktok.com/@Beet.und.balkon/",
        "www.tiktok.com/@beet.und.balkon?lang=de-DE&is_from_webapp=1",
        "m.tiktok.com/@beet.und.balkon#top",
        "https://www.tiktok.com/%40beet.und.balkon",
        f"https://www.tiktok.com/@beet.und.balkon/video/{ID}?q=1",
        "https://www.tiktok.com/@beet.und.balkon/live",
    ],
)
def test_handle_has_one_form_for_all_spellings(written: str) -> None:
    assert parse_handle(written) == "beet.und.balkon"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "is empty"),
        ("\u200b", "invisible"),
        ("@", "at least one letter"),
        ("...", "at least one letter"),
        ("anna, bert", "[anna, bert]"),
        ("anna;bert", "[anna, bert]"),
        ("@anna @bert", "[anna, bert]"),
        ("@anna@bert", "[anna, bert]"),
        ("anna bert", "[anna, bert]"),
        ("anna\nbert", "line break"),
        ("anna\u2028bert", "line break"),
        ("anna\tbert", "control character"),
        ("anna-b", "contains `-`"),
        ("#anna", "contains `#`"),
        ("anna.", "ends with a dot"),
        ("https://www.tiktok.com/@anna https://www.tiktok.com/@bert", "more than one link"),
        ("https://www.tiktok.com/@anna?a,https://www.tiktok.com/@bert", "more than one link"),
        ("a\u0336nna", "contains"),
        ("\u0430nna", "CYRILLIC SMALL LETTER A"),
        ("m\ufffdwe", "another encoding"),
        ("m\u00c3\u00bcnchen", "Did you mean `m\u00fcnchen`?"),
        ("https://vm.tiktok.com/ZMabcdef/", "short link"),
        ("https://www.tiktok.com/t/ZTabcdef/", "short link"),
        (f"https://www.tiktokv.com/share/video/{ID}/", "link to a profile"),
        ("https://www.instagram.com/anna", "link to a profile"),
        ("https://x.example/@anna", "link to a profile"),
        ("https://tiktok.com.x.example/@anna", "link to a profile"),
        ("\ud83c", "half of a character"),
    ],
)
def test_text_that_is_no_handle_is_refused(written: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_handle(written)


def test_handle_may_have_letters_that_are_two_characters() -> None:
    assert parse_handle("@\u0f4d") == "\u0f4c\u0fb7"


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("gardening", "gardening"),
        ("#gardening", "gardening"),
        ("\uff03\u30ac\u30fc\u30c7\u30f3", "\u30ac\u30fc\u30c7\u30f3"),
        ("\ufe5fgarden", "garden"),
        ("0711", "0711"),
        ("1_000", "1_000"),
        ("GartenLiebe", "GartenLiebe"),
        ("mu\u0308nchen", "m\u00fcnchen"),
        ("\u200egarden\u200f", "garden"),
        ("gar\u200dden", "garden"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("\u0645\u06cc\u200b\u200c\u200b\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\U0001f469\u200d\U0001f33e", "\U0001f469\u200d\U0001f33e"),
        ("\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f3f3\ufe0f\u200d\U0001f308"),
        ("1\ufe0f\u20e3", "1\ufe0f\u20e3"),
        (
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        ),
        ("a\U000e0067\ufe0fb", "ab"),
        ("\u2764\ufe0f", "\u2764\ufe0f"),
        ("\ud83c\udf31", "\U0001f331"),
        ("https://www.tiktok.com/tag/gardening?lang=en", "gardening"),
        ("https://www.tiktok.com/tag/m%C3%BCnchen", "m\u00fcnchen"),
    ],
)
def test_hashtag_is_requested_as_it_looks(written: str, asked: str) -> None:
    assert parse_hashtag(written) == asked


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("#", "at least one character"),
        ("two words", "`keyword` for phrases"),
        ("a\u00a0b", "`keyword` for phrases"),
        ("a\u3164b", "`keyword` for phrases"),
        ("#a #b", "[a, b]"),
        ("#a#b", "[a, b]"),
        ("a,b", "[a, b]"),
        ("covid-19", "ends before `-`"),
        ("c#", "ends before `#`"),
        ("garden\u2026", "ends before"),
        ("https://www.tiktok.com/tag/a?x https://www.tiktok.com/tag/b", "more than one link"),
        ("\u201cgarden\u201d", "ends before"),
        ("https://www.tiktok.com/@anna", "tiktok.com/tag/name"),
        ("\udf31", "half of a character"),
    ],
)
def test_hashtag_that_no_video_can_have_is_refused(written: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_hashtag(written)


def test_keyword_keeps_its_words() -> None:
    assert parse_keyword("  klima\u00a0krise \u200b") == "klima krise"
    assert parse_keyword("#two, words!") == "#two, words!"
    for refused in ("\u201cclimate change\u201d", "\u00abclimat\u00bb", "##", "a\u0085b", "a\x1bb"):
        with pytest.raises(ValueError, match=r"quotes|no letter|control character"):
            parse_keyword(refused)


def test_ids_are_read_from_links() -> None:
    for written in (ID, f"id_{ID}", f" {ID}\u200b", f"https://www.tiktok.com/@a.b/video/{ID}?q=1"):
        assert parse_video_id(written) == ID
    assert parse_video_id(f"https://www.tiktokv.com/share/video/{ID}/") == ID
    assert parse_video_id(f"https://m.tiktok.com/v/{ID}.html") == ID
    assert parse_numbered_link(f"https://www.tiktok.com/music/original-sound-{ID}") == ID
    for several in (f"https://www.tiktok.com/@a/video/{ID} https://www.tiktok.com/@a/video/{ID}",):
        with pytest.raises(ValueError, match="more than one link"):
            parse_video_id(several)
    for refused in ("https://vm.tiktok.com/ZMabc/", "https://www.tiktok.com/@anna", f"https://x.example/video/{ID}"):
        with pytest.raises(ValueError, match="not a link to a video"):
            parse_video_id(refused)


@pytest.mark.parametrize(
    "written", ["010", "0x1F", "1e3", "+7", "-1", "1_000", "1,000", "1.000", "12:30:45", "\uff11", "9" * 19, "", "1k"]
)
def test_only_plain_whole_numbers_are_numbers(written: str) -> None:
    with pytest.raises(ValueError, match=r"whole number|empty"):
        parse_number(written)


@given(st.text())
def test_cleaning_changes_nothing_twice(text: str) -> None:
    assert clean_text(clean_text(text)) == clean_text(text)


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_surrogate_pairs_of_json_are_joined(text: str) -> None:
    halves = json.loads(json.dumps(text)).encode("utf-16-le", "surrogatepass")
    split = "".join(chr(int.from_bytes(halves[i : i + 2], "little")) for i in range(0, len(halves), 2))
    try:
        assert parse_keyword(split) == parse_keyword(text)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            parse_keyword(text)
