"""Pages of 100 videos that the sandbox serves per second of its own CPU time.

Other benchmarks must not measure the sandbox. The CPU time of the server process counts, not the wall time, because the
client of this benchmark shares the machine.
"""

import asyncio
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

from research_assets.fields import ENTITIES
from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks.environment import sandbox

MIN_PAGES_PER_CPU_SECOND = 2000
_FIXED_VOLUME = ("--fixed-volume", "950")
_QUERY = {"and": [{"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT", "US", "GB", "MX"]}]}
_MONTHS = ("20260101", "20260131"), ("20260201", "20260228"), ("20260301", "20260331"), ("20260401", "20260430")


async def _page(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, body: dict[str, Any]
) -> dict[str, Any]:
    payload = orjson.dumps(body)
    target = f"/v2/research/video/query/?{urlencode({'fields': ','.join(ENTITIES['videos'].requested)})}"
    head = f"POST {target} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(payload)}"
    writer.write(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + payload)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    size = int(answer.split(b"content-length: ")[1].split(b"\r\n")[0])
    text = await reader.readexactly(size)
    if not answer.startswith(b"http/1.1 200"):
        raise RuntimeError(f"The sandbox answered {answer[:20]!r} {text[:200]!r}")
    # Only the paging values are read: parsing whole pages would take CPU time from the server.
    found: dict[str, Any] = {"size": size, "more": b'"has_more":true' in text}
    for name in (b"cursor", b"search_id"):
        position = text.find(b'"%s":' % name)
        if position >= 0:
            found[name.decode()] = text[position:].split(b":", 1)[1].split(b",")[0].split(b"}")[0].strip(b'"').decode()
    return found


async def _crawl(port: int, token: str, first: str, last: str) -> tuple[int, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body: dict[str, Any] = {"query": _QUERY, "start_date": first, "end_date": last, "max_count": 100}
    pages = size = 0
    while True:
        page = await _page(reader, writer, token, body)
        pages, size = pages + 1, size + page["size"]
        if not page["more"]:
            writer.close()
            return pages, size
        body |= {"cursor": int(page["cursor"]), "search_id": page["search_id"]}


async def _crawls(port: int, token: str, months: Sequence[tuple[str, str]]) -> tuple[int, int]:
    found = await asyncio.gather(*(_crawl(port, token, *month) for month in months))
    return sum(pages for pages, _ in found), sum(size for _, size in found)


def run() -> Iterable[Row]:
    """Measure a fixed volume, which benchmarks use, and the social world for comparison."""
    with sandbox(*_FIXED_VOLUME) as url:
        yield _measure("fixed volume, 23 fields", url, _MONTHS, MIN_PAGES_PER_CPU_SECOND)
    with sandbox(*_FIXED_VOLUME, "--undeliverable", "0.1") as url:
        yield _measure("fixed volume, 1 in 10 undeliverable", url, _MONTHS, MIN_PAGES_PER_CPU_SECOND)
    with sandbox() as url:
        yield _measure("social world, first request of each page", url, _MONTHS[:1])
        yield _measure("social world, second request of each page", url, _MONTHS[:1])


def _measure(case: str, url: str, months: Sequence[tuple[str, str]], bound: float | None = None) -> Row:
    form = {"client_key": "sandbox-key", "client_secret": "sandbox-secret", "grant_type": "client_credentials"}
    token = httpx.post(f"{url}/v2/oauth/token/", data=form).json()["access_token"]
    before, started = httpx.get(f"{url}/sandbox/state").json()["cpu_seconds"], perf_counter()
    pages, size = asyncio.run(_crawls(int(url.rsplit(":", 1)[1]), token, months))
    cpu, wall = httpx.get(f"{url}/sandbox/state").json()["cpu_seconds"] - before, perf_counter() - started
    note = f"{pages} pages of {size / pages / 1024:.0f} KB, {pages / wall:.0f} per second of wall time"
    return Row(f"sandbox: {case}", pages / cpu, "pages/CPU s", bound, note, "at least")
