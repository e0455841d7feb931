"""How many pages of 100 videos the sandbox serves for each second of its own CPU time.

It must never be what another benchmark measures, so what counts is the server process's CPU, not the wall clock: the
client here shares the machine. Run with `python -m research_assets_tests.benchmarks.bench_sandbox`.
"""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import click
import httpx
import orjson

from research_assets.fields import ENTITIES

MARK = 2000  # pages a CPU second
_WORLDS = {
    "flat, 23 fields": ["--profile", "clean", "--flat", "950"],
    "flat, 1 in 10 undeliverable": ["--profile", "clean", "--flat", "950", "--undeliverable", "0.1"],
    "social, one month, each page for the first time": ["--profile", "clean"],
    "social, the same pages again": [],
}
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
    # Only the paging is read: parsing whole pages would take the server's share of the machine.
    found: dict[str, Any] = {"size": size, "more": b'"has_more":true' in text}
    for name in (b"cursor", b"search_id"):
        place = text.find(b'"%s":' % name)
        if place >= 0:
            found[name.decode()] = text[place:].split(b":", 1)[1].split(b",")[0].split(b"}")[0].strip(b'"').decode()
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


def _start(options: list[str]) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "research_assets.sandbox", "--port", "0", "--cap", "1000000000", "--rate", "0"]
    server = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if "TIKTOK_API_URL=" in line:
            return server, line.split("=")[1].strip()
    raise RuntimeError("The sandbox did not start; its words stand above.")


def main() -> None:
    click.echo(f"{'world':50} {'pages':>6} {'KB/page':>8} {'CPU s':>7} {'pages/CPU s':>12} {'pages/s':>8}  mark {MARK}")
    server: subprocess.Popen[str] | None = None
    url = ""
    try:
        for name, options in _WORLDS.items():
            if options:
                if server:
                    server.terminate()
                    server.wait()
                server, url = _start(options)
            form = {"client_key": "sandbox-key", "client_secret": "sandbox-secret", "grant_type": "client_credentials"}
            token = httpx.post(f"{url}/v2/oauth/token/", data=form).json()["access_token"]
            before, started = httpx.get(f"{url}/sandbox/state").json()["cpu_seconds"], perf_counter()
            pages, size = asyncio.run(
                _crawls(int(url.rsplit(":", 1)[1]), token, _MONTHS[: 1 if "social" in name else 4])
            )
            cpu, wall = httpx.get(f"{url}/sandbox/state").json()["cpu_seconds"] - before, perf_counter() - started
            rate = f"{pages / cpu:12.0f} {pages / wall:8.0f}"
            click.echo(f"{name:50} {pages:6} {size / pages / 1024:8.1f} {cpu:7.2f} {rate}")
    finally:
        if server:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
