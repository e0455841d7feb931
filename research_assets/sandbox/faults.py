"""What goes wrong: by count, which is exact, or by chance, which the seed and the number of the call decide."""

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
    """A 500, with one of the messages that were seen."""
    return ApiFailure(500, "internal_error", _MESSAGES[number % len(_MESSAGES)])


class Faults:
    """Decides what befalls a call. Calls are numbered from 1 in the order in which they are charged."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._seed = hash_parts(config.seed, 8)
        self.calls = 0

    def _strikes(self, share: float, kind: int) -> bool:
        return share > 0 and uniform(self._seed, kind, self.calls) < share

    def before(self) -> ApiResponse | None:
        """Count a call and strike it: an answer that replaces the real one, or ApiFailure raised, or None."""
        self.calls += 1
        config, number = self._config, self.calls
        if config.every_500 and number % config.every_500 == 0:
            raise server_error(number)
        if config.every_504 and number % config.every_504 == 0:
            return GATEWAY_TIMEOUT
        if config.every_429 and number % config.every_429 == 0:
            raise rate_limited()
        if self._strikes(config.p_500, 1):
            raise server_error(number)
        return GATEWAY_TIMEOUT if self._strikes(config.p_504, 2) else None

    def after(self, reply: ApiResponse) -> ApiResponse:
        """The answer as it leaves: now and then cut off, with status 200 all the same."""
        if self._strikes(self._config.p_undecodable, 3):
            return ApiResponse(reply.status, reply.body[: len(reply.body) * 2 // 3], "undecodable", 0)
        return reply

    def page(self) -> PageFault | None:
        """What is wrong with the paging of this call's answer."""
        config = self._config
        if self._strikes(config.p_no_cursor, 4):
            return "no_cursor"
        if self._strikes(config.p_stuck_cursor, 5):
            return "stuck_cursor"
        return "empty_page" if self._strikes(config.p_empty_page, 6) else None

    def token(self, number: int) -> bool:
        """Whether the n-th request for a token fails for no reason."""
        return self._config.p_token_failure > 0 and uniform(self._seed, 7, number) < self._config.p_token_failure

    def result_as_500(self) -> bool:
        """Whether a result about an account leaves with status 500."""
        return self._strikes(self._config.users_500, 8)
