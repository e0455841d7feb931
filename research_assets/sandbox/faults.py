"""The faults of a sandbox: by count, which is exact, or by probability, drawn from the seed and the call's number.

Not here: faults of searches such as dead days and empty searches (see search.py).
"""

from typing import Literal

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.quota import rate_limited
from research_assets.sandbox.responses import GATEWAY_TIMEOUT, ApiFailure, ApiResponse
from research_assets.sandbox.world.randomness import hash_parts, uniform

PageFault = Literal["no_cursor", "stuck_cursor", "empty_page"]
_MESSAGES = (
    "Something is wrong. Please try again later.",
    "Something went wrong. Please try again later.",
    "Server Internal Error",
)


def server_error(number: int = 0) -> ApiFailure:
    """Return a 500 with one of the recorded messages."""
    return ApiFailure(500, "internal_error", _MESSAGES[number % len(_MESSAGES)])


class Faults:
    """The choice of faults for each call. Calls are numbered from 1 in the order of their quota charge."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._seed = hash_parts(config.seed, 8)
        self.calls = 0

    def _occurs(self, probability: float, kind: int) -> bool:
        return probability > 0 and uniform(self._seed, kind, self.calls) < probability

    def before(self) -> ApiResponse | None:
        """Count a call. Return an answer that replaces the real one, or None. Raises ApiFailure for a faulty call."""
        self.calls += 1
        config, number = self._config, self.calls
        if config.every_500 and number % config.every_500 == 0:
            raise server_error(number)
        if config.every_504 and number % config.every_504 == 0:
            return GATEWAY_TIMEOUT
        if config.every_429 and number % config.every_429 == 0:
            raise rate_limited()
        if self._occurs(config.p_500, 1):
            raise server_error(number)
        return GATEWAY_TIMEOUT if self._occurs(config.p_504, 2) else None

    def after(self, response: ApiResponse) -> ApiResponse:
        """Return the answer, in some calls truncated to two thirds although its status stays 200."""
        if self._occurs(self._config.p_undecodable, 3):
            return ApiResponse(response.status, response.body[: len(response.body) * 2 // 3], "undecodable", 0)
        return response

    def page(self) -> PageFault | None:
        """Return the paging fault of this call's answer, or None."""
        config = self._config
        if self._occurs(config.p_no_cursor, 4):
            return "no_cursor"
        if self._occurs(config.p_stuck_cursor, 5):
            return "stuck_cursor"
        return "empty_page" if self._occurs(config.p_empty_page, 6) else None

    def token(self, number: int) -> bool:
        """Return whether the n-th token request fails with 503 although it is correct."""
        return self._config.p_token_failure > 0 and uniform(self._seed, 7, number) < self._config.p_token_failure

    def result_as_500(self) -> bool:
        """Return whether a correct result about an account is sent with status 500."""
        return self._occurs(self._config.users_500, 8)
