"""An error states the attempt, the response and the advice, and contains no secret."""

import inspect

import pytest

from research_assets.tiktok import errors
from research_assets.tiktok.errors import RAW_BYTES, AccessDenied, ApiError, ServerError, UnitError, UserNotFound
from research_assets_tests.tiktok.scripted_api import LOG_ID, PROFILE, SEARCH


def leaves() -> list[type[ApiError]]:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ApiError)]
    return [kind for kind in kinds if not kind.__subclasses__()]


@pytest.mark.parametrize("kind", leaves())
def test_every_error_states_attempt_response_and_advice_on_one_line(kind: type[ApiError]) -> None:
    error = kind(SEARCH, status=400, code="invalid_params", message="Something\nhappened.", log_id=LOG_ID)
    assert str(error) == (
        "video_query 2025-05-01..2025-05-30: HTTP 400 invalid_params: Something happened "
        f"(log id {LOG_ID}). {kind.advice}"
    )
    assert kind.advice.endswith(".")


def test_error_without_a_response_states_so() -> None:
    assert str(AccessDenied(PROFILE)).startswith(
        "user_info @beet.und.balkon: no response. The unit is recorded as refused"
    )


def test_error_keeps_a_bounded_part_of_the_body() -> None:
    assert ServerError(PROFILE, raw=b"x" * RAW_BYTES * 2).raw == b"x" * RAW_BYTES
    assert len(str(ServerError(PROFILE, message="x" * 10_000))) < 1_000


def test_error_keeps_a_bounded_part_of_each_text() -> None:
    error = ServerError(PROFILE, code="c" * 10**6, message="m" * 10**6, log_id="l" * 10**6)
    assert (len(error.code), len(error.message), len(error.log_id or "")) == (100, 500, 100)
    assert len(str(error)) + len(repr(error)) + len(repr(error.args)) < 2_000


def test_repr_contains_no_body() -> None:
    assert "personal" not in repr(ServerError(PROFILE, status=500, raw=b"personal"))


def test_error_has_its_details_as_attributes() -> None:
    error = UserNotFound(PROFILE, status=400, code="invalid_params", date="D", latency=0.5, retry_after=3.0)
    assert isinstance(error, UnitError)
    assert (error.endpoint, error.unit, error.request) == ("user_info", "@beet.und.balkon", PROFILE)
    assert (error.status, error.code, error.date, error.latency, error.retry_after) == (
        *(400, "invalid_params", "D"),
        *(0.5, 3.0),
    )
    assert (error.raw, error.log_id, error.sent, error.requests, error.state) == (None, None, True, 1, "missing")
