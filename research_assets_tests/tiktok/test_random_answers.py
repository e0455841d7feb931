"""Random answers over sockets: the client returns a page or raises its own error, in time, without a credential."""

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from research_assets.collect.resolution import Action, resolve
from research_assets.tiktok import redaction
from research_assets.tiktok.client import Client
from research_assets.tiktok.errors import LABEL_CHARACTERS, MESSAGE_CHARACTERS, ApiError
from research_assets.tiktok.pages import ResponsePage
from research_assets.tiktok.transport import MAX_BODY_BYTES
from research_assets_tests.profiles import sized
from research_assets_tests.tiktok.hostile_server import HostileServer, forms_of, hostile_server
from research_assets_tests.tiktok.scripted_api import KEY, SECRET, TOKEN
from research_assets_tests.tiktok.test_bounds import ASKS

DEADLINE, SLACK = 0.05, 60.0
MEMORY = 4 * MAX_BODY_BYTES

CREDENTIALS = [form for credential in (KEY, SECRET, TOKEN) for form in forms_of(credential).values()]


def _join(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


def _mostly(usual: bytes, *odd: bytes) -> st.SearchStrategy[bytes]:
    """Draw the usual bytes in three of four cases."""
    return st.sampled_from([usual] * (3 * len(odd)) + list(odd))


NUMBERS = st.sampled_from(
    [
        b"0",
        b"-1",
        b"7503867840092128259",
        b"9" * 19,
        b"9" * 25,
        b"9" * 5000,
        b"1.5",
        b"1e999",
        b"NaN",
        b"-Infinity",
        b"01",
    ]
)
STRINGS = st.one_of(
    st.sampled_from(CREDENTIALS).map(lambda form: b'"x%by"' % form.encode()),
    st.sampled_from(
        [b'""', b'"ok"', b'"internal_error"', b'"\\ud83d"', b'"\\u0000"', b'"a\nb"', b'"\x1b[31m"', b'"\xff\xfe"']
    ),
    st.sampled_from(
        [
            b'"Search Id 7 is invalid or expired"',
            b'"daily quota"',
            b'"invalid count or cursor"',
            b'"' + b"m" * 9999 + b'"',
        ]
    ),
    st.text(max_size=20).map(lambda text: b'"%b"' % text.encode("utf-8", "replace")),
)
_MEMBERS = (
    *(b"data", b"error", b"videos", b"cursor", b"has_more", b"search_id", b"code", b"message", b"log_id", b"id"),
    *(b"username", b"access_token", b"expires_in", b"task_id", b"task_status", b"create_time", b"hashtag_names", b""),
)
KEYS = st.one_of(st.sampled_from([b'"%b"' % key for key in _MEMBERS]), STRINGS)
VALUES = st.recursive(
    st.one_of(
        NUMBERS, STRINGS, st.sampled_from([b"null", b"true", b"false", b"", b"[", b"}", b"[" * 2000, b'{"a":' * 1100])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: b"[%b]" % b",".join(items)),
        st.lists(_join(KEYS, st.just(b":"), inner), max_size=5).map(lambda items: b"{%b}" % b", ".join(items)),
    ),
    max_leaves=12,
)


def _member(name: bytes) -> st.SearchStrategy[bytes]:
    return VALUES.map(lambda value: b'"%b":%b' % (name, value))


def _object(*names: bytes) -> st.SearchStrategy[bytes]:
    """Draw an object with these members in any order."""
    members = st.tuples(*map(_member, names)).flatmap(st.permutations)
    return members.map(lambda items: b"{%b}" % b",".join(items))


