"""A minimal client of a sandbox in this process. It shares no code with the project's own client."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from research_assets.clock import Clock
from research_assets.fields import ENTITIES
from research_assets.sandbox.app import Sandbox, create_app
from research_assets.sandbox.config import SandboxConfig

FORM = {"client_key": "sandbox-key", "client_secret": "sandbox-secret", "grant_type": "client_credentials"}
GARDENING = {
    "and": [
        {"operation": "IN", "field_name": "region_code", "field_values": ["DE", "AT"]},
        {"operation": "EQ", "field_name": "hashtag_name", "field_values": ["gardening"]},
    ]
}
ANYTHING = {"and": [{"operation": "EQ", "field_name": "keyword", "field_values": ["a"]}]}


def condition(field: str, operation: str, *values: str) -> dict[str, Any]:
    return {"field_name": field, "operation": operation, "field_values": list(values)}


class SandboxClient:
    """A client with a token."""

    def __init__(self, config: SandboxConfig, clock: Clock | None = None) -> None:
        self.sandbox: Sandbox = create_app(config, clock)
        transport = httpx.ASGITransport(app=self.sandbox)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://sandbox")
        self.token = ""

    async def log_in(self) -> None:
        self.token = (await self.http.post("/v2/oauth/token/", data=FORM)).json()["access_token"]

    async def post(self, endpoint: str, body: Any, entity: str | None = None, **more: Any) -> httpx.Response:
        """Send one call. `entity` selects the requested fields."""
        if not self.token:
            await self.log_in()
        fields = {"fields": ",".join(ENTITIES[entity].requested)} if entity else {}
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.http.post(
            f"/v2/research/{endpoint}/", json=body, params=fields | more, headers=headers, timeout=None
        )

    async def search(self, query: Any, start: str, end: str, **more: Any) -> httpx.Response:
        body = {"query": query, "start_date": start, "end_date": end, "max_count": 100} | more
        return await self.post("video/query", body, "videos")

    async def pages(self, query: Any, start: str, end: str, **more: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the `data` of each page of a search. All answers must have status 200."""
        paging: dict[str, Any] = {}
        while True:
            answer = await self.search(query, start, end, **more, **paging)
            assert answer.status_code == 200, answer.text
            data = answer.json()["data"]
            yield data
            if not data["has_more"]:
                return
            paging = {"cursor": data["cursor"], "search_id": data["search_id"]}

    async def videos(self, query: Any, start: str, end: str, **more: Any) -> list[dict[str, Any]]:
        return [video async for data in self.pages(query, start, end, **more) for video in data.get("videos", [])]

    async def listed(self, endpoint: str, key: str, body: dict[str, Any], entity: str | None) -> list[dict[str, Any]]:
        """Return all records of a list that pages by cursor only."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, int] = {}
        while True:
            answer = await self.post(endpoint, body | cursor, entity)
            assert answer.status_code == 200, answer.text
            data = answer.json()["data"]
            found += data.get(key, [])
            if not data.get("has_more"):
                return found
            assert data["cursor"] != cursor.get("cursor")
            cursor = {"cursor": data["cursor"]}


def ids(records: Sequence[dict[str, Any]]) -> list[int]:
    return [record["id"] for record in records]
