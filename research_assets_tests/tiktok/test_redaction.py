"""Credentials are removed from responses in every form, and nothing else is changed."""

import secrets

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.tiktok import redaction
from research_assets.tiktok.redaction import MAX_TOKENS, Redactor
from research_assets_tests.profiles import sized
from research_assets_tests.tiktok.hostile_server import forms_of

SECRET, KEY = "aB3dE5fGhI7jKlMn0pQrStUvWx9yZ1c4", "awq1w2e3r4t5y6u7"
TOKEN = "clt.2.Vc9mB1_x-Yz8Kq/pLw+abcDEF!n5.va"

_CHARACTERS = st.sampled_from("abcxyzABCXYZ0189._-!~*/+=:$")
CREDENTIALS = st.text(_CHARACTERS, min_size=8, max_size=60).filter(
    lambda text: not (text.isalpha() or text.isdecimal())
)


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the tokens of other tests."""
    monkeypatch.setattr(redaction, "_tokens", ())


@pytest.mark.parametrize(
    "credential",
    [SECRET, KEY, TOKEN, "943cc8ea23e44d8029660f032b2b7352", "gLD5wkLRtiXNFkE4DT0vafszenSnB1KZMFjAapqikeX1oIMmdwJVHg"],
)
@pytest.mark.parametrize("form", forms_of(SECRET))
def test_redactor_removes_each_form_from_json(credential: str, form: str) -> None:
    redactor = Redactor(KEY, SECRET)
    redactor.add_token(credential)
    body = b'{"id":7503867840092128259,"text":"before %b after"}' % forms_of(credential)[form].encode()
    clean = redactor.redact(body)
    assert clean.count(b"***") == 1
    value = orjson.loads(clean)
    assert value["id"] == 7503867840092128259
    assert value["text"].startswith("before ")
    assert value["text"].endswith(" after")


@given(CREDENTIALS, st.data())
@sized(100, 20_000)
def test_redactor_removes_any_credential_and_keeps_the_rest(credential: str, data: st.DataObject) -> None:
    encoded = orjson.dumps(credential).decode()[1:-1]
    form = data.draw(
        st.sampled_from([encoded, *(forms_of(credential)[name] for name in ("JSON escapes", "URL in full"))])
    )
    before, after = data.draw(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))))
    body = b'{"a":%b,"b":"%b","c":%b}' % (orjson.dumps(before), form.encode(), orjson.dumps(after))
    value = orjson.loads(Redactor(credential).redact(body))
    assert value["b"] == "***"
    assert Redactor(credential).redact(orjson.dumps(value["a"])) == orjson.dumps(value["a"])


@given(st.binary(max_size=300))
@sized(100, 20_000)
def test_redactor_changes_no_other_bytes(data: bytes) -> None:
    assert Redactor(SECRET, KEY).redact(data) == data


def test_redactor_keeps_texts_that_resemble_a_credential() -> None:
    redactor = Redactor(SECRET, KEY)
    for text in (
        SECRET[:-1],
        SECRET[1:],
        SECRET.replace("b", "c").replace("B", "C"),
        " ".join(SECRET),
        r"%20\u00e9\/&#39;",
    ):
        assert redactor.redact_text(text) == text


@pytest.mark.parametrize("word", ["", "short7", "gardening", "20260301120000"])
def test_redactor_keeps_words_and_numbers_that_data_may_contain(word: str) -> None:
    body = b'{"videos":[{"id":20260301120000,"text":"short7 gardening"}]}'
    assert Redactor(word).redact(body) == body


def test_redactor_removes_earlier_tokens_of_all_clients() -> None:
    first, second = Redactor(KEY, SECRET), Redactor(KEY, SECRET)
    tokens = [f"clt.{secrets.token_urlsafe(30)}" for _ in range(MAX_TOKENS)]
    for token in tokens:
        first.add_token(token)
    for redactor in (first, second):
        assert redactor.redact_text(" ".join(tokens)) == " ".join(["***"] * MAX_TOKENS)


def test_redactor_removes_a_token_without_a_digit() -> None:
    redactor, token = Redactor(KEY, SECRET), "clt.iPFonDrSRdDby-DlQTlx_pzwQyAHCxqJNGZrWkKV"
    redactor.add_token(token)
    assert redactor.redact_text(f'{{"a":"{token}"}}') == '{"a":"***"}'


@pytest.mark.parametrize(
    "token", ["video_description", "internal_error", "Search Id 7 is invalid or expired", "has_more1", ""]
)
def test_redactor_keeps_what_a_server_calls_a_token_but_data_may_contain(token: str) -> None:
    redactor = Redactor(KEY, SECRET)
    redactor.add_token(token)
    assert redactor.redact_text(f'{{"{token}":1}}') == f'{{"{token}":1}}'


@pytest.mark.parametrize(
    "piece",
    [
        b"\\",
        b"\\u0061",
        b"%25",
        b"&#0",
        b"&#97;",
        b"\0",
        b"\\\\\\\\\\\\\\\\\\u0061",
        b"a\0",
        b"%2525252525",
        b"aB3dE5f",
    ],
)
def test_redactor_bounds_the_work_on_escapes(piece: bytes) -> None:
    body = piece * (2**20 // len(piece)) + SECRET.encode()
    clean = Redactor(SECRET, KEY).redact(body)
    assert SECRET.encode() not in clean
    assert b"***" in clean


def test_redactor_accepts_text_that_is_not_unicode() -> None:
    assert Redactor(SECRET).redact_text(f"\ud83d{SECRET}\udc80") == "\ud83d***\udc80"
    assert Redactor("not-\udc80-unicode").redact_text("text") == "text"


def test_repr_contains_no_credential() -> None:
    redactor = Redactor(SECRET, KEY)
    assert SECRET not in f"{redactor!r} {redactor._forms!r}"