RECORDS = st.lists(_object(b"id", b"create_time", b"username", b"hashtag_names"), max_size=3).map(
    lambda r: b"[%b]" % b",".join(r)
)
PAGES = st.tuples(RECORDS, VALUES, VALUES, VALUES, _object(b"code", b"message", b"log_id")).map(
    lambda parts: b'{"data":{"videos":%b,"cursor":%b,"has_more":%b,"search_id":%b},"error":%b}' % parts
)
BODIES = st.one_of(
    PAGES,
    _object(b"data", b"error"),
    _object(b"access_token", b"expires_in"),
    _object(b"error", b"error_description", b"log_id"),
    VALUES,
    st.binary(max_size=200),
    st.sampled_from([b"", b"<html>", b"\xef\xbb\xbf{}", bytes(100_000), b"7503867840092128259\n1", b" " * 100_000]),
    st.sampled_from(CREDENTIALS).map(str.encode),
)
TEXTS = st.one_of(
    st.sampled_from(CREDENTIALS).map(str.encode),
    st.binary(max_size=40),
    st.sampled_from([b"", b"9" * 5000, b"x" * 90_000, b"a, b"]),
)
_HEADER_NAMES = (
    *(b"date", b"retry-after", b"location", b"content-type", b"content-encoding", b"content-length", b"connection"),
    *(b"transfer-encoding", b"set-cookie", b"upgrade", b"www-authenticate", b"trailer", b"x", b""),
)
_ODD_HEADERS = (
    b"date: Thu, 15 May 2025 09:06:40 GMT\r\n",
    b"date: Fri, 31 Dec 9999 23:59:59 -2400\r\n",
    b"retry-after: 1e400\r\n",
    b"retry-after: Mon, 01 Jan 0001 00:00:00 +2359\r\n",
    b"location: javascript:x\r\n",
    b"location: http://[\r\n",
    b"content-encoding: gzip, gzip\r\n",
    b"content-encoding: br\r\n",
    b"connection: close\r\n",
    b"upgrade: h2c\r\n",
    b"x: y\r\n" * 300,
)
HEADERS = st.one_of(
    _join(
        st.sampled_from(_HEADER_NAMES),
        st.sampled_from([b": ", b":", b" : ", b""]),
        TEXTS,
        _mostly(b"\r\n", b"\n", b"\r", b""),
    ),
    st.sampled_from(_ODD_HEADERS),
)
STATUS_LINES = _join(
    _mostly(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9", b"", b"http/1.1"),
    _mostly(b" ", b"", b"\t"),
    st.one_of(
        st.sampled_from(
            [b"200"] * 6
            + [b"400", b"401", b"403", b"404", b"429", b"500", b"504", b"302", b"307", b"204", b"304", b"101", b"999"]
        ),
        st.sampled_from([b"", b"2", b"20000", b"-1", b"abc"]),
    ),
    _mostly(b" OK", b"", b" \xff", b" " + SECRET.encode()),
    _mostly(b"\r\n", b"\n", b""),
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Return the bytes of an answer: often well-formed except for one part, sometimes with damaged bytes."""
    body = draw(BODIES)
    head = draw(STATUS_LINES)
    headers = draw(st.lists(HEADERS, max_size=4))
    framing = draw(st.sampled_from(["length"] * 4 + ["chunked", "close", "wrong", "gzip", "gzip", "half gzip", "bomb"]))
    if framing in ("gzip", "half gzip"):
        body = gzip.compress(body)[: None if framing == "gzip" else -3]
        headers.append(b"content-encoding: gzip\r\n")
    if framing == "bomb":
        body = _BOMB
        headers.append(b"content-encoding: gzip\r\n")
    if framing == "chunked":
        cut = draw(st.integers(0, len(body)))
        parts = [part for part in (body[:cut], body[cut:]) if part]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + draw(
            _mostly(b"0\r\n\r\n", b"", b"0\r\nx: y\r\n\r\n")
        )
        headers.append(b"transfer-encoding: chunked\r\n")
    elif framing != "close":
        headers.append(
            b"content-length: %d\r\n" % (len(body) + (draw(st.integers(-3, 3)) if framing == "wrong" else 0))
        )
    before = draw(
        _mostly(
            b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50, b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", b"\r\n", b"\0"
        )
    )
    answer = bytearray(before + head + b"".join(headers) + draw(_mostly(b"\r\n", b"")) + body)
    if answer and draw(st.integers(0, 4)) == 0:
        for _ in range(draw(st.integers(1, 5))):
            answer[draw(st.integers(0, len(answer) - 1))] = draw(st.integers(0, 255))
    return bytes(answer)


_PACKER = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
_BOMB = b"".join([*(_PACKER.compress(bytes(2**20)) for _ in range(64)), _PACKER.flush()])


@dataclass
class Conversation:
    """One client and one server for all answers, so that an answer may also spoil the next one."""

    runner: asyncio.Runner
    server: HostileServer
    client: Client

    async def ask(self, name: str, answer: bytes, *, hangs: bool) -> object:
        """Return the result or the error of one call."""

        async def then_silence(writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await asyncio.sleep(2 * DEADLINE)

        answered = then_silence if hangs else answer
        self.server.data, token = answered, self.server.token
        self.server.requests.clear()
        if name == "token":
            self.server.token = answered
            self.client._tokens._token = None
        else:
            await self.client.token()
        # A busy machine must not cut the answers that end.
        self.client._transport._timeout = DEADLINE if hangs else SLACK
        try:
            return await ASKS[name](self.client)
        except ApiError as error:
            return error
        finally:
            self.server.token, self.client._transport._timeout = token, SLACK


@pytest.fixture(scope="module")
def conversation() -> Iterator[Conversation]:
    with asyncio.Runner() as runner:
        running = hostile_server()
        server = runner.run(running.__aenter__())
        client = server.client(SLACK)
        with pytest.MonkeyPatch.context() as patch:
            # Tokens that this server issues must not be removed in other tests.
            patch.setattr(redaction, "_tokens", ())
            yield Conversation(runner, server, client)
        runner.run(client.aclose())
        runner.run(running.__aexit__(None, None, None))


@pytest.mark.timeout(3600)
@given(name=st.sampled_from(list(ASKS)), answer=answers(), hangs=st.sampled_from([False] * 30 + [True]))
@sized(100, 20_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_answer_is_a_result_or_an_error_of_the_client(
    conversation: Conversation, name: str, answer: bytes, hangs: bool
) -> None:
    began = time.monotonic()
    tracemalloc.start()
    result = conversation.runner.run(conversation.ask(name, answer, hangs=hangs))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY
    assert time.monotonic() - began < SLACK
    stored = [repr(result).encode()]
    if isinstance(result, ApiError):
        assert resolve(result).action in Action
        assert isinstance(result.__cause__, ApiError | ValueError | RecursionError | None)
        assert not isinstance(result.__context__, httpx.HTTPError)
        assert len(result.message) <= MESSAGE_CHARACTERS
        stored += [
            str(result).encode(),
            result.raw or b"",
            result.code.encode(),
            result.message.encode(),
            str(result.date).encode(),
        ]
    if isinstance(result, ResponsePage):
        stored += [result.raw, repr(result.rows).encode(), repr(result.unknown).encode()]
        assert result.cursor is None or abs(result.cursor) <= 2**63
    if isinstance(result, ApiError | ResponsePage):
        assert len(result.log_id or "") <= LABEL_CHARACTERS
    for text in stored:
        for credential in CREDENTIALS:
            assert credential.encode().lower() not in text.lower()
