"""A data call, its parameters, and the route of the endpoint that answers it.

Not here: the checks that a call passes before its endpoint (see app.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from research_assets.sandbox.responses import ApiResponse, invalid


@dataclass(frozen=True, slots=True)
class ApiCall:
    """An authorized data call: JSON body, requested fields and time (UTC).

    `raw` and `content_type` hold the body and its type if the call is a multipart form.
    """

    body: Mapping[str, Any]
    fields: tuple[str, ...]
    now: datetime
    raw: bytes = b""
    content_type: str = ""

    @property
    def at(self) -> float:
        """The time of the call in Unix seconds."""
        return self.now.timestamp()

    def integer(self, name: str, default: int, low: int = 0, high: int = 1 << 63) -> int:
        """Return an integer parameter, sent as a number or as digits; null counts as absent.

        Raises ApiFailure if the value is out of range.
        """
        value = self.body.get(name)
        if value is None:
            return default
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise invalid(f"{name} is invalid: expected an integer from {low} to {high}")
        return value

    def count(self, default: int) -> int:
        """Return `max_count`, 1 to 100."""
        return self.integer("max_count", default, 1, 100)

    def text(self, name: str) -> str:
        """Return a text parameter. Raises ApiFailure if it is missing or empty."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise invalid(f"{name} is missing or empty")
        return value


@dataclass(frozen=True, slots=True)
class Route:
    """A data endpoint: its name in the request log, its quota pool, its fields and its handler.

    `fields` is None if the endpoint takes no `fields` parameter.
    """

    name: str
    pool: Literal["research", "follow"]
    fields: tuple[str, ...] | None
    handler: Callable[[ApiCall], ApiResponse]
