"""The client stays within its bounds of time and memory and raises only its own errors for any bytes on the socket."""

import asyncio
import contextlib
import gzip
import random
import re
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable

import httpx
import pytest

from research_assets.collect.resolution import Action, resolve
from research_assets.tiktok.client import Client
from research_assets.tiktok.errors import (
    LABEL_CHARACTERS,
    MESSAGE_CHARACTERS,
    ApiError,
    EndpointNotFound,
    ServerError,
    TokenRejected,
    Unreachable,
)
from research_assets.tiktok.transport import MAX_BODY_BYTES
from research_assets_tests.tiktok.hostile_server import Answer, forms_of, hostile_server, http, page
from research_assets_tests.tiktok.scripted_api import KEY, SEARCH, SECRET, TOKEN

DEADLINE = 0.2
SLACK = 5.0
"""Seconds that a busy machine may add."""

Ask = Callable[[Client], Awaitable[object]]

ASKS: dict[str, Ask] = {
    "token": lambda client: client.token(),
    "send": lambda client: client.send(SEARCH),
    "validate": lambda client: client.validate([7503867840092128259], "video"),
    "validation_status": lambda client: client.validation_status("7"),
    "validation_result": lambda client: client.validation_result("7"),
}


async def rejected(answer: Answer, *, ask: str = "send", timeout: float = 10.0) -> ApiError:
    """Return the error that an answer causes; it has a known action and no other error in its traceback."""
    async with hostile_server(answer, answer if ask == "token" else None) as server, server.client(timeout) as client:
        if ask != "token":
            await client.token()
        began = time.monotonic()
        with pytest.raises(ApiError) as caught:
            await ASKS[ask](client)
        # The token call is tried five times.
        assert time.monotonic() - began < timeout * (5 if ask == "token" else 1) + SLACK
        if ask != "token":
            assert len([head for head in server.requests if b"/oauth/" not in head]) == 1
    error = caught.value
    assert resolve(error).action in Action
    assert error.__cause__ is None or not isinstance(error.__cause__, httpx.HTTPError)
    assert not isinstance(error.__context__, httpx.HTTPError)
    assert len(error.message) <= MESSAGE_CHARACTERS
    assert max(len(error.code), len(error.log_id or "")) <= LABEL_CHARACTERS
    assert len(str(error)) < 2_000
    return error


def dripping(head: bytes, piece: bytes, pause: float = 0.005) -> Answer:
    """Return an answer that never ends: the head, then one piece after each pause (seconds)."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def silence(writer: asyncio.StreamWriter) -> None:
    """Send nothing until the client closes the connection."""
    while not writer.transport.is_closing():
        await asyncio.sleep(0.01)


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS: dict[str, Answer] = {
    "nothing": silence,
    "half a status line": dripping(b"HTTP/1.1 2", b""),
    "dripping headers": dripping(OK, b"x: y\r\n"),
    "one dripping header": dripping(OK + b"x: ", b"y"),
    "100 Continue, slowly": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100 Continue, fast": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0),
    "103 Early Hints": dripping(b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 100, 0),
    "a dripping body": dripping(OK + b"content-length: 1000000\r\n\r\n", b" "),
    "a dripping body without a length": dripping(OK + b"\r\n", b" "),
    "dripping chunks": dripping(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a dripping chunk size": dripping(OK + b"transfer-encoding: chunked\r\n\r\n1;x=", b"y"),
    "dripping trailers": dripping(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
    "a dripping gzip": dripping(OK + b"content-encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10], b"\0\0\0\xff\xff"),
    "a missing end": dripping(OK + b"content-length: 3\r\n\r\n{}", b""),
}


@pytest.mark.parametrize("ask", ["send", "token"])
@pytest.mark.parametrize("case", ENDLESS)
async def test_deadline_ends_an_endless_answer(case: str, ask: str) -> None:
    error = await rejected(ENDLESS[case], ask=ask, timeout=DEADLINE if ask == "send" else DEADLINE / 4)
    assert isinstance(error, Unreachable)
    assert error.sent is (ask == "send"), "a data request may have cost quota; without a token it was not sent"
    assert re.search(r"not complete after 0\.\d+ s|ReadTimeout", error.message)


async def test_deadline_before_a_connection_reports_the_request_as_not_sent() -> None:
    """All connections are in use, so the request waits for one."""
    async with hostile_server(silence) as server, server.client() as client:
        await client.token()
        others = [asyncio.create_task(client.send(SEARCH)) for _ in range(2)]
        while len(server.requests) < 3:
            await asyncio.sleep(0.001)
        client._transport._timeout = DEADLINE
        with pytest.raises(Unreachable) as caught:
            await client.send(SEARCH)
        assert not caught.value.sent
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def bomb(size: int) -> bytes:
    """Return zeros in gzip, without the end, which no reader reaches."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    first, next_one = (packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + next_one * (size // 2**20 - 1)


