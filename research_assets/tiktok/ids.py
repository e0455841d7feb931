"""TODO charter."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def video_id_of(video: Mapping[str, Any]) -> int | None:
    """The id of a video as an answer holds it, under either name, as a number or as text; None if it has none."""
    return parse_id(video["id"] if "id" in video else video.get("video_id"))


def upload_time(identifier: int) -> datetime:
    """The moment in an id's upper half (reference 3.1.3, id anatomy)."""
    return datetime.fromtimestamp(min(identifier >> 32, 2**33), UTC)


def parse_id(value: object) -> int | None:
    """An id given as a number or as text; None if it is no positive 64-bit integer."""
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 19:
        value = int(value)
    return value if type(value) is int and 0 < value < 2**63 else None


def require_id(name: str, value: object) -> int:
    """What `as_id` gives; raises ValueError naming the argument where that is nothing."""
    number = parse_id(value)
    if number is None:
        raise ValueError(f"{name}={value!r}: must be a positive 64-bit integer")
    return number
