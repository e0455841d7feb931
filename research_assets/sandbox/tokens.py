"""Client access tokens: issue, life and end (reference §2)."""

from urllib.parse import parse_qs

import orjson

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.responses import ApiFailure, ApiResponse
from research_assets.sandbox.world.randomness import hash_parts


class TokenStore:
    """The tokens of one sandbox."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._ends: dict[str, float] = {}
        self.issued = 0

    def fetch(self, body: bytes, at: float, log_id: str, *, fails: bool) -> ApiResponse:
        """Answer a request for a token, a form. Failures carry `error` as a string, not an envelope."""
        self.issued += 1
        form = {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        config = self._config
        if fails:
            return self._failure(503, "temporarily_unavailable", "Please try again later.", log_id)
        for name in ("client_key", "client_secret", "grant_type"):
            if name not in form:
                return self._failure(
                    config.token_error_status, "invalid_request", f"{name} is missed in request.", log_id
                )
        if form["grant_type"] != "client_credentials":
            words = "Grant type is not supported."
            return self._failure(config.token_error_status, "unsupported_grant_type", words, log_id)
        if (form["client_key"], form["client_secret"]) != (config.client_key, config.client_secret):
            words = "Client key or secret is incorrect."
            return self._failure(config.token_error_status, "invalid_client", words, log_id)
        if config.single_token:
            self._ends.clear()
        self._ends = {token: end for token, end in self._ends.items() if end > at}
        token = f"clt.2.{hash_parts(config.seed, 9, self.issued, int(at)):016x}{hash_parts(self.issued, int(at)):016x}"
        self._ends[token] = at + config.token_lifetime
        answer = {"access_token": token, "expires_in": config.token_lifetime, "token_type": "Bearer"}
        return ApiResponse(200, orjson.dumps(answer))

    def check(self, authorization: str, at: float) -> None:
        """Raises ApiFailure unless the header carries a token that is good at a moment."""
        scheme, _, token = authorization.partition(" ")
        end = self._ends.get(token.strip()) if scheme.lower() == "bearer" else None
        if end is None or at >= end:
            message = "The access token is invalid or not found in the request."
            raise ApiFailure(401, "access_token_invalid", message, gateway=True)

    def revoke_all(self) -> None:
        """End every token at once."""
        self._ends.clear()

    def _failure(self, status: int, error: str, description: str, log_id: str) -> ApiResponse:
        answer = {"error": error, "error_description": description, "log_id": log_id}
        return ApiResponse(status, orjson.dumps(answer), error)
