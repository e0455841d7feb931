"""Loading of a capture that DuckDB refuses: its records one by one, and the list of those that cannot be loaded.

The client stores only pages that DuckDB reads (see tiktok/jsonline.py and tiktok/envelope.py), so this is the way for
the case that nobody foresaw: an answer of a new kind, or a record that needs more memory than there is. Python reads
the pages, so numbers beyond 64 bits become doubles here. Not here: the queries and the files (see raw_writer.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import orjson

from research_assets.fields import POSITION, Entity
from research_assets.storage.captures import Manifest, read_events
from research_assets.tiktok.endpoints import BY_ENTITY
from research_assets.tiktok.jsonline import parse_json_line

REFUSED = "refused by the table writer"
"""Reason of an element that DuckDB refuses, followed by the type of its error."""

MAX_ATTEMPTS = 1000
"""Attempts to find the refused records of a capture; afterwards a part that is refused is set aside as a whole."""

MIN_LARGE_BYTES = 4 << 20
"""Length from which a record can be the reason why DuckDB runs out of memory."""

MAX_VALUE_BYTES = 1 << 20
"""Length from which a refused value is cut in the raw table `rejected`; the capture contains all of it."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A record of a page: its line as the only record of a page, and its row of the raw table `rejected`."""

    line: bytes
    rejection: dict[str, Any]


def split_refused(
    folder: Path, entity: Entity, manifest: Manifest, write: Callable[[Path, Manifest], None]
) -> tuple[list[Path], list[dict[str, Any]]]:
    """Return Parquet files in `folder` with the rows of a capture, and all its rows of the raw table `rejected`.

    `write` writes the rows of a file of pages, described by a manifest, and raises duckdb.Error if it cannot. Parts of
    the capture that it refuses are halved until single records are left. Raises DamagedCapture if a line of the
    capture cannot be read, and duckdb.Error if the machine is the cause.
    """
    records, rejections = list[_Record](), list[dict[str, Any]]()
    for event in read_events(manifest.path):
        if event["event"] == "page":
            _read_page(event, entity, manifest, records, rejections)
    parts: list[Path] = []
    lines = folder / "part.jsonl"
    pending, attempts = [(0, len(records))] if records else [], 0
    while pending:
        start, end = pending.pop()
        target = folder / f"part{len(parts)}.parquet"
        part = [record.line for record in records[start:end]]
        lines.write_bytes(b"".join(part))
        attempts += 1
        try:
            write(target, replace(manifest, path=lines, rejected=0, longest=max(map(len, part))))
        except duckdb.IOException:
            raise  # of the disk, not of the records
        except duckdb.Error as error:
            if end - start > 1 and attempts < MAX_ATTEMPTS:
                middle = (start + end) // 2
                pending += [(middle, end), (start, middle)]
            elif isinstance(error, duckdb.OutOfMemoryException) and sum(map(len, part)) < MIN_LARGE_BYTES:
                raise  # of the machine, for example without room for temporary files
            else:
                reason = f"{REFUSED} ({type(error).__name__})"
                rejections += [record.rejection | {"reason": reason} for record in records[start:end]]
        else:
            parts.append(target)
    lines.unlink(missing_ok=True)
    return parts, rejections


def _read_page(
    event: dict[str, Any],
    entity: Entity,
    manifest: Manifest,
    records: list[_Record],
    rejections: list[dict[str, Any]],
) -> None:
    """Append the records of a page, and the rejections that the page had when it was received."""
    context = event.get("context") or {}
    offset = context.get("position") or 0
    base = {
        "entity": entity.name,
        "partition": event.get("partition") or (manifest.first if manifest.first == manifest.last else None),
        "unit": event.get("unit"),
        "observed_at": event.get("observed_at"),
        "capture": manifest.capture,
    }
    known = event.get("rejected") or []
    try:
        elements = list(_elements(event, entity))
    except (ValueError, TypeError) as error:
        rejections.append(base | {"reason": f"{REFUSED} ({error})", "value": _bounded(event.get("answer"))})
        elements = []
    whole = {fact["position"] for fact in known if fact["field"] is None}
    for fact in known:
        place, of_page = fact["position"], base | {"field": fact["field"], "reason": fact["reason"]}
        if fact.get("partition"):
            of_page |= {"partition": fact["partition"], "unit": fact["partition"]}
        value = fact["text"] if fact["field"] is not None else elements[place] if place < len(elements) else None
        rejections.append(of_page | {"position": None if place is None else offset + place, "value": _bounded(value)})
    has_profile = not BY_ENTITY[entity.name].flat or event.get("rows") != 0
    for place, element in enumerate(elements):
        # A null that is not rejected is a withdrawn record (see withheld.py).
        if place in whole or not has_profile or element is None:
            continue
        position = {POSITION.name: offset + place} if POSITION in entity.context else {}
        page = {
            **{key: event.get(key) for key in ("event", "partition", "observed_at")},
            "context": context | position,
            "rows": 1,
            "answer": {"data": _data(element, entity)},
        }
        rejection = base | {"position": offset + place, "value": _bounded(element)}
        records.append(_Record(orjson.dumps(page, option=orjson.OPT_APPEND_NEWLINE), rejection))


def _elements(event: dict[str, Any], entity: Entity) -> Iterator[Any]:
    """Yield the elements of a page, usable or not. Raises ValueError or TypeError if it has no list of records."""
    endpoint = BY_ENTITY[entity.name]
    # The line of the decoder is what the pages of the client consist of, so this repairs what the client would.
    answer = parse_json_line(orjson.dumps(event.get("answer"))).value
    data = answer.get("data") if isinstance(answer, dict) else answer
    if not isinstance(data, dict | None):
        raise TypeError("`data` is not an object")
    if endpoint.flat:
        yield from [data] if data else []
        return
    records: Any = next((data[key] for key in endpoint.payload_keys if data.get(key) is not None), []) if data else []
    if not isinstance(records, list):
        raise TypeError("the records are not a list")
    yield from records


def _data(element: Any, entity: Entity) -> Any:
    endpoint = BY_ENTITY[entity.name]
    return element if endpoint.flat else {endpoint.payload_keys[0]: [element]}


def _bounded(value: Any) -> Any:
    """Return a value for the raw table `rejected`: the beginning of its text if it is too long, None if too deep."""
    try:
        text = orjson.dumps(value)
    except TypeError:
        return None
    return value if len(text) <= MAX_VALUE_BYTES else text[:MAX_VALUE_BYTES].decode("utf-8", "ignore")
