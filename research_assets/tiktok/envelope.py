"""An answer's outer form: `data` and `error`, and whether they report success.

All endpoints share it, the token's included, which writes its errors another way. The records inside are
`answers.py`'s, what an error means is `meaning.py`'s.
"""

from dataclasses import dataclass
from typing import Any

from research_assets.tiktok import jsonline
from research_assets.tiktok.endpoints import USER_ENDPOINTS, Endpoint
from research_assets.tiktok.error_rules import classify_error
from research_assets.tiktok.errors import ApiError
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse

PAGING = frozenset({"cursor", "has_more", "search_id"})
"""Keys of `data` that belong to the list, not to a record."""

# These answer 500 with the result inside (reference §§3.9, 6.2).
_RESULT_IN_500 = USER_ENDPOINTS | {"playlist_info"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """`fields` is the whole object, `data` its records or empty, `raw` the body as one line of JSON.

    `code` and `message` are empty where the answer has none.
    """

    fields: dict[str, Any]
    data: dict[str, Any]
    code: str
    message: str
    log_id: str | None
    raw: bytes

    @property
    def ok(self) -> bool:
        """Whether it reports success; an answer without `error` does."""
        return self.code.lower() in {"", "ok"}


def decode_envelope(request: Request, reply: HttpResponse) -> Envelope:
    """Decode the outer form; raises the ApiError that fits if there is no JSON object."""
    try:
        value, raw = jsonline.parse_json_line(reply.body)
    except ValueError as why:
        kind = reply.content_type.split(";")[0].strip() or "of no content type"
        what = f"({kind}) cannot be decoded as JSON: {why}" if reply.body.strip() else "is empty"
        raise error_from_response(request, reply, message=f"the answer {what}") from why
    if not isinstance(value, dict):
        raise error_from_response(request, reply, message="the answer is JSON, but no object")
    data, error = value.get("data"), value.get("error")
    if isinstance(error, dict):
        code, message, log_id = error.get("code"), error.get("message") or error.get("msg"), error.get("log_id")
    else:  # a text in OAuth's form, or nothing
        code, message, log_id = error, value.get("error_description") or value.get("message"), value.get("log_id")
    return Envelope(
        fields=value,
        data=data if isinstance(data, dict) else {},
        code=_text(code),
        message=_text(message),
        log_id=_text(log_id) or None,
        raw=raw,
    )


def require_success(request: Request, reply: HttpResponse) -> Envelope:
    """The envelope of an answer that holds a result; raises the ApiError that any other answer stands for."""
    envelope = decode_envelope(request, reply)
    if envelope.ok and 200 <= reply.status < 300:
        if envelope.fields.keys() & {"data", "error"}:
            return envelope
        raise error_from_response(
            request, reply, message="the answer has neither `data` nor `error`", log_id=envelope.log_id
        )
    if reply.status >= 500 and request.endpoint.name in _RESULT_IN_500 and _holds_result(envelope, request.endpoint):
        return envelope
    raise error_from_response(request, reply, code=envelope.code, message=envelope.message, log_id=envelope.log_id)


def error_from_response(
    request: Request,
    reply: HttpResponse,
    *,
    code: str = "",
    message: str = "",
    log_id: str | None = None,
    kind: type[ApiError] | None = None,
) -> ApiError:
    """The error that an answer stands for, with all that is known about it; `kind` where the table is not to decide."""
    if reply.location:
        message = f"redirected to {reply.location} {message}"
    return (kind or classify_error(request.endpoint, reply.status, code, message))(
        request,
        status=reply.status,
        code=code,
        message=message,
        log_id=log_id,
        date=reply.date,
        latency=reply.latency,
        raw=reply.body,
        retry_after=reply.retry_after,
    )


def _holds_result(envelope: Envelope, endpoint: Endpoint) -> bool:
    """Whether a 500 is a result: it says ok, or it says nothing and has records."""
    data = envelope.data
    if endpoint.flat:
        records: Any = data.keys() - PAGING
        there = bool(records)
    else:
        records = next((data[key] for key in endpoint.payload_keys if isinstance(data.get(key), list)), None)
        there = records is not None
    return there if envelope.ok else bool(records) and not envelope.message


def _text(value: object) -> str:
    return "" if value is None else str(value)
