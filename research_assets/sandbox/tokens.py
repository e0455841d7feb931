"""Client access tokens: issue, check and expiry (reference §2)."""

from urllib.parse import parse_qs

import orjson

from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.responses import ApiFailure, ApiResponse
from research_assets.sandbox.world.randomness import hash_parts


class TokenStore:
    """The tokens of one sandbox."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._expiry: dict[str, float] = {}
        self.issued = 0

    def fetch(self, body: bytes, at: float, log_id: str, *, fails: bool) -> ApiResponse:
        """Answer a token request, whose body is a form. Failures contain `error` as a string, not an envelope."""
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
            message = "Grant type is not supported."
            return self._failure(config.token_error_status, "unsupported_grant_type", message, log_id)
        if (form["client_key"], form["client_secret"]) != (config.client_key, config.client_secret):
            message = "Client key or secret is incorrect."
            return self._failure(config.token_error_status, "invalid_client", message, log_id)
        if config.single_token:
            self._expiry.clear()
        self._expiry = {token: expiry for token, expiry in self._expiry.items() if expiry > at}
        token = f"clt.2.{hash_parts(config.seed, 9, self.issued, int(at)):016x}{hash_parts(self.issued, int(at)):016x}"
        self._expiry[token] = at + config.token_lifetime
        answer = {"access_token": token, "expires_in": config.token_lifetime, "token_type": "Bearer"}
        return ApiResponse(200, orjson.dumps(answer))

    def check(self, authorization: str, at: float) -> None:
        """Raise ApiFailure unless the header contains a token that is valid at `at` (Unix seconds)."""
        scheme, _, token = authorization.partition(" ")
        expiry = self._expiry.get(token.strip()) if scheme.lower() == "bearer" else None
        if expiry is None or at >= expiry:
            message = "The access token is invalid or not found in the request."
            raise ApiFailure(401, "access_token_invalid", message, gateway=True)

    def revoke_all(self) -> None:
        """Revoke every token."""
        self._expiry.clear()

    def _failure(self, status: int, error: str, description: str, log_id: str) -> ApiResponse:
        answer = {"error": error, "error_description": description, "log_id": log_id}
        return ApiResponse(status, orjson.dumps(answer), error)
