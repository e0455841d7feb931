"""Any answer that the client accepts is stored, sealed and loaded, and all its usable rows are in the raw tables."""

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from research_assets.collect.search.page import answer_facts
from research_assets.fields import ENTITIES
from research_assets.storage.captures import Journal
from research_assets.storage.raw_refused import REFUSED
from research_assets.storage.raw_writer import write_capture
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.errors import ApiError
from research_assets.tiktok.ids import parse_id
from research_assets.tiktok.pages import ResponsePage, decode_page
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse
from research_assets_tests.profiles import sized
from research_assets_tests.storage.capture_factory import DAY, NOON, read_rows
from research_assets_tests.tiktok.any_answers import any_answer


def decode(entity: str, body: bytes) -> ResponsePage | None:
    """Return the page that the client accepts; None if it refuses the answer."""
    response = HttpResponse(200, body, "application/json", None, None, None, 0.1)
    try:
        return decode_page(Request(BY_ENTITY[entity], {}, ()), response)
    except ApiError:
        return None


def seal_pages(root: Path, entity: str, pages: Iterable[ResponsePage], study: str = "s") -> Path:
    """Seal a capture of pages with the facts that the collector stores, after reading its journal again."""
    journal = Journal.create(
        root / "captures",
        entity=entity,
        study=study,
        first=DAY,
        last=DAY,
        now=NOON,
        origin="sandbox",
        header={},
    )
    for number, page in enumerate(pages):
        context: dict[str, Any] = {}
        if entity != "videos":
            context = {"position": 0, "asked_username": f"user{number}", "asked_video_id": number}
            context |= {"asked_playlist_id": number}
        facts = {"unit": DAY.isoformat(), "partition": DAY, "context": context, **answer_facts(page, NOON)}
        journal.append("page", facts, page.raw)
    kind = "day" if entity == "videos" else "account"
    unit = {"entity": entity, "partition": DAY, "unit_kind": kind, "unit": DAY.isoformat(), "state": "complete"}
    journal.append("unit", unit | {"last_at": NOON})
    journal.close()
    return Journal.resume(journal.path).seal()


def keys(entity: str, pages: Iterable[ResponsePage]) -> Counter[Any]:
    """Return the keys of the usable rows, and how often each occurs."""
    key, found = ENTITIES[entity].key[-1], Counter[Any]()
    for number, page in enumerate(pages):
        names = (key, *(ENTITIES[entity].field(key).aliases))
        for row in page.rows:
            value = next((row[name] for name in names if row.get(name) is not None), None)
            if BY_ENTITY[entity].flat:
                found[number if entity == "playlists" else f"user{number}"] += 1
            else:
                found[parse_id(value) if key == "id" else str(value)] += 1
    return found


def assert_values_kept(entity: str, row: dict[str, Any], loaded: dict[str, Any]) -> None:
    """Assert that each value of a row is in its column or in the column of unknown fields."""
    columns = {name: field.name for field in ENTITIES[entity].fields for name in (field.name, *field.aliases)}
    unknown = orjson.loads(loaded["unknown_fields"] or "{}")
    for name, value in row.items():
        if value is not None and name not in ("cursor", "has_more", "search_id"):
            column = columns.get(name, "")
            assert name in unknown or column in unknown or loaded.get(column) is not None, name


@pytest.mark.parametrize("entity", ENTITIES)
@sized(6, 300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_answer_that_the_client_accepts_is_loaded_with_all_its_rows(
    tmp_path_factory: pytest.TempPathFactory, entity: str, seed: int
) -> None:
    random = Random(seed)
    bodies = [any_answer(random, entity, 1000 * number + 1) for number in range(random.choice([1, 4, 12]))]
    pages = [page for body in bodies if (page := decode(entity, body)) is not None]
    root = tmp_path_factory.mktemp("any")
    write_capture(root / "raw", seal_pages(root, entity, pages))
    loaded = read_rows(root, entity) if list((root / "raw" / entity).rglob("*.parquet")) else []
    asked = "asked_playlist_id" if entity == "playlists" else "asked_username"
    key = asked if BY_ENTITY[entity].flat else ENTITIES[entity].key[-1]
    expected = keys(entity, pages)
    assert {row[key] for row in loaded} == set(expected)
    rejected = read_rows(root, "rejected") if list((root / "raw" / "rejected").rglob("*.parquet")) else []
    assert Counter((row["field"], row["reason"]) for row in rejected) == Counter(
        (rejection.field, rejection.reason) for page in pages for rejection in page.rejected
    )
    assert not [row for row in rejected if REFUSED in row["reason"]]
    if not BY_ENTITY[entity].flat:
        by_key = {row[key]: row for row in loaded}
        for page in pages:
            for row in page.rows:
                (row_key,) = keys(entity, [_one(page, row)])
                if expected[row_key] == 1:
                    assert_values_kept(entity, row, by_key[row_key])
    shutil.rmtree(root)


def _one(page: ResponsePage, row: dict[str, Any]) -> ResponsePage:
    return ResponsePage(**{name: getattr(page, name) for name in page.__slots__} | {"rows": [row]})
