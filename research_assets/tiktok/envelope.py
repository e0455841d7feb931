"""The outer object of a response: `data`, `error`, and whether they report success.

All endpoints share it, including the token endpoint, whose errors have another form. Not here: the records in `data`
(see pages.py), the type of an error (see error_rules.py).
"""

import reprlib
from dataclasses import dataclass
from typing import Any

from research_assets.tiktok import jsonline
from research_assets.tiktok.endpoints import USER_ENDPOINTS, Endpoint
from research_assets.tiktok.error_rules import classify_error
from research_assets.tiktok.errors import LABEL_CHARACTERS, MESSAGE_CHARACTERS, ApiError, ServerError
from research_assets.tiktok.jsonline import REPEATED_KEY, ChangedValue
from research_assets.tiktok.requests import Request
from research_assets.tiktok.transport import HttpResponse

PAGING = frozenset({"cursor", "has_more", "search_id"})
"""Keys of `data` that describe the list, not a record."""

# These endpoints return HTTP 500 with a valid result in the body (reference §§3.9, 6.2).
_RESULT_IN_500 = USER_ENDPOINTS | {"playlist_info"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """The decoded outer object of a response.

    `fields` is the whole object, `data` its member of that name or empty, `raw` the body as one line of JSON, and
    `changed` the values that differ from the body. `code` and `message` are empty if the response has none. Only
    `message` may name an account of a pseudonymous study, because it decides the type of an error.
    """

    fields: dict[str, Any]
    data: dict[str, Any]
    code: str
    message: str
    log_id: str | None
    raw: bytes
    changed: tuple[ChangedValue, ...]

    @property
    def ok(self) -> bool:
        """Return whether the response reports success; a response without code and message does."""
        return (self.code or self.message).lower() in {"", "ok"}


def decode_envelope(request: Request, response: HttpResponse) -> Envelope:
    """Decode the outer object of a response. Raises the matching ApiError if the body is not a JSON object."""
    try:
        line = jsonline.parse_json_line(response.body)
    except (ValueError, RecursionError) as error:
        content_type = response.content_type.split(";")[0].strip() or "no content type"
        problem = f"({content_type}) cannot be decoded as JSON: {error}" if response.body.strip() else "is empty"
        raise error_from_response(request, response, message=f"the response {problem}") from error
    value: Any = line.value
    if not isinstance(value, dict):
        raise error_from_response(request, response, message="the response is JSON, but not an object")
    reported = value.get("error")
    if isinstance(reported, dict):
        code, message = reported.get("code"), reported.get("message") or reported.get("msg")
        log_id = reported.get("log_id")
    else:  # a text in the form of OAuth 2, or nothing
        code, message, log_id = reported, value.get("error_description") or value.get("message"), value.get("log_id")
    if response.pseudonyms is not None:
        line = response.pseudonyms.line(request.endpoint, line)
    data = line.value.get("data")
    return Envelope(
        fields=line.value,
        data=data if isinstance(data, dict) else {},
        code=_text(code, LABEL_CHARACTERS),
        message=_text(message, MESSAGE_CHARACTERS),
        log_id=_text(log_id, LABEL_CHARACTERS) or None,
        raw=line.line,
        changed=line.changed,
    )


def require_success(request: Request, response: HttpResponse) -> Envelope:
    """Return the envelope of a response with a result. Raises the matching ApiError for any other response."""
    envelope, endpoint = decode_envelope(request, response), request.endpoint
    if envelope.ok and 200 <= response.status < 300:
        if problem := _problem(envelope, endpoint):
            raise error_from_response(request, response, message=problem, log_id=envelope.log_id, kind=ServerError)
        if envelope.fields.keys() & {"data", "error"}:
            return envelope
        raise error_from_response(
            request, response, message="the response has neither `data` nor `error`", log_id=envelope.log_id
        )
    if (
        response.status >= 500
        and endpoint.name in _RESULT_IN_500
        and _has_result(envelope, endpoint)
        and not _problem(envelope, endpoint)
    ):
        return envelope
    raise error_from_response(request, response, code=envelope.code, message=envelope.message, log_id=envelope.log_id)


def error_from_response(
    request: Request,
    response: HttpResponse,
    *,
    code: str = "",
    message: str = "",
    log_id: str | None = None,
    kind: type[ApiError] | None = None,
) -> ApiError:
    """Return the error for a response with its attributes; its type is `kind`, or follows from `ERROR_RULES`."""
    if response.location:
        message = f"redirected to {response.location} {message}"
    kind = kind or classify_error(request.endpoint, response.status, code, message)
    pseudonyms = response.pseudonyms
    if pseudonyms is not None:
        message = pseudonyms.message(message)
    return kind(
        request,
        status=response.status,
        code=code,
        message=message,
        log_id=log_id,
        date=response.date,
        latency=response.latency,
        raw=response.body if pseudonyms is None else None,
        retry_after=response.retry_after,
    )


def _problem(envelope: Envelope, endpoint: Endpoint) -> str | None:
    """Return why a response that reports success has no result; None if it has one.

    It has one if readers cannot differ about the records: `data` is an object, one of its members is the list of
    records, and only keys within a record are repeated (then the last value counts, see jsonline.py).
    """
    if not isinstance(envelope.fields.get("data"), dict | None):
        return "`data` is not an object"
    for path, reason, _ in envelope.changed:
        in_record = path[0] == "data" and (len(path) > 3 or (endpoint.flat and len(path) > 1 and path[1] not in PAGING))
        if reason == REPEATED_KEY and not in_record:
            return f"the key `{'.'.join(map(str, path))}` is repeated"
    lists = [key for key in endpoint.payload_keys if envelope.data.get(key) is not None]
    if len(lists) > 1:
        return f"`data` contains both `{'` and `'.join(lists)}`"
    if lists and not isinstance(envelope.data[lists[0]], list):
        return f"`data.{lists[0]}` is not a list"
    return None


def _has_result(envelope: Envelope, endpoint: Endpoint) -> bool:
    """Return whether a 500 contains a result: it reports ok, or it has records and no error message."""
    data = envelope.data
    if endpoint.flat:
        records: Any = data.keys() - PAGING
        found = bool(records)
    else:
        records = next((data[key] for key in endpoint.payload_keys if isinstance(data.get(key), list)), None)
        found = records is not None
    return found if envelope.ok else bool(records) and not envelope.message


def _text(value: object, length: int) -> str:
    """Return the first characters of a text. Of a list or object, which is no text of the API, only some parts."""
    if isinstance(value, list | dict):
        return reprlib.repr(value)[:length]
    return "" if value is None else str(value)[:length]
