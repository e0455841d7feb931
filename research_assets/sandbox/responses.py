"""Answer bodies: the envelope of reference §1.1, and the errors of §6 in their recorded forms."""

from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

import orjson

JSON = b"application/json; charset=utf-8"
HTML = b"text/html"


@dataclass(slots=True)
class ApiResponse:
    """An answer. `rows` and `code` are for the sandbox's request log."""

    status: int
    body: bytes
    code: str = "ok"
    rows: int = 0
    content_type: bytes = JSON


class ApiFailure(Exception):
    """A request that is answered with an error: an HTTP status, and a code and message of reference §6.

    Errors of the gateway contain an empty `data`; errors of the application contain no `data`.
    """

    def __init__(self, status: int, code: str, message: str, *, gateway: bool = False) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.gateway = status, code, message, gateway


def invalid(message: str) -> ApiFailure:
    """Return the failure for invalid parameters."""
    return ApiFailure(400, "invalid_params", message)


class ResponseBuilder:
    """A builder of bodies. Each body has its own `log_id` and its keys in random order."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)

    def log_id(self, now: datetime) -> str:
        """Return an id of 34 characters: the time to the second, then upper-case hexadecimal digits."""
        return f"{now:%Y%m%d%H%M%S}{self._rng.getrandbits(80):020X}"

    def _error(self, code: str, message: str | None, now: datetime, **more: Any) -> bytes:
        entries = [("code", code), ("log_id", self.log_id(now)), *more.items()]
        if message is not None:
            entries.append(("message", message))
        self._rng.shuffle(entries)
        return orjson.dumps(dict(entries))

    def success(self, data: dict[str, bytes], now: datetime, *, message: str | None = "", **more: Any) -> bytes:
        """Return the body of a successful answer. The members of `data` must be encoded as JSON already.

        Without `message` its `error` has none.
        """
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
        """Return the answer for a failure."""
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
"""The recorded HTML answer of a gateway timeout (reference §7 #25)."""
