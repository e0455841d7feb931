"""Ids of the API: positive 64-bit integers, as numbers or as text, and the upload time that a video id contains.

Not here: the line of JSON that keeps ids exact (see jsonline.py).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def parse_id(value: object) -> int | None:
    """Return an id given as a number or as text; None if it is not a positive 64-bit integer."""
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 19:
        value = int(value)
    return value if type(value) is int and 0 < value < 2**63 else None


def require_id(name: str, value: object) -> int:
    """Return an id as `parse_id` does. Raise ValueError with the name of the argument if it is not an id."""
    number = parse_id(value)
    if number is None:
        raise ValueError(f"{name}={value!r}: must be a positive 64-bit integer")
    return number


def video_id_of(video: Mapping[str, Any]) -> int | None:
    """Return the id of a video record, from the key `id` or `video_id`; None if it has no valid id."""
    return parse_id(video["id"] if video.get("id") is not None else video.get("video_id"))


def upload_time(identifier: int) -> datetime:
    """Return the time in the upper 32 bits of an id, UTC (reference §3.1.3, id anatomy)."""
    return datetime.fromtimestamp(min(identifier >> 32, 2**33), UTC)