def endless_body(head: bytes) -> Answer:
    """Return an answer whose body is sent without a pause until the client closes the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(random.randbytes(2**16))
            await writer.drain()

    return answer


BOMB = bomb(256 * 2**20)
OVERSIZED: dict[str, tuple[Answer, str]] = {
    "a bomb": (http(BOMB, content_encoding="gzip"), "larger than 8,192 KiB"),
    "a bomb of an error": (http(BOMB, "500 Error", content_encoding="gzip"), "larger than 8,192 KiB"),
    "a bomb in a bomb": (http(gzip.compress(BOMB), content_encoding="gzip, gzip"), "only gzip was offered"),
    "a bomb with another name": (http(BOMB, content_encoding="x-gzip"), "larger than 8,192 KiB"),
    "a bomb with zstd": (http(BOMB, content_encoding="zstd"), "only gzip was offered"),
    "a bomb with deflate": (http(BOMB, content_encoding="deflate"), "only gzip was offered"),
    "a thousand encodings": (http(BOMB, content_encoding="gzip," * 1000 + "gzip"), "only gzip was offered"),
    "an endless body": (endless_body(OK + b"\r\n"), "larger than 8,192 KiB"),
    "an endless rest after gzip": (
        endless_body(OK + b"content-encoding: gzip\r\n\r\n" + gzip.compress(b"{}")),
        "larger than 8,192 KiB",
    ),
    "a message of 20 MB": (http(page({}, "internal_error", "m" * 20_000_000), "500 Error"), "larger than 8,192 KiB"),
    "no gzip": (http(b"{}", content_encoding="gzip"), "incorrect header check"),
    "half a gzip": (http(gzip.compress(b"{}" * 1000)[:-9], content_encoding="gzip"), "incomplete"),
}


@pytest.mark.parametrize("case", OVERSIZED)
async def test_oversized_answer_is_rejected_while_it_arrives(case: str) -> None:
    answer, message = OVERSIZED[case]
    tracemalloc.start()
    try:
        error = await rejected(answer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, ServerError)
    assert message in error.message
    assert peak < 3 * MAX_BODY_BYTES, f"{peak / 2**20:.0f} MiB"


LONG = 7_000_000
LARGE_TEXTS: dict[str, bytes] = {
    "message": page({}, "internal_error", "m" * LONG),
    "message with a quadratic search": page({}, "x", "search id " * (LONG // 10)),
    "message of words": page({}, "x", "a " * (LONG // 2)),
    "message as a list": page({}, "x", ["m" * 100] * (LONG // 100)),
    "code": page({}, "c" * LONG),
    "log id": page({}, "internal_error", "", "l" * LONG),
    "log id as an object": page({}, "internal_error", "", {"l" * 1000: ["x"] * 1000}),
    "text of OAuth": b'{"error":"x","error_description":"%b"}' % (b"d" * LONG),
    "no JSON": b"<html>" + b"x" * LONG,
    "unknown literals": b'{"data":{},"error":' + b"NaN" * (LONG // 3) + b"}",
}


@pytest.mark.parametrize("ask", ["send", "token", "validate"])
@pytest.mark.parametrize("case", LARGE_TEXTS)
async def test_large_texts_are_cut(case: str, ask: str) -> None:
    answer = http(LARGE_TEXTS[case], "500 Internal Server Error")
    tracemalloc.start()
    try:
        await rejected(answer, ask=ask)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MAX_BODY_BYTES, f"{peak / 2**20:.0f} MiB"


HEADERS: dict[str, tuple[bytes, type[ApiError]]] = {
    "many headers": (OK + b"x: y\r\n" * 100_000 + b"\r\n", Unreachable),
    "a long header": (OK + b"x: " + b"y" * 200_000 + b"\r\n\r\n", Unreachable),
    "a length of 5,000 digits": (OK + b"content-length: " + b"9" * 5000 + b"\r\n\r\n", Unreachable),
    "a negative length": (OK + b"content-length: -1\r\n\r\n", Unreachable),
    "two lengths": (OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}", Unreachable),
    "an unknown transfer": (OK + b"transfer-encoding: magic\r\n\r\n{}", Unreachable),
    "a huge chunk": (OK + b"transfer-encoding: chunked\r\n\r\n" + b"F" * 20 + b"\r\n", Unreachable),
    "no chunk": (OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n", Unreachable),
    "a NUL": (OK + b"x: a\0b\r\n\r\n", Unreachable),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Unreachable),
    "HTTP/0.9": (b"<html>\r\n\r\n</html>", Unreachable),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Unreachable),
    "no status": (b"HTTP/1.1 abc\r\n\r\n", Unreachable),
    "status 999": (http(b"", "999 Odd"), ServerError),
    "status 101": (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{}", Unreachable),
    "the end": (b"", Unreachable),
    "an invalid date": (http(b"{", date="Fri, 31 Feb 99999 25:61:61 +99999999999999999999"), ServerError),
    "a late Retry-After": (http(b"{", retry_after="Fri, 31 Dec 9999 23:59:59 +99999999999999999999"), ServerError),
    "an endless Retry-After": (http(b"{", "429 Slow", retry_after="9" * 5000), ApiError),
    "an unknown charset": (http(b"{", content_type="text/html; charset=\xff\xfe"), ServerError),
}


@pytest.mark.parametrize("ask", ["send", "token"])
@pytest.mark.parametrize("case", HEADERS)
async def test_invalid_head_is_an_error_of_the_client(case: str, ask: str) -> None:
    answer, kind = HEADERS[case]
    error = await rejected(answer, ask=ask)
    assert isinstance(error, kind)


@pytest.mark.parametrize("status", ["301 Moved", "307 Temporary", "300 Choices"])
@pytest.mark.parametrize(
    "location",
    [
        *("https://other.test/", "//other.test/", "/elsewhere", "javascript:alert(1)", "http://[", "http://a:port/"),
        *("data:,x", " ", "\\\\host\\share", "http://\x7f", "x" * 50_000, "http://" + "a." * 5000, "http://xn--/"),
    ],
)
async def test_redirect_is_never_followed(location: str, status: str) -> None:
    for ask in ("send", "token"):
        error = await rejected(http(b"", status, location=location), ask=ask)
        assert isinstance(error, EndpointNotFound | ServerError)
        if location.strip():
            assert f"redirected to {location.strip()[:100]}" in error.message


def nested(depth: int, inner: str = "1") -> bytes:
    return ('{"a":[' * depth + inner + "]}" * depth).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        nested(50_000),
        nested(510, "NaN"),
        b'{"error":{"code":' + nested(500) + b',"message":' + nested(500) + b',"log_id":' + nested(500) + b"}}",
    ],
    ids=lambda body: f"{body[:20]!r} of {len(body)} bytes",
)
# The bytes of a result file are read later (see compliance/verification/results.py).
@pytest.mark.parametrize("ask", [ask for ask in ASKS if ask != "validation_result"])
async def test_deep_nesting_is_an_error_of_the_client(body: bytes, ask: str) -> None:
    await rejected(http(body), ask=ask)


@pytest.mark.parametrize(
    "number", [b"9" * 4000, b"9" * 5000, b"-" + b"9" * 5000, b"1e308", b"9" * 19, b'"%b"' % (b"9" * 5000)]
)
async def test_cursor_and_search_id_beyond_all_numbers_are_ignored(number: bytes) -> None:
    text = number if number.startswith(b'"') else b'"%b"' % number
    for cursor in (number, text):
        body = b'{"data":{"videos":[],"cursor":%b,"has_more":true,"search_id":%b}}' % (cursor, text * 1)
        async with hostile_server(http(body)) as server, server.client() as client:
            answer = await client.send(SEARCH)
        assert answer.cursor is None or abs(answer.cursor) < 2**63
        assert answer.search_id is None or len(answer.search_id) <= LABEL_CHARACTERS


async def test_errors_of_the_protocol_contain_no_credential() -> None:
    """The messages of h11 repeat the line that it rejects."""
    async with hostile_server() as server, server.client() as client:
        for echo in [KEY.encode(), TOKEN.encode(), *(form.encode() for form in forms_of(SECRET).values())]:
            for server.data in (
                b"HTTP/1.1 " + echo + b"\r\n\r\n",
                OK + echo + b" x\r\n\r\n",
                OK + b"transfer-encoding: " + echo + b"\r\n\r\n",
                OK + b"transfer-encoding: chunked\r\n\r\n" + echo + b"\r\n",
                http(b"", content_encoding=echo.decode()),
                http(b"", "302 " + echo.decode(), location="/?" + echo.decode()),
                http(b"no JSON", content_type="text/" + echo.decode()),
            ):
                with pytest.raises(ApiError) as caught:
                    await client.send(SEARCH)
                shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__dict__)
                assert echo.lower() not in shown.lower().encode()


async def test_client_keeps_no_cookies() -> None:
    cookies = b"".join(b"set-cookie: name%d=value; path=/\r\n" % n for n in range(2000))
    answer = OK + cookies + b"content-length: 11\r\n\r\n" + b'{"data":{}}'
    async with hostile_server(answer) as server, server.client() as client:
        for _ in range(3):
            await client.send(SEARCH)
        assert not client._transport._http.cookies
    assert not [head for head in server.requests if b"cookie" in head.lower()]


async def test_header_with_the_token_reaches_only_the_address_of_the_client() -> None:
    async with hostile_server() as other, hostile_server(http(b"", "307 Temporary", location=other.url)) as server:
        async with server.client() as client:
            with pytest.raises(EndpointNotFound, match="redirected to http://127"):
                await client.send(SEARCH)
        assert other.requests == []
        assert [head for head in server.requests if TOKEN.encode() in head]


async def test_client_continues_after_each_kind_of_hostile_answer() -> None:
    """No failure leaves the pool without connections."""
    async with hostile_server() as server, server.client(DEADLINE) as client:
        for answer in (
            silence,
            OVERSIZED["a bomb"][0],
            OVERSIZED["an endless body"][0],
            *(a for a, _ in HEADERS.values()),
        ):
            for server.data in (answer, http(page({"videos": []}))):
                with contextlib.suppress(ApiError):
                    await client.send(SEARCH)
        server.data = http(page({"videos": [{"id": 1}]}))
        assert (await client.send(SEARCH)).rows == [{"id": 1}]


async def test_token_answer_with_an_unusable_token_shows_no_part_of_it() -> None:
    answer = http(page({}, "invalid_client", TOKEN)[:-1] + b',"access_token":"' + TOKEN.encode() + b'\\n"}')
    error = await rejected(answer, ask="token")
    assert TOKEN not in f"{error} {error.raw!r} {error.message}"
    assert not isinstance(error, TokenRejected)
    assert SECRET not in str(error)
