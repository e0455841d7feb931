"""A server on loopback that sends raw bytes, and the forms in which a server may repeat a credential.

Not here: answers of the API behind the transport of httpx (see scripted_api.py).
"""

import asyncio
import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import quote

import orjson

from research_assets.tiktok.client import Client
from research_assets_tests.conftest import FakeClock
from research_assets_tests.tiktok.scripted_api import KEY, SECRET, TOKEN

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Bytes that are sent before the connection is closed, or a function that writes them."""


def http(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """Return a well-formed response; `content_encoding` becomes the header `content-encoding`."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def page(data: object, code: object = "ok", message: object = "", log_id: object = "1") -> bytes:
    """Return the body of a response of the API."""
    return orjson.dumps({"data": data, "error": {"code": code, "message": message, "log_id": log_id}})


def token_answer(token: str = TOKEN) -> bytes:
    """Return a response of the token endpoint."""
    return http(orjson.dumps({"access_token": token, "expires_in": 7200, "token_type": "Bearer"}))


@dataclass
class HostileServer:
    """Sends `data` to every data request and `token` to every token request; `requests` are the heads received."""

    data: Answer = b""
    token: Answer = field(default_factory=token_answer)
    url: str = ""
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close the connection."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            answer = self.token if b"/oauth/token/" in head else self.data
            if isinstance(answer, bytes):
                for start in range(0, len(answer), 2**16):
                    writer.write(answer[start : start + 2**16])
                    await writer.drain()
            else:
                await answer(writer)
        writer.close()

    def client(self, timeout: float = 10.0) -> Client:
        """Return a client of this server; `timeout` is its deadline in seconds."""
        return Client(key=KEY, secret=SECRET, base_url=self.url, clock=FakeClock(), timeout=timeout, connections=2)


@asynccontextmanager
async def hostile_server(data: Answer = b"", token: Answer | None = None) -> AsyncIterator[HostileServer]:
    """Yield a running server."""
    server = HostileServer(data, token_answer() if token is None else token)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()


def forms_of(secret: str) -> dict[str, str]:
    """Return a credential in each form that the client must recognize, by name; each is valid inside a JSON string."""
    escaped = "".join(f"\\u{ord(character):04x}" for character in secret)
    encoded = {f"base64 at offset {n}": b64encode(b"k:"[:n] + secret.encode() + b"z").decode() for n in range(3)}
    return encoded | {
        "plain": secret,
        "upper case": secret.upper(),
        "lower case": secret.lower(),
        "base64 for URLs": urlsafe_b64encode(secret.encode()).decode(),
        "base64 in JSON": b64encode(secret.encode()).decode().replace("/", "\\/"),
        "JSON escapes": escaped,
        "JSON escapes in upper case": escaped.upper().replace("\\U", "\\u"),
        "some JSON escapes": "".join(c if n % 3 else f"\\u{ord(c):04x}" for n, c in enumerate(secret)),
        "JSON in JSON": json.dumps(escaped)[1:-1],
        "URL": quote(secret, safe=""),
        "URL twice": quote(quote(secret, safe=""), safe=""),
        "URL in full": "".join(f"%{ord(character):02x}" for character in secret),
        "JSON in a URL": quote(escaped, safe=""),
        "HTML": "".join(f"&#{ord(character)};" for character in secret),
        "HTML in hexadecimal": "".join(f"&#x{ord(character):X};" for character in secret),
        "HTML of text": html.escape(secret),
        "with a NUL": f"{secret[:5]}\\u0000{secret[5:]}",
        "after a backslash": f"\\\\{secret}",
        "after an escape": f"\\n{secret}",
    }
