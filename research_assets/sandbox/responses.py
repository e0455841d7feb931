"""Bodies of answers: the envelope of reference §1.1, and the errors of §6 in the forms in which they were recorded."""

from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

import orjson

JSON = b"application/json; charset=utf-8"
HTML = b"text/html"


@dataclass(slots=True)
class ApiResponse:
    """What goes back: `rows` and `code` are for the sandbox's own books."""

    status: int
    body: bytes
    code: str = "ok"
    rows: int = 0
    content_type: bytes = JSON


class ApiFailure(Exception):
    """The request cannot be served: an HTTP status with a code and a message of reference §6.

    `gateway` failures carry an empty `data`; those of the application carry none.
    """

    def __init__(self, status: int, code: str, message: str, *, gateway: bool = False) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.gateway = status, code, message, gateway


def invalid(message: str) -> ApiFailure:
    """The failure for parameters that cannot be used."""
    return ApiFailure(400, "invalid_params", message)


class ResponseBuilder:
    """Makes bodies, each with a `log_id` of its own and keys in random order."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)

    def log_id(self, now: datetime) -> str:
        """34 characters: the second, then upper-case hex."""
        return f"{now:%Y%m%d%H%M%S}{self._rng.getrandbits(80):020X}"

    def _error(self, code: str, message: str, now: datetime, **more: Any) -> bytes:
        entries = [("code", code), ("message", message), ("log_id", self.log_id(now)), *more.items()]
        self._rng.shuffle(entries)
        return orjson.dumps(dict(entries))

    def success(self, data: dict[str, bytes], now: datetime, *, message: str = "", **more: Any) -> bytes:
        """A good answer from members of `data` that are JSON already."""
        names = list(data)
        self._rng.shuffle(names)
        parts = [b'"data":{']  # joined once, because a page is large
        for name in names:
            parts += (b'"%s":' % name.encode(), data[name], b",")
        parts[-1] = b"}"
        error = b'"error":%s' % self._error("ok", message, now, **more)
        parts = [b"{", error, b",", *parts, b"}"] if self._rng.random() < 0.5 else [b"{", *parts, b",", error, b"}"]
        return b"".join(parts)

    def failure(self, failure: ApiFailure, now: datetime) -> ApiResponse:
        """The answer for a failure."""
        error = self._error(failure.code, failure.message, now)
        body = b'{"data":{},"error":%s}' % error if failure.gateway else b'{"error":%s}' % error
        return ApiResponse(failure.status, body, failure.code)


GATEWAY_TIMEOUT = ApiResponse(
    504,
    b"<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n<body>\r\n<center><h1>504 Gateway Time-out</h1>"
    b"</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
    "504",
    content_type=HTML,
)
"""What a gateway says that lost patience (reference §7 #25)."""
