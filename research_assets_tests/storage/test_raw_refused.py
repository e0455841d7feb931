"""Captures that DuckDB refuses: their usable rows are loaded, and what it refuses is in the raw table `rejected`.

The client stores no such page, so these captures are written without it.
"""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from research_assets.storage import raw_refused, raw_writer
from research_assets.storage.captures import Manifest
from research_assets.storage.raw_writer import is_written, write_capture
from research_assets_tests.storage.capture_factory import make_answer, make_capture, make_video, read_rows
from research_assets_tests.storage.test_raw_writer_invalid_values import rejection

UNIT = {"unit": "u", "state": "complete"}
GOOD = [make_answer("videos", [make_video(1), make_video(2)]), make_answer("videos", [make_video(3)])]


def load(root: Path, entity: str, pages: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """Write a capture; return the rows of its entity, and those of the raw table `rejected`."""
    sealed = make_capture(root, entity, pages, units=[UNIT])
    write_capture(root / "raw", sealed)
    assert is_written(root / "raw", Manifest.load(sealed))
    tables = {entity: list[dict[str, Any]](), "rejected": list[dict[str, Any]]()}
    for name in tables:
        if list((root / "raw" / name).rglob("*.parquet")):
            tables[name] = read_rows(root, name)
    return tables


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return sorted(row["id"] & 0xFF for row in rows)


BAD_PAGES = {
    "an empty list as data": b'{"data":[],"error":{"code":"ok"}}',
    "a text as data": b'{"data":"","error":{"code":"ok"}}',
    "an object as the list": b'{"data":{"videos":{"id":5}},"error":{"code":"ok"}}',
    "a list as the answer": b"[1]",
}


@pytest.mark.parametrize("case", BAD_PAGES)
def test_bad_page_is_set_aside_and_the_other_pages_are_loaded(tmp_path: Path, case: str) -> None:
    body = BAD_PAGES[case]
    tables = load(tmp_path, "videos", [GOOD[0], (body, {"unit": "2026-02-01", "rows": 0}), GOOD[1]])
    assert numbers(tables["videos"]) == [1, 2, 3]
    (rejected,) = tables["rejected"]
    assert rejected["reason"].startswith("refused by the table writer (")
    assert orjson.loads(rejected["value"]) == orjson.loads(body)
    assert (rejected["unit"], rejected["partition"], rejected["position"]) == ("2026-02-01", "2026-02-01", None)
    assert rejected["observed_at"].startswith("2026-02-03 12:01")


@pytest.mark.parametrize(
    ("key", "repeated"), [(b'"data":', b'"data":null,"data":'), (b'"videos":', b'"videos":[{"id":5}],"videos":')]
)
def test_page_with_a_repeated_key_is_loaded_with_the_last_value(tmp_path: Path, key: bytes, repeated: bytes) -> None:
    tables = load(tmp_path, "videos", [GOOD[0].replace(key, repeated), GOOD[1]])
    assert numbers(tables["videos"]) == [1, 2, 3]
    assert not tables["rejected"]


def test_rejected_elements_of_a_refused_capture_are_not_loaded(tmp_path: Path) -> None:
    rows: list[Any] = [make_video(4), make_video(5), "text", make_video(6, view_count=None)]
    facts = {
        "unit": "2026-02-01",
        "rejected": [
            rejection(2, "not an object") | {"partition": "2026-01-31"},
            rejection(3, "not JSON", "view_count", "NaN") | {"partition": "2026-01-31"},
        ],
    }
    tables = load(tmp_path, "videos", [GOOD[0], (make_answer("videos", rows), facts), BAD_PAGES["a text as data"]])
    assert numbers(tables["videos"]) == [1, 2, 4, 5, 6]
    found = {row["position"]: row for row in tables["rejected"]}
    assert (found[2]["value"], found[2]["partition"], found[2]["unit"]) == ('"text"', "2026-01-31", "2026-01-31")
    assert (found[3]["field"], found[3]["value"]) == ("view_count", '"NaN"')
    assert found[None]["value"] == '""' or orjson.loads(found[None]["value"])["data"] == ""


def test_refused_list_keeps_its_positions_and_its_context(tmp_path: Path) -> None:
    context = {"asked_video_id": 7, "position": 40}
    facts = {"unit": "7", "partition": "2026-02-01", "context": context, "rejected": [rejection(1, "no id")]}
    comments = [{"id": 5, "text": "a"}, {"text": "b"}, {"id": 6, "text": "c"}]
    pages = [(make_answer("comments", comments), facts), (BAD_PAGES["an empty list as data"], facts | {"rejected": []})]
    tables = load(tmp_path, "comments", pages)
    assert sorted((row["id"], row["position"], row["asked_video_id"]) for row in tables["comments"]) == [
        (5, 40, 7),
        (6, 42, 7),
    ]
    assert sorted((row["position"] or 0, row["unit"]) for row in tables["rejected"]) == [(0, "7"), (41, "7")]


def test_refused_profile_is_set_aside(tmp_path: Path) -> None:
    def page(name: str, data: bytes) -> tuple[bytes, dict[str, Any]]:
        body = b'{"data":%s,"error":{"code":"ok"}}' % data
        return body, {"unit": name, "partition": "2026-02-01", "context": {"asked_username": name}}

    pages = [page("a", b'{"display_name":"A"}'), page("b", b'{},"data":7'), page("c", b'{"display_name":"C"}')]
    tables = load(tmp_path, "users", pages)
    assert {row["asked_username"]: row["display_name"] for row in tables["users"]} == {"a": "A", "c": "C"}
    assert [(row["unit"], row["partition"]) for row in tables["rejected"]] == [("b", "2026-02-01")]


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give DuckDB so little memory that it refuses a record of some megabytes."""
    monkeypatch.setattr(raw_writer, "MEMORY", "64MB")
    monkeypatch.setattr(raw_writer, "LARGE_MEMORY", "64MB")


@pytest.mark.usefixtures("small_memory")
def test_record_that_needs_too_much_memory_costs_no_other_record(tmp_path: Path) -> None:
    rows = [make_video(number) for number in range(1, 30)]
    rows[11] = make_video(12, video_description="x" * 40_000_000)
    tables = load(tmp_path, "videos", [make_answer("videos", rows[:20]), make_answer("videos", rows[20:])])
    assert numbers(tables["videos"]) == [number for number in range(1, 30) if number != 12]
    (rejected,) = tables["rejected"]
    assert (rejected["position"], rejected["reason"]) == (11, "refused by the table writer (OutOfMemoryException)")
    # A value that DuckDB cannot hold as a whole is cut there too.
    assert json.loads(rejected["value"]).startswith(json.dumps(make_video(12), separators=(",", ":"))[:-1])
    assert len(rejected["value"]) < 2_000_000


@pytest.mark.usefixtures("small_memory")
def test_search_for_refused_records_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_refused, "MAX_ATTEMPTS", 2)
    rows = [make_video(number) for number in range(1, 9)]
    rows[0] = make_video(1, video_description="x" * 40_000_000)
    tables = load(tmp_path, "videos", [make_answer("videos", rows)])
    assert numbers(tables["videos"]) == [5, 6, 7, 8]
    assert sorted(row["position"] for row in tables["rejected"]) == [0, 1, 2, 3]
