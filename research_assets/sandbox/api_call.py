"""One data call as an endpoint sees it, and how its parameters are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from research_assets.sandbox.responses import ApiResponse, invalid


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A data call that was let through: its JSON body, the chosen fields, the moment, the raw body if it is no JSON."""

    body: Mapping[str, Any]
    fields: tuple[str, ...]
    now: datetime
    raw: bytes = b""
    content_type: str = ""

    @property
    def at(self) -> float:
        """The moment in Unix seconds."""
        return self.now.timestamp()

    def integer(self, name: str, default: int, low: int = 0, high: int = 1 << 63) -> int:
        """An integer parameter, sent as number or digits; null counts as absent. Raises ApiFailure out of range."""
        value = self.body.get(name)
        if value is None:
            return default
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise invalid(f"{name} is invalid: expected an integer from {low} to {high}")
        return value

    def count(self, default: int) -> int:
        """`max_count`."""
        return self.integer("max_count", default, 1, 100)

    def text(self, name: str) -> str:
        """A text that must not be empty."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise invalid(f"{name} is missing or empty")
        return value


@dataclass(frozen=True, slots=True)
class Route:
    """A data endpoint: its name in the books, who pays, the fields that it knows (None: it takes none), its handler."""

    name: str
    pool: Literal["research", "follow"]
    fields: tuple[str, ...] | None
    handler: Callable[[ApiCall], ApiResponse]
